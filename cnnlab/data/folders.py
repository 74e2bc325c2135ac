"""Your own pictures: a folder, or a zip file, with one subfolder a class."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from PIL import Image

from cnnlab.data.downloads import unpack
from cnnlab.data.images import Streamed, read_images
from cnnlab.data.splits import ImageData, Split, divide

# Folders that hold class folders, and the split they mean.
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
NOT_CLASSES = ("__MACOSX",)
NOT_PICTURES = ("Thumbs.db", "desktop.ini")
SHOWN = 3  # skipped files named in the message; all of them are in `.skipped`


def load_image_folder(
    path: str | Path,
    image_size: int = 192,
    *,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> ImageData:
    """Load your own pictures: a folder, or a zip file, with one subfolder a class.

    Either ``path/cats/…, path/dogs/…``: `test_fraction` of the pictures become the test set, and
    `val_fraction` of the rest the validation set, the same of each class. Or ``path/train/cats/…``
    beside ``path/val/…`` or ``path/test/…`` or both: whichever exists is used; with only one of
    the two, that one is the test set, and validation is split off ``train``.

    Files that are no readable pictures are left out, counted in one line and listed in
    ``.skipped``. Pictures are recognized by content; see `cnnlab.data.images.read_image`.
    Too many for the memory are decoded anew in every epoch; a line says so.

    Raises
    ------
    FileNotFoundError
        When there is nothing at `path`.
    ValueError
        Without class folders, with one class only, with a class that has no readable picture or
        too few to split, or for a zip file that is damaged, not safe or too large for the memory.

    Examples
    --------
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cats", "dogs"):
    ...         Path(folder, name).mkdir()
    ...         for i in range(10):
    ...             Image.new("RGB", (60, 40)).save(Path(folder, name, f"{i}.jpg"))
    ...     data = load_image_folder(folder, image_size=32)
    >>> len(data.train), len(data.val), len(data.test), data.classes
    (12, 4, 4, ['cats', 'dogs'])
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"nothing at {path.absolute()}: give a folder or a zip file")
    for fraction in (val_fraction, test_fraction):
        if not 0 < fraction < 1:
            raise ValueError(f"a fraction must be between 0 and 1, got {fraction}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = path
        if not path.is_dir():
            folder = Path(temporary)
            unpack(path, folder)
        parts, classes, skipped = _read_parts(folder, path, image_size)
    if "all" in parts:
        left = 1 - test_fraction
        shares = (test_fraction, left * val_fraction, left * (1 - val_fraction))
        _check_enough(parts["all"], classes, min(shares))
        parts["train"], parts["test"] = divide(parts["all"], test_fraction, seed)
    test = parts.get("test") or parts["val"]
    if "test" in parts and "val" in parts:
        train, val = parts["train"], parts["val"]
    else:
        _check_enough(parts["train"], classes, min(val_fraction, 1 - val_fraction))
        train, val = divide(parts["train"], val_fraction, seed)
    return ImageData(train, val, test, classes, f"folder: {path}", skipped)


def write_image_folder(split: Split, path: str | Path) -> Path:
    """Write the pictures of a split as PNG files, one folder a class, as `load_image_folder` reads.

    Parameters
    ----------
    split
        uint8 pictures (N, 1 or 3, H, W) with their classes.
    path
        The folder to make; files that are there already are replaced.

    Examples
    --------
    >>> pictures = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    >>> split = Split(pictures, torch.tensor([0, 1, 1, 1]), classes=["cats", "dogs"])
    >>> folder = write_image_folder(split, tempfile.mkdtemp())
    >>> sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.png"))
    ['cats/0.png', 'dogs/1.png', 'dogs/2.png', 'dogs/3.png']
    """
    folder = Path(path)
    for i, (picture, label) in enumerate(zip(split.inputs, split.labels.tolist(), strict=True)):
        target = folder / split.classes[label]
        target.mkdir(parents=True, exist_ok=True)
        pixels = picture.expand(3, -1, -1).permute(1, 2, 0).numpy()  # (H, W, 3)
        Image.fromarray(pixels).save(target / f"{i}.png")
    return folder


def split_folders(folder: Path) -> dict[str, Path]:
    """Find where the class folders are: ``{"all": …}``, or train and val or test or both.

    A folder that only wraps another one, as in most zip files, is passed through.
    """
    inside = _subfolders(folder)
    if len(inside) == 1 and not _files(inside[0], "*") and _subfolders(inside[0]):
        return split_folders(inside[0])
    by_name = {path.name.lower(): path for path in inside}
    splits = set(by_name) & set(SPLIT_NAMES)
    if not splits or any(_files(by_name[name], "*") for name in splits):
        return {"all": folder}  # pictures of trains, beside those of buses: a class like another
    found = {SPLIT_NAMES[name]: path for name, path in by_name.items() if name in splits}
    if len(found) < len(by_name) or "train" not in found:
        names = ", ".join(path.name for path in inside)
        raise ValueError(f"in {folder}, expected train with val or test or both; found {names}")
    return found if len(found) > 1 else {"all": found["train"]}


def _read_parts(
    folder: Path, path: Path, image_size: int
) -> tuple[dict[str, Split], list[str], list[str]]:
    """Read every split's pictures, in one go; return them with the classes and skipped files."""
    where = split_folders(folder)
    classes = [sub.name for sub in _subfolders(where.get("train") or where["all"])]
    _check_classes(where, classes, path)
    found = [
        (part, label, file)
        for part, root in where.items()
        for label, name in enumerate(classes)
        for file in _files(root / name, "**/*")
    ]
    files = [file for _, _, file in found]
    if not files:
        raise ValueError(f"no pictures in {path}: its class folders are empty")
    pixels, kept, unreadable = read_images(files, image_size)
    if isinstance(pixels, Streamed) and folder != path:
        raise ValueError(f"{path} holds too many pictures for the memory: unpack it and try again")
    loose = [file for root in where.values() for file in _files(root, "*")]
    unused = unreadable | dict.fromkeys(loose, "not in a class folder")
    skipped = [f"{_name(file, folder)}: {why}" for file, why in unused.items()]
    if skipped:
        more = "; …" if len(skipped) > SHOWN else ""
        print(f"Skipped {len(skipped)} files: {'; '.join(skipped[:SHOWN])}{more}")
    whole = Split(
        pixels,
        torch.tensor([found[i][1] for i in kept], dtype=torch.int64),
        [_name(files[i], folder) for i in kept],
    )
    parts = {}
    for part in where:
        parts[part] = whole.subset([j for j, i in enumerate(kept) if found[i][0] == part])
        _check_filled(parts[part], classes, where[part].relative_to(folder), path)
    return parts, [_name(Path(name)) for name in classes], skipped


def _name(path: Path, folder: Path = Path()) -> str:
    """Return a name that can be printed: Linux allows bytes in names that are no letters."""
    return path.relative_to(folder).as_posix().encode(errors="replace").decode()


def _check_classes(where: dict[str, Path], classes: list[str], path: Path) -> None:
    expected = "expected one subfolder a class, such as cats/ and dogs/"
    if not classes:
        raise ValueError(f"no class folders in {path}: {expected}")
    if len(classes) == 1:
        raise ValueError(f"only one class, {classes[0]!r}, in {path}: {expected}")
    for part, root in where.items():
        others = [sub.name for sub in _subfolders(root)]
        if others != classes:
            odd = sorted(set(others) ^ set(classes))
            raise ValueError(f"{part} and train in {path} have different classes: {odd}")


def _check_filled(split: Split, classes: list[str], part: Path, path: Path) -> None:
    for label, name in enumerate(classes):
        if not (split.labels == label).any():
            raise ValueError(f"the class {name!r} has no readable picture in {path / part / name}")


def _check_enough(split: Split, classes: list[str], smallest_share: float) -> None:
    """Every class must be in every split: the smallest split decides how many that takes."""
    needed = math.ceil(1 / smallest_share)
    for label, name in enumerate(classes):
        count = int((split.labels == label).sum())
        if count < needed:
            raise ValueError(
                f"the class {name!r} has {count} readable pictures to divide, but each class needs "
                f"{needed}, because the smallest split is to have {smallest_share:.0%} of them; "
                "add pictures or choose larger fractions"
            )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in NOT_CLASSES
    )


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.is_file() and not path.name.startswith(".") and path.name not in NOT_PICTURES
    )
