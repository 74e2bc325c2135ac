"""The datasets of the lessons: photographs or drawings, MNIST or scikit-learn's digits."""

from __future__ import annotations

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torchvision.datasets import MNIST

from cnnlab.data import downloads
from cnnlab.data.images import read_images
from cnnlab.data.insects import CLASSES, draw_insects
from cnnlab.data.splits import ImageData, Split, divide

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
        Share of the training images kept for validation, the same of each class.
    seed
        Of that split; the images themselves are always the same.

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
    drawn = f"{DRAWN_TRAIN + DRAWN_TEST} drawn ants and bees"
    sources = {"photos": "397 photographs of ants and bees", "drawn": drawn}
    if (folder := _choose("ants_and_bees", source, sources)) is not None:
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
    digits = "scikit-learn's 1,797 handwritten digits"
    sources = {"mnist": "MNIST, 70,000 handwritten digits", "digits": digits}
    folder = _choose("mnist", source, sources)
    train, val, test = _mnist_splits(folder, seed) if folder else _digits_splits(seed)
    if limit is not None and limit < len(train):
        train = divide(train, limit, seed)[1]
    return ImageData(train, val, test, list("0123456789"), "mnist" if folder else "digits")


def _choose(name: str, source: str, sources: dict[str, str]) -> Path | None:
    """Return the folder of the real data, or None for the stand-in; say in a line which it is.

    `sources` describes the two: the real data first, then their stand-in.
    """
    if source not in ("auto", *sources):
        raise ValueError(f"source must be one of auto, {', '.join(sources)}; got {source!r}")
    real, stand_in = sources
    reason = ""
    if source != stand_in:
        try:
            folder = downloads.fetch(name, hurry=source == "auto")
            print(f"Data: {sources[real]}. For {sources[stand_in]}: source={stand_in!r}.")
            return folder
        except downloads.DownloadError as error:
            if source == real:
                raise
            how = f"`cnnlab fetch {name}`, or set CNNLAB_MIRROR"
            reason = f" ({error.reason}). For {sources[real]}: {how}"
    print(f"Data: {sources[stand_in]}{reason}.")
    return None


def _photographs(folder: Path, image_size: int, val_fraction: float, seed: int) -> ImageData:
    """Use the files with a known checksum; the tutorial's `val` becomes the test set."""
    names = list(downloads.checksums("ants_and_bees"))
    paths = [folder.parent / name for name in names]
    pixels, kept, unreadable = read_images(paths, image_size)
    labels = torch.tensor([CLASSES.index(path.parent.name) for path in paths])
    split = Split(pixels, labels[kept], [names[i] for i in kept])
    of_test = torch.tensor(["/val/" in name for name in split.names])
    train, val = divide(split.subset(~of_test), val_fraction, seed)
    stray = set(folder.rglob("*.*")) - set(paths)
    unused = unreadable | dict.fromkeys(sorted(stray), "not one of the 397 photographs")
    skipped = [f"{path.relative_to(folder).as_posix()}: {why}" for path, why in unused.items()]
    return ImageData(train, val, split.subset(of_test), list(CLASSES), "photos", skipped)


def _drawn(count: int, image_size: int, seed: int) -> Split:
    images, labels, masks = map(torch.from_numpy, draw_insects(count, image_size, seed))
    return Split(images, labels, [f"drawn {seed}/{i}" for i in range(count)], masks)


def _mnist_splits(folder: Path, seed: int) -> tuple[Split, Split, Split]:
    # torchvision looks for the folder MNIST/raw
    rest, test = (MNIST(folder.parents[1], train=train) for train in (True, False))
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
