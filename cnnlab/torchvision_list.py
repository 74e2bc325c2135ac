"""What ``torchvision.datasets`` offers, read off the installed package itself."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from torchvision import datasets

__all__ = ["TorchvisionDataset", "torchvision_datasets"]

# Tasks are told by words in the documentation of a class: a guess, and nearly always right.
_TASKS = {
    "classification": r"classif|categor|class (index|label|name)|recognition|identity",
    "boxes": r"bbox|bounding box|detection (dataset|task)|object detection|\w+detection\n",
    "segmentation": r"segmentation|semantic",
    "captions": r"caption",
    "pairs": r"pairs|correspondence",
    "stereo": r"\A\w*stereo",
    "optical flow": r"optical flow",
    "video": r"videos?\b|\AmovingMNIST",
}
_NOT_DATASETS = {"VisionDataset", "DatasetFolder", "ImageFolder", "LSUNClass", "FakeData"}
_GONE = r"(isn't|URL is not|no longer) available (anymore|online|for (automatic )?download)"


@dataclass(frozen=True)
class TorchvisionDataset:
    """One class of ``torchvision.datasets``.

    Attributes
    ----------
    name : str
        ``torchvision.datasets.<name>``.
    about : str
        The first sentence of its documentation.
    tasks : tuple of str
        What its targets are for.
    hosts : tuple of str
        Where its download comes from, as far as its source code says.
    downloads : bool
        Whether ``download=True`` fetches it; otherwise you have to.
    """

    name: str
    about: str
    tasks: tuple[str, ...]
    hosts: tuple[str, ...]
    downloads: bool

    def __str__(self) -> str:
        where = f" from {', '.join(self.hosts)}" if self.hosts else ""
        how = f"downloads{where}" if self.downloads else "you have to get it yourself"
        return f"{self.name:<21} {', '.join(self.tasks):<28} {how}"


def torchvision_datasets(words: str = "") -> list[TorchvisionDataset]:
    """List the datasets that torchvision can load, those that match all of some words.

    Nothing is downloaded. Words are looked for in names, first sentences, tasks and hosts.

    Examples
    --------
    >>> [entry.name for entry in torchvision_datasets("mnist")][:3]
    ['EMNIST', 'FashionMNIST', 'KMNIST']
    >>> print(torchvision_datasets("CIFAR100")[0])
    CIFAR100              classification               downloads from www.cs.toronto.edu
    """
    classes = [getattr(datasets, name) for name in datasets.__all__ if name not in _NOT_DATASETS]
    entries = [_entry(c) for c in classes if inspect.isclass(c)]
    wanted = words.lower().split()
    found = [entry for entry in entries if all(w in str(vars(entry)).lower() for w in wanted)]
    return sorted(found, key=lambda entry: entry.name.lower())


def _entry(cls: type) -> TorchvisionDataset:
    documentation = _without_links(inspect.getdoc(cls) or "")
    first = re.split(r"\n\s*\n|\.\s", documentation, maxsplit=1)[0]
    item = inspect.getdoc(getattr(cls, "__getitem__", None)) or ""
    own = [base for base in cls.__mro__ if base.__module__.startswith("torchvision.datasets.")]
    code = [_without_links(inspect.getsource(base)) for base in own]
    module = _without_links(inspect.getsource(inspect.getmodule(cls)))  # type: ignore[arg-type]
    hosts = (dict.fromkeys(re.findall(r"https?://([\w.-]+)", text)) for text in [*code, module])
    boxes = "bbox" if '"bbox"' in code[0] else ""  # some say so only in their code
    return TorchvisionDataset(
        cls.__name__,
        " ".join(first.split()).rstrip("."),
        _tasks(f"{cls.__name__}\n{documentation}\n{item}\n{boxes}"),
        tuple(next(filter(None, hosts), ())),
        any(re.search(r"\bdownload\b.*= ?(False|True)", text) for text in code)
        and not re.search(_GONE, documentation + code[0]),
    )


def _without_links(text: str) -> str:
    """Keep what a link says, not where it leads: ``\\`MNIST <address>\\`_`` becomes MNIST."""
    return re.sub(r"`([^`<]*?)\s*<[^>]*>`_*", r"\1", text)


def _tasks(text: str) -> tuple[str, ...]:
    found = tuple(task for task, words in _TASKS.items() if re.search(words, text, re.IGNORECASE))
    return found or ("classification",)
