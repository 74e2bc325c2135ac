"""Pictures of every kind become upright uint8 RGB squares, or a reason why not."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.data import images
from cnnlab.data.images import Streamed, UnreadableImage, read_image, read_images
from cnnlab.data.splits import Split

RED, WHITE = (255, 0, 0), (255, 255, 255)


def center(path: Path, size: int = 8) -> tuple[int, ...]:
    return tuple(int(value) for value in read_image(path, size)[:, size // 2, size // 2])


def saved(tmp_path: Path, image: Image.Image, name: str = "a.png", **options: object) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


def png_with_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


def test_the_result_is_channels_first_uint8(tmp_path: Path) -> None:
    pixels = read_image(saved(tmp_path, Image.new("RGB", (30, 20), RED)), 12)
    assert pixels.shape == (3, 12, 12)
    assert pixels.dtype == np.uint8
    assert (pixels[0] == 255).all() and (pixels[1:] == 0).all()


def test_the_middle_is_kept(tmp_path: Path) -> None:
    wide = Image.new("RGB", (60, 20), "blue")
    wide.paste(RED, (20, 0, 40, 20))
    pixels = read_image(saved(tmp_path, wide), 20)
    assert (pixels[0] == 255).all(), "the red middle square, nothing of the blue sides"


def test_shrinking_averages(tmp_path: Path) -> None:
    chequers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = read_image(saved(tmp_path, Image.fromarray(chequers)), 8)
    assert abs(pixels.astype(int) - 127).max() < 10, "not the aliases of single pixels"


@pytest.mark.parametrize(
    ("mode", "color", "name", "expected"),
    [
        ("L", 200, "a.png", (200, 200, 200)),
        ("1", 1, "a.png", WHITE),
        ("P", 0, "a.gif", (0, 0, 0)),
        ("LA", (200, 255), "a.png", (200, 200, 200)),
        ("RGBA", (255, 0, 0, 255), "a.png", RED),
        ("RGBA", (255, 0, 0, 0), "a.png", WHITE),
        ("RGBA", (0, 0, 0, 0), "a.webp", WHITE),
        ("I;16", 65535, "a.png", WHITE),
        ("I;16", 257 * 100, "a.tif", (100, 100, 100)),
        ("F", 0.5, "a.tif", (128, 128, 128)),
        ("F", 0.0, "a.tif", (0, 0, 0)),
        ("RGB", RED, "a.bmp", RED),
        ("RGB", RED, "a.ppm", RED),
    ],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, mode: str, color: object, name: str, expected: tuple[int, ...]
) -> None:
    assert center(saved(tmp_path, Image.new(mode, (16, 16), color), name)) == expected


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    magenta_and_yellow = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red, green, blue = center(saved(tmp_path, magenta_and_yellow, "a.jpg"))
    assert red > 240 and green < 15 and blue < 15


def test_a_palette_with_transparency_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert center(saved(tmp_path, image, transparency=1)) == WHITE
    assert center(saved(tmp_path, image, transparency=0)) == RED


def test_exif_turns_the_picture_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (32, 32), "blue")
    image.paste(RED, (0, 0, 32, 16))  # red on top
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90° clockwise
    pixels = read_image(saved(tmp_path, image, "a.jpg", exif=exif), 32)
    assert pixels[0, 16, 28] > 200 and pixels[2, 16, 3] > 200, "red on the right, blue on the left"


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16), RED)
    assert center(saved(tmp_path, image, "a.jpg", format="PNG")) == RED


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, "blue")]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert center(path) == RED


def test_a_large_jpeg_looks_the_same_as_decoded_in_full(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    path = saved(tmp_path, smooth.resize((1600, 1200), Image.Resampling.BICUBIC), "a.jpg")
    full = Image.open(path).convert("RGB")
    wanted = full.crop((200, 0, 1400, 1200)).resize((64, 64), Image.Resampling.BILINEAR)
    difference = read_image(path, 64).astype(int) - np.asarray(wanted).transpose(2, 0, 1)
    assert abs(difference).mean() < 1.5


def jpeg() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image"),
        (b"To do: buy film", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (jpeg()[: len(jpeg()) // 2], "cannot be read.*truncated"),
        (jpeg()[:30], "not an image|cannot be read"),
        (png_with_header(16, 16), "cannot be read"),
        (png_with_header(20_000, 20_000), "pixels"),
        (png_with_header(9_100, 9_100), "9100 × 9100 pixels, more than 80,000,000"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImage, match=reason):
        read_image(tmp_path / "a.jpg", 8)


@pytest.mark.filterwarnings("error")
def test_many_are_read_in_order_without_the_unreadable(tmp_path: Path) -> None:
    colors = [0, 50, 100, 150, 200]
    paths = [saved(tmp_path, Image.new("L", (9, 9), c), f"{c}.png") for c in colors]
    paths[1].write_bytes(b"nonsense")
    paths[3].write_bytes(png_with_header(10_000, 10_000))  # above PIL's own warning
    pixels, kept, unreadable = read_images(paths, 4)
    assert kept == [0, 2, 4]
    assert pixels[:, 0, 0, 0].tolist() == [0, 100, 200]
    assert list(unreadable) == [paths[1], paths[3]]


def test_pictures_too_many_for_the_memory_are_the_same_but_decoded_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    paths = [saved(tmp_path, Image.new("L", (9, 9), 40 * i), f"{i}.png") for i in range(6)]
    paths[4].write_bytes(b"nonsense")
    kept_in_memory, *others = read_images(paths, 4)
    monkeypatch.setattr(images, "MAX_DECODED_BYTES", 6 * 3 * 3**2)
    streamed, *same = read_images(paths, 4)
    assert "need 288 bytes, more than the 162" in capsys.readouterr().out
    assert isinstance(streamed, Streamed) and same == others
    assert streamed.shape == kept_in_memory.shape and len(streamed) == 5
    whole = Split(kept_in_memory, torch.arange(5))
    part = Split(streamed, torch.arange(5)).subset([4, 0, 2])
    assert isinstance(part.inputs, Streamed)
    for index in (2, slice(1, 3), [2, 0], torch.tensor([True, False, True])):
        for ours, expected in zip(part[index], whole.subset([4, 0, 2])[index], strict=True):
            assert torch.equal(ours, expected)
    assert torch.equal(torch.cat(list(streamed.split(2))), kept_in_memory)
    paths[5].unlink()
    with pytest.raises(UnreadableImage, match=r"5\.png could be read before, but not now"):
        streamed[4]


@pytest.mark.parametrize("size", [0, -1, 11.5, "112"])
def test_a_bad_size_is_refused(size: object) -> None:
    with pytest.raises(ValueError, match="image_size must be a whole number"):
        read_images([], size)  # type: ignore[arg-type]
