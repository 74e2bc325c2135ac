"""The datasets of the lessons, real or embedded, and your own folder of pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torchvision.datasets import MNIST

from cnnlab.data import downloads, images
from cnnlab.data.folders import load_image_folder
from cnnlab.data.insects import CLASSES, draw_insects
from cnnlab.data.splits import ImageData, Loaders, Split, divide, to_float

__all__ = [
    "ImageData",
    "Loaders",
    "Split",
    "load_ants_and_bees",
    "load_image_folder",
    "load_mnist",
    "to_float",
]

DRAWN_TRAIN, DRAWN_TEST = 244, 600  # as many to learn from as photographs; more to test on
DRAWN_TRAIN_SEED, DRAWN_TEST_SEED = 1, 2
MNIST_VAL = 5_000
DIGITS_TEST, DIGITS_VAL = 360, 287


def load_ants_and_bees(
    source: str = "auto", image_size: int = 192, *, val_fraction: float = 0.2, seed: int = 0
) -> ImageData:
    """Load ants and bees, photographed or drawn; says which in one line.

    Parameters
    ----------
    source
        ``"photos"``: the 397 photographs of the PyTorch tutorial. Their ``val`` folder is the
        test set here, and validation is split off ``train``. ``"drawn"``: drawings with masks, as
        many to learn from, but 600 to test on, so that intervals are narrower. ``"auto"``:
        the photographs if they are here or can be had quickly, otherwise drawings.
    image_size
        Side in pixels.
    val_fraction
        Share of the training pictures kept for validation, the same of each class.
    seed
        Of that split; the pictures themselves are always the same.

    Raises
    ------
    cnnlab.data.downloads.DownloadError
        When ``source="photos"`` and they cannot be had.
    ValueError
        For an unknown source or a bad size or fraction.

    Examples
    --------
    >>> data = load_ants_and_bees("drawn", image_size=32)
    Data: 844 drawn ants and bees.
    >>> len(data.train), len(data.val), len(data.test), data.classes
    (195, 49, 600, ['ants', 'bees'])
    """
    _check_source(source, "photos", "drawn")
    if source == "photos":
        folder: Path | None = downloads.fetch("ants_and_bees")
    elif source == "auto":
        folder = _fetch_or_say("ants_and_bees", "drawn ants and bees", "the 397 photographs")
    else:
        folder = None
        print(f"Data: {DRAWN_TRAIN + DRAWN_TEST} drawn ants and bees.")
    if folder is not None:
        print("Data: 397 photographs of ants and bees. For drawn ones: source='drawn'.")
        return _photographs(folder, image_size, val_fraction, seed)
    test = _drawn(DRAWN_TEST, image_size, DRAWN_TEST_SEED)
    train, val = divide(_drawn(DRAWN_TRAIN, image_size, DRAWN_TRAIN_SEED), val_fraction, seed)
    return ImageData(train, val, test, list(CLASSES), "drawn")


def load_mnist(source: str = "auto", *, limit: int | None = None, seed: int = 0) -> ImageData:
    """Load handwritten digits as uint8 (N, 1, 28, 28); says which in one line.

    Parameters
    ----------
    source
        ``"mnist"``: 55,000 to train, 5,000 to validate, 10,000 to test. ``"digits"``:
        scikit-learn's 1,797 digits of 8 × 8 pixels, enlarged to 20 × 20 inside a frame of 4 pixels
        as in MNIST: 1,150, 287 and 360. ``"auto"``: MNIST if it is here or can be had quickly.
    limit
        Number of training images to use, with the same share of each digit; all by default.
    seed
        Of the splits.

    Raises
    ------
    cnnlab.data.downloads.DownloadError
        When ``source="mnist"`` and it cannot be had.

    Examples
    --------
    >>> load_mnist("digits", limit=500).train.inputs.shape
    Data: scikit-learn's 1,797 handwritten digits.
    torch.Size([500, 1, 28, 28])
    """
    _check_source(source, "mnist", "digits")
    digits = "scikit-learn's 1,797 handwritten digits"
    if source == "mnist":
        folder: Path | None = downloads.fetch("mnist")
    elif source == "auto":
        folder = _fetch_or_say("mnist", digits, "MNIST's 70,000")
    else:
        folder = None
        print(f"Data: {digits}.")
    if folder is not None:
        print("Data: MNIST, 70,000 handwritten digits. For scikit-learn's: source='digits'.")
    train, val, test = _mnist_splits(folder, seed) if folder else _digits_splits(seed)
    if limit is not None and limit < len(train):
        train = divide(train, limit, seed)[1]
    classes = [str(digit) for digit in range(10)]
    return ImageData(train, val, test, classes, "mnist" if folder else "digits")


def _check_source(source: str, *known: str) -> None:
    if source not in ("auto", *known):
        raise ValueError(f"source must be one of auto, {', '.join(known)}; got {source!r}")


def _fetch_or_say(name: str, instead: str, wanted: str) -> Path | None:
    """Return a resource's folder if it can be had soon, or say in a line what is used instead."""
    try:
        return downloads.fetch(name, hurry=True)
    except downloads.DownloadError as error:
        print(
            f"Data: {instead} ({error.reason}). For {wanted}: `cnnlab fetch {name}`, "
            "or set CNNLAB_MIRROR."
        )
        return None


def _photographs(folder: Path, image_size: int, val_fraction: float, seed: int) -> ImageData:
    """Use the files with a known checksum; the tutorial's `val` becomes the test set."""
    names = list(downloads.checksums("ants_and_bees"))
    paths = [folder.parent / name for name in names]
    pixels, kept, unreadable = images.read_images(paths, image_size)
    labels = torch.tensor([CLASSES.index(path.parent.name) for path in paths])
    split = Split(pixels, labels[kept], [names[i] for i in kept])
    of_test = torch.tensor(["/val/" in name for name in split.names])
    train, val = divide(split.subset(~of_test), val_fraction, seed)
    stray = set(folder.rglob("*.*")) - set(paths)
    unused = unreadable | dict.fromkeys(sorted(stray), "not one of the 397 photographs")
    skipped = [f"{path.relative_to(folder).as_posix()}: {why}" for path, why in unused.items()]
    return ImageData(train, val, split.subset(of_test), list(CLASSES), "photos", skipped)


def _drawn(count: int, image_size: int, seed: int) -> Split:
    insects = draw_insects(count, size=image_size, seed=seed)
    return Split(
        torch.from_numpy(insects.images),
        torch.from_numpy(insects.labels),
        [f"drawn {seed}/{i}" for i in range(count)],
        torch.from_numpy(insects.masks),
    )


def _mnist_splits(folder: Path, seed: int) -> tuple[Split, Split, Split]:
    root = folder.parents[1]  # torchvision looks for root/MNIST/raw
    rest, test = (MNIST(root, train=train) for train in (True, False))
    train, val = divide(Split(rest.data[:, None], rest.targets), MNIST_VAL, seed)
    return train, val, Split(test.data[:, None], test.targets)


def _digits_splits(seed: int) -> tuple[Split, Split, Split]:
    digits = load_digits()
    small = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)  # (N, 1, 8, 8)
    large = F.interpolate(small, size=(20, 20), mode="bilinear", align_corners=False)
    framed = F.pad(large, (4, 4, 4, 4)).round().to(torch.uint8)  # (N, 1, 28, 28)
    whole = Split(framed, torch.from_numpy(digits.target).long())
    rest, test = divide(whole, DIGITS_TEST, seed=0)  # the test set does not depend on the seed
    train, val = divide(rest, DIGITS_VAL, seed)
    return train, val, test
