"""Turns image files of any kind into square uint8 RGB arrays."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm.auto import tqdm

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # EPS and the like run programs
MAX_PIXELS = 80_000_000  # one image, as its header states; a decoded 240 MB
MAX_DECODED_BYTES = 1024**3 // 2  # kept in memory; while they are split in three, twice as much
MAX_THREADS = 8


class UnreadableImage(ValueError):
    """An image that cannot be decoded, or whose header is absurd."""


def read_image(path: Path | BinaryIO, image_size: int) -> np.ndarray:
    """Read an image: turned upright, on white where transparent, cropped to the middle square.

    Parameters
    ----------
    path
        A file, or its content as a stream: JPEG, PNG, GIF (first frame), BMP, TIFF, WebP or PPM,
        recognized by content, not by suffix.
    image_size
        Side of the result in pixels; the image's shorter side is resized to it, with
        antialiasing.

    Returns
    -------
    numpy.ndarray
        uint8 (3, image_size, image_size).

    Raises
    ------
    UnreadableImage
        When the file is no image, is damaged, or states more than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} × {image.height} pixels, more than {MAX_PIXELS:,}")
            # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, which saves most of the work.
            image.draft(None, (2 * image_size, 2 * image_size))
            upright = to_rgb(ImageOps.exif_transpose(image))
            square = ImageOps.fit(upright, (image_size, image_size), Image.Resampling.BILINEAR)
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"not an image in a format among {', '.join(FORMATS)}") from error
    except Exception as error:  # damaged files make the decoders raise nearly anything
        raise UnreadableImage(f"cannot be read ({error})") from error
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
    """Images that are too many for the memory: decoded whenever they are asked for.

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
        """Choose some of the images without decoding them."""
        return Streamed([self.paths[i] for i in index.tolist()], self.image_size)

    def split(self, size: int) -> Iterator[Tensor]:
        """Go through all images, `size` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))


def read_images(
    paths: Sequence[Path], image_size: int, *, stream: bool = True
) -> tuple[Tensor, list[int], dict[Path, str]]:
    """Read many images with a few threads; those that cannot be read are left out.

    Parameters
    ----------
    paths
        The files.
    image_size
        Side in pixels, see `read_image`.
    stream
        Whether `Streamed` stands in for what needs more than `MAX_DECODED_BYTES` of memory.

    Returns
    -------
    images : Tensor
        uint8 (N, 3, image_size, image_size) of the readable ones, in order; or `Streamed`,
        which is slower.
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
    fits = needed <= MAX_DECODED_BYTES or not stream
    images = np.empty((len(paths), 3, image_size, image_size), dtype=np.uint8) if fits else None
    unreadable = _decode(paths, image_size, images)
    kept = [i for i, path in enumerate(paths) if path not in unreadable]
    if images is not None:
        pixels = torch.from_numpy(images)
        return (pixels[kept] if unreadable else pixels), kept, unreadable
    fitting = int((MAX_DECODED_BYTES / (3 * len(paths))) ** 0.5)
    print(
        f"{len(paths):,} images need {needed:,} bytes, more than the {MAX_DECODED_BYTES:,} to be "
        f"kept: they are decoded anew each time. With image_size={fitting} they would be kept."
    )
    return Streamed([paths[i] for i in kept], image_size), kept, unreadable  # type: ignore[return-value]


def _decode(paths: Sequence[Path], image_size: int, images: np.ndarray | None) -> dict[Path, str]:
    """Decode all images, into an array if given; return those that cannot be read, and why."""

    def read(position: int) -> str | None:
        try:
            with paths[position].open("rb") as file:
                pixels = read_image(file, image_size)
        except (OSError, UnreadableImage) as error:
            return str(error)
        if images is not None:
            images[position] = pixels
        return None

    threads = min(MAX_THREADS, os.cpu_count() or 1)
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # PIL's remarks on odd files: the reasons are reported
        results = pool.map(read, range(len(paths)))
        reasons = list(tqdm(results, "decoding", len(paths), delay=2, leave=False))
    return {path: why for path, why in zip(paths, reasons, strict=True) if why is not None}
