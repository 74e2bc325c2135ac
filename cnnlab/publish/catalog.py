"""What can be fetched ahead of class: the data, and networks with ImageNet weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from cnnlab.data import downloads
from cnnlab.publish.series import UnknownName

__all__ = ["everything", "fetch_all", "find_weights", "listing"]

WEIGHTS = "resnet18"  # what the lessons use; torchvision has some eighty more
WEIGHTS_BYTES = 46_830_571
WEIGHTS_TEXT = "ImageNet weights of ResNet-18 (any other torchvision name works as well)"
WEIGHTS_LICENSE = "torchvision's BSD-3-Clause; trained on ImageNet, whose terms say research"
INDENT = " " * 16
MEGABYTE = 1e6


def everything() -> list[str]:
    """Return the names of all that the lessons can use.

    Examples
    --------
    >>> everything()
    ['ants_and_bees', 'mnist', 'resnet18']
    """
    return [*downloads.resources(), WEIGHTS]


def find_weights(name: str) -> Path | None:
    """Return the file of a network's weights, if it is in the data folder."""
    return next((downloads.data_folder() / "weights").glob(f"{name}-*.pth"), None)


def listing() -> str:
    """Describe what can be fetched: name, size, where it is, what it is, license."""
    blocks = [
        _block(name, it["num_bytes"], downloads.find(name), it["description"], it["license"])
        for name, it in downloads.resources().items()
    ]
    path = find_weights(WEIGHTS)
    blocks.append(_block(WEIGHTS, WEIGHTS_BYTES, path, WEIGHTS_TEXT, WEIGHTS_LICENSE))
    return "\n\n".join(blocks)


def _block(name: str, size: int, path: Path | None, text: str, license: str) -> str:
    place = f"here: {path}" if path else f"not here yet: cnnlab fetch {name}"
    first = f"{name:<15} {size / MEGABYTE:.0f} MB, {place}"
    return f"{first}\n{INDENT}{text}\n{INDENT}License: {license}"


def fetch_all(names: Sequence[str]) -> bool:
    """Download what is named, say where each is, and tell whether all of it came.

    Raises
    ------
    UnknownName
        Before any download, when a name is neither data nor a network of torchvision's.
    """
    for name in names:
        _check_name(name)
    complete = True
    for name in names:
        try:
            print(f"{name} is in {_fetch(name)}", flush=True)
        except downloads.DownloadError as error:
            print(f"cnnlab fetch: {error}", file=sys.stderr)
            complete = False
    return complete


def _fetch(name: str) -> Path:
    if name in downloads.resources():
        return downloads.fetch(name)
    from cnnlab.models.backbones import fetch_weights

    return fetch_weights(name)


def _check_name(name: str) -> None:
    if name in everything():
        return
    from torchvision import models  # seconds to import, so only for other names

    known = [*everything(), *models.list_models(module=models)]
    if name not in known:
        close = dict.fromkeys(get_close_matches(name, known) or everything())
        raise UnknownName(f"nothing is named {name!r}; try {', '.join(close)}")
