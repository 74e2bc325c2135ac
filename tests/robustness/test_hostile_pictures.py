"""A folder as students bring it: every kind of damage, and still three epochs to the end."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_images import png_with_header
from torch import nn

from cnnlab import fit, load_image_folder
from cnnlab.data.images import UnreadableImage, read_image

RED = (220, 30, 30)


def picture(kind: str = "PNG", size: tuple[int, int] = (24, 20), seed: int = 0) -> bytes:
    """A red picture with some noise, so that it does not shrink to a few bytes."""
    noise = np.random.default_rng(seed).integers(-30, 31, (size[1], size[0], 3))
    image = Image.fromarray((np.array(RED) + noise).clip(0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture("JPEG"))).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def of_mode(mode: str, kind: str, color: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (24, 20), color).save(buffer, kind)  # type: ignore[arg-type]
    return buffer.getvalue()


BAD = {
    "truncated.jpg": picture("JPEG")[:300],
    "truncated.png": picture("PNG")[:300],
    "truncated.gif": picture("GIF")[:100],
    "truncated.webp": picture("WEBP")[:100],
    "zero.jpg": b"",
    "zeros.png": bytes(1000),
    "huge header.png": png_with_header(20_000, 20_000),
    "notes.jpg": b"buy film",
    "page.jpg": b"<html>404 not found</html>",
    "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch canary) run\n",
    "archive.png": b"PK\x03\x04" + bytes(50),
    "film.mp4": b"\0\0\0\x18ftypmp42" + bytes(50),
}
GOOD = {
    "still.gif": picture("GIF"),
    "print.jpg": of_mode("CMYK", "JPEG", (20, 220, 220, 10)),
    "scan.png": of_mode("I;16", "PNG", 40_000),
    "scan.tif": of_mode("I;16", "TIFF", 40_000),
    "upright.jpg": with_exif(),
    "really a png.jpg": picture("PNG"),
    "no suffix": picture("WEBP"),
    "glass.png": of_mode("RGBA", "PNG", (0, 0, 0, 0)),
    "one pixel.png": picture("PNG", (1, 1)),
    "a line.png": picture("PNG", (4000, 1)),
}


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """Two classes of 24 good pictures each; all the odd ones are among the cats."""
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(24 - (len(GOOD) if name == "cats" else 0)):
            (tmp_path / "pets" / name / f"{i}.png").write_bytes(picture(seed=i))
    for name, content in (BAD | GOOD).items():
        (tmp_path / "pets/cats" / name).write_bytes(content)
    return tmp_path / "pets"


@pytest.mark.filterwarnings("error")
def test_three_epochs_on_a_messy_folder(messy, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data = load_image_folder(messy, image_size=16)
    assert {line.split(": ")[0] for line in data.skipped} == {f"cats/{name}" for name in BAD}
    assert f"Skipped {len(BAD)} files: " in capsys.readouterr().out
    names = {name for split in data.splits().values() for name in split.names}
    assert {f"cats/{name}" for name in GOOD} <= names and len(names) == 48
    assert not list(tmp_path.glob("canary*")), "PostScript is a programming language"
    loaders = data.loaders(8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    history = fit(model, loaders.train, loaders.val, epochs=3)
    assert history.ending == "finished" and len(history) == 3


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="needs names that are no text")
def test_names_that_are_no_text_can_be_printed(tmp_path, capsys):
    """As after unpacking an archive from an old Windows: bytes that are no UTF-8."""
    place = os.fsencode(tmp_path)
    for name in (b"caf\xe9", b"th\xe9"):
        os.mkdir(os.path.join(place, name))
        for i in range(8):
            with open(os.path.join(place, name, b"\xfc%d.png" % i), "wb") as file:
                file.write(picture(seed=i))
    with open(os.path.join(place, b"caf\xe9", b"\xe4.png"), "wb") as file:
        file.write(b"no picture")
    data = load_image_folder(tmp_path, image_size=8)
    assert "Skipped 1 files: caf?/?.png: not an image" in capsys.readouterr().out
    assert data.classes == ["caf?", "th?"] and len(data.train) + len(data.val) > 8
    repr(data).encode()
    "".join(data.train.names).encode()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_passed_over(messy):
    os.mkfifo(messy / "cats" / "pipe.png")  # reading it would wait for ever
    (messy / "cats" / "loop").symlink_to(messy)
    (messy / "dogs" / "gone.png").symlink_to(messy / "nowhere.png")
    data = load_image_folder(messy, image_size=8)
    assert sum(len(split) for split in data.splits().values()) == 48


KINDS = {kind: picture(kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM")}


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_damaged_picture_is_read_or_refused(kind, data):
    content = bytearray(KINDS[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            del content[at : at + data.draw(st.integers(1, 30))]
        if not content:
            break
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = read_image(io.BytesIO(bytes(content)), 8)
        except UnreadableImage:
            return
    assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8


# ------------------------------------------------------------------------------- generated folders

FOLDER_NAMES = st.text("abcé中_-~# 1", min_size=1, max_size=6).filter(
    lambda name: name.strip() == name
)
CLASSES = st.dictionaries(
    FOLDER_NAMES, st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=4
)


@settings(max_examples=40, deadline=None)
@given(CLASSES, st.floats(0.1, 0.5), st.floats(0.1, 0.5), st.integers(0, 5))
def test_generated_folders_are_divided_completely_or_refused(classes, val, test, seed):
    """Each class has some readable images, and some that are not."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (good, bad) in classes.items():
            Path(folder, name).mkdir(exist_ok=True)
            for i in range(good):
                Path(folder, name, f"{i}.png").write_bytes(KINDS["PNG"])
            for i in range(bad):
                Path(folder, name, f"bad {i}.png").write_bytes(b"no picture")
        found = sorted(path.name for path in Path(folder).iterdir())
        try:
            data = load_image_folder(folder, 4, val_fraction=val, test_fraction=test, seed=seed)
        except ValueError as error:
            smallest = min((good for good, _ in classes.values()), default=0)
            share = min(test, (1 - test) * val, (1 - test) * (1 - val))
            assert len(classes) < 2 or smallest * share < 2, error  # each split is rounded
            return
        assert data.classes == found
        names = [name for split in data.splits().values() for name in split.names]
        assert sorted(names) == sorted(
            f"{name}/{i}.png" for name, (good, _) in classes.items() for i in range(good)
        )
        assert len(data.skipped) == sum(bad for _, bad in classes.values())
        for split in data.splits().values():
            assert split.labels.bincount(minlength=len(found)).min() > 0
            for name, label in zip(split.names, split.labels, strict=True):
                assert name.startswith(f"{data.classes[label]}/")
        again = load_image_folder(folder, 4, val_fraction=val, test_fraction=test, seed=seed)
        assert torch.equal(again.train.inputs[:], data.train.inputs[:])
