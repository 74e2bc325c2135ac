"""Your own images: a folder, or a zip file, with one subfolder a class."""

from __future__ import annotations

import math
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cnnlab.data.downloads import unpack
from cnnlab.data.images import Streamed, read_images
from cnnlab.data.splits import ImageData, Split, divide

# Folders that hold class folders, and the split they mean.
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
LEFT_BEHIND = ("__MACOSX", "Thumbs.db", "desktop.ini")  # by operating systems, as are .names


def load_image_folder(
    path: str | Path,
    image_size: int = 192,
    *,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> ImageData:
    """Load your own images: a folder, or a zip file, with one subfolder a class.

    Either ``path/cats/…, path/dogs/…``: `test_fraction` of the images become the test set, and
    `val_fraction` of the rest the validation set, the same of each class. Or ``path/train/cats/…``
    beside ``path/val/…`` or ``path/test/…`` or both: whichever exists is used; with only one of
    the two, that one is the test set, and validation is split off ``train``.

    Files that are no readable images are left out, counted in one line and listed in
    ``.skipped``. Pictures are recognized by content; see `cnnlab.data.images.read_image`.
    Too many for the memory are decoded anew in every epoch; a line says so.

    Raises
    ------
    FileNotFoundError
        When there is nothing at `path`.
    ValueError
        Without class folders, with one class only, with a class that has no readable image or
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
    if not (0 < val_fraction < 1 and 0 < test_fraction < 1):
        raise ValueError(f"must be between 0 and 1: {val_fraction=}, {test_fraction=}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = path
        if not path.is_dir():
            folder = Path(temporary)
            unpack(path, folder)
        parts, classes, skipped = _read_parts(folder, path, image_size)
    if "all" in parts:
        left = 1 - test_fraction
        shares = (test_fraction, left * val_fraction, left * (1 - val_fraction))
        _check_enough(parts["all"], classes, path, min(shares))
        parts["train"], parts["test"] = divide(parts["all"], test_fraction, seed)
    if "test" not in parts:
        parts["test"] = parts.pop("val")
    if "val" not in parts:
        _check_enough(parts["train"], classes, path, min(val_fraction, 1 - val_fraction))
        parts["train"], parts["val"] = divide(parts["train"], val_fraction, seed)
    train, val, test = (parts[name] for name in ("train", "val", "test"))
    return ImageData(train, val, test, classes, f"folder: {path}", skipped)


def write_image_folder(split: Split, path: str | Path) -> Path:
    """Write the images of a split as PNG files, one folder a class, as `load_image_folder` reads.

    Parameters
    ----------
    split
        uint8 images (N, 1 or 3, H, W) with their classes.
    path
        The folder to make; files that are there already are replaced.

    Examples
    --------
    >>> images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    >>> split = Split(images, torch.tensor([0, 1, 1, 1]), classes=["cats", "dogs"])
    >>> folder = write_image_folder(split, tempfile.mkdtemp())
    >>> sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.png"))
    ['cats/0.png', 'dogs/1.png', 'dogs/2.png', 'dogs/3.png']
    """
    folder = Path(path)
    for i, (image, label) in enumerate(zip(split.inputs, split.labels.tolist(), strict=True)):
        target = folder / split.classes[label]
        target.mkdir(parents=True, exist_ok=True)
        pixels = image.expand(3, -1, -1).permute(1, 2, 0).numpy()  # (H, W, 3)
        Image.fromarray(pixels).save(target / f"{i}.png")
    return folder


def read_split(source: str | Path, split: str, image_size: int) -> Split:
    """Decode ``split/<class>/*`` of a folder or a zip; unreadable files are left out and counted.

    Names of classes are looked up in ``classes.tsv`` (folder, tab, name) if the source has one.

    Parameters
    ----------
    source
        A folder or a zip file, which is read without unpacking it.
    split
        Name of the upper folder, such as ``"train"``.
    image_size
        Side of the images in pixels.

    Raises
    ------
    ValueError
        If it has no images in at least two classes of this split.
    """
    if Path(source).is_dir():
        root: Any = Path(source)
        files = [path.relative_to(root).as_posix() for path in root.glob(f"{split}/*/*")]
    else:
        root = zipfile.Path(source)
        files = [name for name in root.root.namelist() if not name.endswith("/")]
    names = sorted(n for n in files if n.startswith(f"{split}/") and n.count("/") == 2)
    folders, numbers = np.unique([name.split("/")[1] for name in names], return_inverse=True)
    if len(folders) < 2:
        raise ValueError(f"{source} has {len(folders)} classes in {split}/; at least 2 are needed")
    paths = [root.joinpath(name) for name in names]
    images, kept, unreadable = read_images(paths, image_size, stream=False)
    if unreadable:
        print(f"{len(unreadable)} of {len(names)} files in {split}/ are no images")
    table = root.joinpath("classes.tsv")
    rows = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    spoken = {folder: words.split(",")[0] for folder, words in (row.split("\t") for row in rows)}
    classes = [spoken.get(folder, folder) for folder in folders.tolist()]
    return Split(images, torch.from_numpy(numbers[kept]), classes=classes)


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
        return {"all": folder}  # images of trains, beside those of buses: a class like another
    found = {SPLIT_NAMES[name]: path for name, path in by_name.items() if name in splits}
    if len(found) < len(by_name) or "train" not in found:
        names = ", ".join(path.name for path in inside)
        raise ValueError(f"in {folder}, expected train with val or test or both; found {names}")
    return found if len(found) > 1 else {"all": found["train"]}


def _read_parts(
    folder: Path, path: Path, image_size: int
) -> tuple[dict[str, Split], list[str], list[str]]:
    """Read every split's images, in one go; return them with the classes and skipped files."""
    where = split_folders(folder)
    classes = _class_names(where, path)
    found = [
        (part, label, file)
        for part, root in where.items()
        for label, name in enumerate(classes)
        for file in _files(root / name, "**/*")
    ]
    files = [file for _, _, file in found]
    if not files:
        raise ValueError(f"no images in {path}: its class folders are empty")
    pixels, kept, unreadable = read_images(files, image_size)
    if isinstance(pixels, Streamed) and folder != path:
        raise ValueError(f"{path} holds too many images for the memory: unpack it and try again")
    loose = [file for root in where.values() for file in _files(root, "*")]
    unused = unreadable | dict.fromkeys(loose, "not in a class folder")
    skipped = [f"{_name(file, folder)}: {why}" for file, why in unused.items()]
    if skipped:
        more = "; …" if len(skipped) > 3 else ""  # all of them are in `.skipped`
        print(f"Skipped {len(skipped)} files: {'; '.join(skipped[:3])}{more}")
    labels = torch.tensor([found[i][1] for i in kept], dtype=torch.int64)
    whole = Split(pixels, labels, [_name(files[i], folder) for i in kept])
    parts = {}
    for part, root in where.items():
        parts[part] = whole.subset([j for j, i in enumerate(kept) if found[i][0] == part])
        _check_enough(parts[part], classes, path / root.relative_to(folder), 1)
    return parts, [_name(Path(name)) for name in classes], skipped


def _class_names(where: dict[str, Path], path: Path) -> list[str]:
    names = {part: [sub.name for sub in _subfolders(root)] for part, root in where.items()}
    classes = names.get("train") or names["all"]
    if len(classes) < 2:
        few = f"only one class, {classes[0]!r}," if classes else "no class folders"
        raise ValueError(f"{few} in {path}: expected one subfolder a class, as cats/ and dogs/")
    for part, others in names.items():
        if others != classes:
            odd = sorted(set(others) ^ set(classes))
            raise ValueError(f"{part} and train in {path} have different classes: {odd}")
    return classes


def _name(path: Path, folder: Path = Path()) -> str:
    """Return a name that can be printed: Linux allows bytes in names that are no letters."""
    return path.relative_to(folder).as_posix().encode(errors="replace").decode()


def _check_enough(split: Split, classes: list[str], path: Path, smallest_share: float) -> None:
    """Every class must be in every split: the smallest split decides how many that takes."""
    needed = math.ceil(1 / smallest_share)
    counts = torch.bincount(split.labels, minlength=len(classes)).tolist()
    for count, name in zip(counts, classes, strict=True):
        if count < needed:
            found = f"the class {name!r} has {count} readable images in {path / name}"
            raise ValueError(f"{found}, but {needed} are needed to divide them so: add images")


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder.iterdir()) if path.is_dir()]


def _files(folder: Path, pattern: str) -> list[Path]:
    return [path for path in _visible(folder.glob(pattern)) if path.is_file()]


def _visible(paths: Iterable[Path]) -> list[Path]:
    return sorted(p for p in paths if not p.name.startswith(".") and p.name not in LEFT_BEHIND)
