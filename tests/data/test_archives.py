"""Zip files from strangers: refused, or contained in the folder."""

from __future__ import annotations

import errno
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from cnnlab.data import archives
from cnnlab.data.archives import ArchiveError, unpack


def make(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(zipfile.ZipInfo(name), name.encode() * 100)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.zip"


def test_files_and_folders_are_unpacked(path: Path, tmp_path: Path) -> None:
    unpack(make(path, "cats/", "cats/1.jpg", "dogs/deep/2.jpg"), tmp_path / "out")
    assert (tmp_path / "out/cats/1.jpg").read_bytes() == b"cats/1.jpg" * 100
    assert (tmp_path / "out/dogs/deep/2.jpg").is_file()


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "..\\evil", "\\evil", "C:evil", "C:\\evil"]
)
def test_no_entry_leaves_the_folder(path: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="outside the folder"):
        unpack(make(path, "good", name), tmp_path / "out")
    assert not (tmp_path / "evil").exists()
    assert list((tmp_path / "out").glob("*")) == [], "nothing is written before all is checked"


def test_links_are_refused(path: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(ArchiveError, match="'link' is a link"):
        unpack(path, tmp_path / "out")


def test_a_password_is_a_clear_error(path: Path, tmp_path: Path) -> None:
    content = bytearray(make(path, "secret").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="password"):
        unpack(path, tmp_path / "out")


def test_two_entries_of_one_name_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="two entries are called 'a/b'"):
        unpack(make(path, "a/b", "a\\b"), tmp_path / "out")


def test_odd_characters_are_replaced(path: Path, tmp_path: Path) -> None:
    unpack(make(path, "cats/10:30?\n.jpg", "cats/Käfer 🐞.jpg"), tmp_path / "out")
    names = sorted(file.name for file in (tmp_path / "out/cats").iterdir())
    assert names == ["10_30__.jpg", "Käfer 🐞.jpg"]


def test_limits_hold(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path, "a", "b", "c")
    monkeypatch.setattr(archives, "MAX_ENTRIES", 2)
    with pytest.raises(ArchiveError, match="3 entries, more than the limit of 2"):
        unpack(path, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(archives, "MAX_BYTES", 299)
    with pytest.raises(ArchiveError, match="300 bytes unpacked, more than the limit of 299"):
        unpack(path, tmp_path / "out")


def test_a_bomb_is_refused_by_its_stated_size(path: Path, tmp_path: Path) -> None:
    megabyte = bytes(2**20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(2049):
            file.writestr(f"{i}", megabyte if i == 0 else b"")
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02") + 24  # unpacked size of the first entry
    path.write_bytes(content[:at] + (2**32 - 2).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(ArchiveError, match="more than the limit"):
        unpack(path, tmp_path / "out")


def test_an_entry_longer_than_stated_is_cut_and_refused(path: Path, tmp_path: Path) -> None:
    content = make(path, "x").read_bytes()
    at = content.index(b"PK\x01\x02") + 24
    path.write_bytes(content[:at] + (5).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(ArchiveError, match="'x' is damaged"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("keep", [0, 10, 60])
def test_a_truncated_file_is_a_clear_error(path: Path, tmp_path: Path, keep: int) -> None:
    path.write_bytes(make(path, "x").read_bytes()[:keep])
    with pytest.raises(ArchiveError, match="not a complete zip file"):
        unpack(path, tmp_path / "out")


def test_a_full_disk_is_noticed_before(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=99)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"a\.zip needs 100 bytes, 99 are free") as caught:
        unpack(make(path, "x"), tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC
