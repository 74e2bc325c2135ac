"""Zip files that somebody prepared, or that something damaged: refused or contained, and quick."""

from __future__ import annotations

import io
import stat
import tempfile
import time
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab.data import downloads
from cnnlab.data.downloads import unpack

PARTS = st.one_of(
    st.sampled_from(["", ".", "..", "...", " ", ".. ", "~", "C:", "NUL", "cats", "1.jpg", "-rf"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.integers(100, 300).map("x".__mul__),
)
NAMES = st.lists(PARTS, min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from("/\\").map(lambda slash: slash.join(parts))
)


def zipped(*names: str, content: bytes = b"content of a file") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            info = zipfile.ZipInfo()  # its constructor would already tidy the name up
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return buffer.getvalue()


def everything_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=150, deadline=None)
@given(st.lists(NAMES, max_size=4))
def test_whatever_the_names_nothing_lands_outside(names):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "a.zip").write_bytes(zipped(*names))
        (place / "deep" / "out").mkdir(parents=True)
        with suppress(ValueError):
            unpack(place / "a.zip", place / "deep" / "out")
        written = everything_below(place / "deep" / "out")
        assert all(path.read_bytes() in (b"content of a file", b"") for path in written)
        assert everything_below(place) == written | {place / "a.zip"}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_archive_is_a_value_error_or_the_true_content(data):
    """Bytes are altered, cut out and doubled at random places of a good archive."""
    whole = zipped("cats/1.jpg", "dogs/ä.jpg", content=bytes(range(256)) * 3)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3), label="faults")):
        at = data.draw(st.integers(0, max(len(damaged) - 1, 0)), label="at")
        kind = data.draw(st.sampled_from(["alter", "cut", "double", "truncate"]), label="kind")
        size = data.draw(st.integers(1, 20), label="size")
        if kind == "alter" and damaged:
            damaged[at] ^= data.draw(st.integers(1, 255), label="bits")
        elif kind == "cut":
            del damaged[at : at + size]
        elif kind == "double":
            damaged[at:at] = damaged[at : at + size]
        else:
            del damaged[max(at, 1) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(damaged)
        try:
            unpack(path, Path(folder, "out"))
        except ValueError:
            return
        for file in everything_below(Path(folder, "out")):
            assert file.read_bytes() == bytes(range(256)) * 3


def with_entries(path: Path, count: int, content: bytes = b"") -> None:
    """Write an archive whose `count` entries all point to the same few bytes."""
    one = zipped("000000", content=content)
    start, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    entries = b"".join(one[start : start + 46] + b"%06d" % i for i in range(count))
    tail = bytearray(one[end:])
    tail[8:10] = tail[10:12] = min(count, 65_535).to_bytes(2, "little")
    tail[12:16] = len(entries).to_bytes(4, "little")
    path.write_bytes(one[:start] + entries + bytes(tail))


def test_a_hundred_thousand_entries_are_refused_before_any_is_written(tmp_path):
    with_entries(tmp_path / "many.zip", 100_000)
    started = time.process_time()
    with pytest.raises(ValueError, match="more than 50,000 files"):
        unpack(tmp_path / "many.zip", tmp_path / "out")
    assert time.process_time() - started < 10
    assert not (tmp_path / "out").exists()


def test_a_small_file_that_unpacks_to_much_does_not_fill_the_memory(tmp_path):
    """50 MB of zeros are 50 kB in a zip: below the limit on disk, and never whole in memory."""
    (tmp_path / "bomb.zip").write_bytes(zipped("cats/1.jpg", content=bytes(50_000_000)))
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    tracemalloc.start()
    try:
        unpack(tmp_path / "bomb.zip", tmp_path / "out")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert (tmp_path / "out/cats/1.jpg").stat().st_size == 50_000_000


def test_a_bomb_of_files_that_share_their_bytes_is_refused(tmp_path):
    """Every entry points to the same megabytes: the sum of what they state is what counts."""
    with_entries(tmp_path / "bomb.zip", 70, content=bytes(50_000_000))
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    with pytest.raises(ValueError, match="or 3,221,225,472 bytes"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out")


def test_files_and_folders_are_unpacked(tmp_path):
    names = ["cats/", "cats/Käfer 🐞.jpg", "dogs/deep/2.jpg", "birds\\windows.jpg"]
    (tmp_path / "a.zip").write_bytes(zipped(*names))
    unpack(tmp_path / "a.zip", tmp_path / "out")
    for name in ("cats/Käfer 🐞.jpg", "dogs/deep/2.jpg", "birds/windows.jpg"):
        assert (tmp_path / "out" / name).read_bytes() == b"content of a file"


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "..\\evil", "\\evil", "C:evil", "C:\\evil"]
)
def test_no_entry_leaves_the_folder(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(zipped("good", name))
    with pytest.raises(ValueError, match="outside the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "out").exists(), "nothing is written before all is checked"


@pytest.mark.parametrize(
    "names", [["cats", "cats/1.jpg"], ["cats/" + "x" * 300], [""], ["a\\b", "a/b/c"]]
)
def test_names_that_no_disk_can_hold_are_value_errors(tmp_path, names):
    (tmp_path / "a.zip").write_bytes(zipped(*names))
    with pytest.raises(ValueError, match=r"cannot unpack a\.zip"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_link_leads_nowhere(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out" / "link").is_symlink()


def altered(offset: int, new: bytes) -> bytes:
    """An archive in whose directory, `offset` bytes into the first entry, other bytes stand."""
    whole = zipped("secret")
    at = whole.index(b"PK\x01\x02") + offset
    return whole[:at] + new + whole[at + len(new) :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (altered(8, b"\x01"), "password"),
        (altered(24, (5).to_bytes(4, "little")), "CRC"),  # longer than it states
        (altered(24, (2**32 - 2).to_bytes(4, "little")), "more than"),
        (zipped("x")[:0], "not a zip file"),
        (zipped("x")[:10], "not a zip file"),
        (zipped("x")[:60], "not a zip file"),
    ],
)
def test_what_cannot_be_unpacked_says_why(tmp_path, content, reason):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot unpack a\.zip: .*{reason}"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_the_limits_are_those_that_the_message_names(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(zipped("a", "b", "c"))
    monkeypatch.setattr(downloads, "MAX_ENTRIES", 2)
    with pytest.raises(ValueError, match="more than 2 files"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    monkeypatch.setattr(downloads, "MAX_ENTRIES", 3)
    unpack(tmp_path / "a.zip", tmp_path / "out")
    monkeypatch.setattr(downloads, "MAX_BYTES", 3 * len(b"content of a file") - 1)
    with pytest.raises(ValueError, match="or 50 bytes"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
