"""CIFAR-10 and CIFAR-100, read from their public archives. They are large, and come only if asked.

The archives hold pickles, and a pickle can run code. So nothing of an archive is read before its
checksum holds, and then only numbers, texts and NumPy arrays are.
"""

from __future__ import annotations

import pickle
import tarfile
from typing import Any

import numpy as np
import torch

from cnnlab.data import downloads
from cnnlab.data.splits import ImageData, Split, divide

VAL = 5_000  # images of the training set, with the same share of each class
BATCHES = [f"data_batch_{i}" for i in range(1, 6)]


def load_cifar10(*, download: bool = False, seed: int = 0) -> ImageData:
    """Load CIFAR-10: 60,000 color photographs of 10 classes, uint8 (N, 3, 32, 32).

    45,000 to train, 5,000 to validate, 10,000 to test. Source: Krizhevsky (2009), *Learning
    multiple layers of features from tiny images*, technical report, University of Toronto.

    Parameters
    ----------
    download
        Whether 170 MB may be downloaded if they are not here; ``cnnlab fetch cifar10`` does
        that, too.
    seed
        Of the split in training and validation.

    Raises
    ------
    cnnlab.data.downloads.DownloadError
        When the archive is not here, or cannot be had; says what to do.

    Examples
    --------
    >>> load_cifar10().classes  # doctest: +SKIP
    ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck']
    """
    return _load("cifar10", BATCHES, "test_batch", "batches.meta", "label", download, seed)


def load_cifar100(*, download: bool = False, seed: int = 0) -> ImageData:
    """Load CIFAR-100: as :func:`load_cifar10`, but 100 classes with 600 images each (169 MB).

    Examples
    --------
    >>> len(load_cifar100().classes)  # doctest: +SKIP
    100
    """
    return _load("cifar100", ["train"], "test", "meta", "fine_label", download, seed)


class _Reader(pickle.Unpickler):
    """Read what these files need, and refuse all else: nothing in a pickle can run code here."""

    def find_class(self, module: str, name: str) -> Any:
        needed = {
            "ndarray": np.ndarray,
            "dtype": np.dtype,
            "_reconstruct": np.empty(0).__reduce__()[0],
        }
        if name not in needed:
            raise pickle.UnpicklingError(f"the archive asks for {module}.{name}: not loaded")
        return needed[name]


def _load(
    name: str, train: list[str], test: str, meta: str, label: str, download: bool, seed: int
) -> ImageData:
    folder = downloads.fetch(name) if download else downloads.find(name)
    (archive,) = downloads.checksums(name)
    if folder is None:
        size = f"{downloads.resources()[name]['num_bytes'] / 1e6:.0f} MB"
        how = f"run `cnnlab fetch {name}`, or load_{name}(download=True)"
        raise downloads.DownloadError(f"{archive} is not here ({size}): {how}", "not here")
    contents = {}
    with tarfile.open(folder / archive) as file:  # read in memory: nothing is unpacked to disk
        for entry in file:
            part, content = entry.name.split("/")[-1], file.extractfile(entry)
            if content and part in (*train, test, meta):
                contents[part] = _Reader(content, encoding="latin1").load()

    def split(parts: list[str]) -> Split:
        pixels = np.concatenate([contents[part]["data"] for part in parts])  # (N, 3072)
        labels = [number for part in parts for number in contents[part][f"{label}s"]]
        return Split(torch.from_numpy(pixels).view(-1, 3, 32, 32), torch.tensor(labels))

    first, val = divide(split(train), VAL, seed)
    return ImageData(first, val, split([test]), contents[meta][f"{label}_names"], name)
