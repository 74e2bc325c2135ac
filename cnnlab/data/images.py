"""Turns pictures of any kind into square uint8 RGB arrays."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm.auto import tqdm

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # EPS and the like run programs
MAX_PIXELS = 80_000_000  # one picture, as its header states; a decoded 240 MB
MAX_DECODED_BYTES = 1024**3 // 2  # kept in memory; while they are split in three, twice as much
MAX_THREADS = 8


class UnreadableImage(ValueError):
    """A picture that cannot be decoded, or whose header is absurd."""


def read_image(path: Path | BinaryIO, image_size: int) -> np.ndarray:
    """Read a picture: turned upright, on white where transparent, cropped to the middle square.

    Parameters
    ----------
    path
        A file, or its content as a stream: JPEG, PNG, GIF (first frame), BMP, TIFF, WebP or PPM,
        recognized by content, not by suffix.
    image_size
        Side of the result in pixels; the picture's shorter side is resized to it, with
        antialiasing.

    Returns
    -------
    numpy.ndarray
        uint8 (3, image_size, image_size).

    Raises
    ------
    UnreadableImage
        When the file is no picture, is damaged, or states more than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImage(
                    f"{image.width} × {image.height} pixels, more than {MAX_PIXELS:,}"
                )
            # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, which saves most of the work.
            image.draft(None, (2 * image_size, 2 * image_size))
            upright = ImageOps.exif_transpose(image)
            square = ImageOps.fit(
                to_rgb(upright), (image_size, image_size), Image.Resampling.BILINEAR
            )
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage(
            f"not a picture in one of the formats {', '.join(FORMATS)}"
        ) from error
    except Exception as error:  # damaged files make the decoders raise nearly anything
        raise UnreadableImage(f"damaged ({error})") from error
    return np.asarray(square).transpose(2, 0, 1)  # (H, W, C) -> (C, H, W)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16-bit and float grays are scaled to 0…255, transparent is white.

    Examples
    --------
    >>> to_rgb(Image.new("I;16", (1, 1), 65535)).getpixel((0, 0))
    (255, 255, 255)
    """
    if image.mode.startswith(("I", "F")):  # 16- or 32-bit gray; convert() would clip it
        values = np.asarray(image, dtype=np.float64)
        scale = 65535.0 if image.mode.startswith("I") else 1.0
        largest = max(scale, float(np.nanmax(values)))
        image = Image.fromarray((values.clip(0, None) * 255 / largest).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


class Streamed:
    """Pictures that are too many for the memory: decoded whenever they are asked for.

    Stands in for a uint8 tensor (N, 3, H, W) wherever a `Split` uses one.
    """

    dtype = torch.uint8

    def __init__(self, paths: Sequence[Path], image_size: int) -> None:
        self.paths, self.image_size = list(paths), image_size
        self.shape = torch.Size([len(paths), 3, image_size, image_size])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Tensor:
        chosen = torch.arange(len(self))[index]  # (B,), or a single number
        paths = [self.paths[i] for i in chosen.flatten().tolist()]
        pixels = np.empty((len(paths), *self.shape[1:]), dtype=np.uint8)
        if unreadable := _decode(paths, self.image_size, pixels):
            path, why = unreadable.popitem()
            raise UnreadableImage(f"{path} could be read before, but not now: {why}")
        return torch.from_numpy(pixels).view(*chosen.shape, *self.shape[1:])

    def index_select(self, dim: int, index: Tensor) -> Streamed:
        """Choose some of the pictures without decoding them."""
        return Streamed([self.paths[i] for i in index.tolist()], self.image_size)

    def split(self, size: int) -> Iterator[Tensor]:
        """Go through all pictures, `size` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))


def read_images(
    paths: Sequence[Path], image_size: int
) -> tuple[Tensor, list[int], dict[Path, str]]:
    """Read many pictures with a few threads; those that cannot be read are left out.

    Parameters
    ----------
    paths
        The files.
    image_size
        Side in pixels, see `read_image`.

    Returns
    -------
    images : Tensor
        uint8 (N, 3, image_size, image_size) of the readable ones, in order. If they need more
        than `MAX_DECODED_BYTES` of memory, `Streamed` stands in for it, which is slower.
    kept : list of int
        Their positions in `paths`.
    unreadable : dict
        Path to reason.

    Raises
    ------
    ValueError
        For a bad size.
    """
    if not isinstance(image_size, int) or image_size < 1:
        raise ValueError(f"image_size must be a whole number of pixels ≥ 1, got {image_size!r}")
    needed = len(paths) * 3 * image_size**2
    fits = needed <= MAX_DECODED_BYTES
    images = np.empty((len(paths), 3, image_size, image_size), dtype=np.uint8) if fits else None
    unreadable = _decode(paths, image_size, images)
    kept = [i for i, path in enumerate(paths) if path not in unreadable]
    if images is not None:
        pixels = torch.from_numpy(images)
        return (pixels[kept] if unreadable else pixels), kept, unreadable
    fitting = int((MAX_DECODED_BYTES / (3 * len(paths))) ** 0.5)
    print(
        f"{len(paths):,} pictures of {image_size} × {image_size} pixels need {needed:,} bytes, "
        f"more than the {MAX_DECODED_BYTES:,} to be kept in memory: they are decoded anew each "
        f"time, which is slower. With image_size={fitting} or less they would be kept."
    )
    return Streamed([paths[i] for i in kept], image_size), kept, unreadable  # type: ignore[return-value]


def _decode(paths: Sequence[Path], image_size: int, images: np.ndarray | None) -> dict[Path, str]:
    """Decode all pictures, into `images` if given; return those that cannot be read, and why."""

    def read(position: int) -> str | None:
        try:
            picture = read_image(paths[position], image_size)
        except UnreadableImage as error:
            return str(error)
        if images is not None:
            images[position] = picture
        return None

    threads = min(MAX_THREADS, os.cpu_count() or 1)
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # PIL's remarks on odd files: the reasons are reported
        results = pool.map(read, range(len(paths)))
        reasons = list(tqdm(results, "decoding", len(paths), delay=2, leave=False))
    return {path: why for path, why in zip(paths, reasons, strict=True) if why is not None}


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
