"""All pictures of one split in memory, from a folder or a zip of class folders."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cnnlab.images import UnreadableImage, read_image

__all__ = ["Pictures", "read_pictures"]


class Pictures(NamedTuple):
    """Pictures (N, 3, size, size) as uint8, labels (N,) as int64, and what the labels mean."""

    images: Tensor
    labels: Tensor
    classes: list[str]


def read_pictures(source: str | Path, split: str, size: int) -> Pictures:
    """Decode ``split/<class>/*`` of a folder or a zip; unreadable files are left out and counted.

    Names of classes are looked up in ``classes.tsv`` (folder, tab, name) if the source has one.

    Parameters
    ----------
    source : path
        A folder or a zip file.
    split : str
        Name of the upper folder, such as "train".
    size : int
        Side of the pictures in pixels; larger ones are scaled and cropped to the middle.

    Raises
    ------
    FileNotFoundError
        If there is no such source.
    ValueError
        If it has no pictures in at least two classes of this split.
    """
    files = _files(Path(source))
    names = sorted(n for n in files if n.split("/")[0] == split and n.count("/") == 2)
    folders = sorted({name.split("/")[1] for name in names})
    if len(folders) < 2:
        raise ValueError(
            f"{source} holds {len(folders)} classes in {split}/; at least 2 are needed"
        )
    pixels = np.empty((len(names), 3, size, size), dtype=np.uint8)
    labels: list[int] = []
    for name in tqdm(names, f"reading {split}", disable=None, unit=" files", unit_scale=True):
        try:
            pixels[len(labels)] = read_image(io.BytesIO(files[name]()), size)
        except UnreadableImage:
            continue
        labels.append(folders.index(name.split("/")[1]))
    if len(labels) < len(names):
        tqdm.write(f"{len(names) - len(labels)} of {len(names)} files in {split}/ are no pictures")
    spoken = _spoken_names(files)
    images = torch.from_numpy(pixels[: len(labels)])
    return Pictures(images, torch.tensor(labels), [spoken.get(f, f) for f in folders])


def _files(source: Path) -> dict[str, Callable[[], bytes]]:
    """Map the path of every file inside the source to a function that reads it."""
    if source.is_dir():
        paths = (path for path in source.rglob("*") if path.is_file())
        return {path.relative_to(source).as_posix(): path.read_bytes for path in paths}
    archive = zipfile.ZipFile(source)  # nothing is unpacked to disk, so names cannot do harm
    return {name: partial(archive.read, name) for name in archive.namelist()}


def _spoken_names(files: dict[str, Callable[[], bytes]]) -> dict[str, str]:
    """Read ``classes.tsv``: the first of the names that are given for a folder."""
    if "classes.tsv" not in files:
        return {}
    rows = (line.split("\t") for line in files["classes.tsv"]().decode().splitlines())
    return {folder: names.split(",")[0] for folder, names in rows}
