"""Zip files that somebody prepared, or that something damaged: refused or contained, and quick."""

from __future__ import annotations

import io
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab.data.archives import ArchiveError, unpack

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
def test_whatever_the_names_nothing_lands_outside_and_nothing_is_lost(names):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "a.zip").write_bytes(zipped(*names))
        try:
            unpack(place / "a.zip", place / "deep" / "out")
        except ArchiveError:
            written = set()
        else:
            files = [n for n in names if not n.split("\0")[0].replace("\\", "/").endswith("/")]
            written = everything_below(place / "deep" / "out")
            assert len(written) == len(files), names
            assert all(path.read_bytes() == b"content of a file" for path in written)
        assert everything_below(place) == written | {place / "a.zip"}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_archive_is_an_archive_error_or_the_true_content(data):
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
        except ArchiveError:
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
    with pytest.raises(ArchiveError, match=r"100,000 entries, more than the limit of 50,000"):
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
    with_entries(tmp_path / "bomb.zip", 60, content=bytes(50_000_000))
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    with pytest.raises(ArchiveError, match="3,000,000,000 bytes unpacked, more than the limit"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["cats", "cats/1.jpg"], "'cats' is a file and a folder"),
        ([""], "outside the folder"),
        (["."], "outside the folder"),
        (["cats/" + "x" * 300], "more than 255 bytes"),
        ([".. /evil"], "outside the folder"),
    ],
)
def test_names_that_no_disk_can_hold_are_told(tmp_path, names, reason):
    (tmp_path / "a.zip").write_bytes(zipped(*names))
    with pytest.raises(ArchiveError, match=reason):
        unpack(tmp_path / "a.zip", tmp_path / "out")
