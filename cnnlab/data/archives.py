"""Unpacks zip files from strangers: every name and size is checked before a byte is written."""

from __future__ import annotations

import errno
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_ENTRIES = 50_000
MAX_BYTES = 2 * 1024**3  # of all entries together, unpacked
MAX_NAME = 255  # bytes of a name; longer ones do not fit on every disk
PIECE = 1024**2  # bytes read at once
SLASHES = ("/", "\\")  # Windows writes the second
NOT_IN_NAMES = '<>:"|?*' + "".join(map(chr, range(32)))  # Windows refuses them


class ArchiveError(ValueError):
    """A zip file that is damaged, or that tries something it should not."""


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """List the files of an archive under names that are safe to write.

    Parameters
    ----------
    archive
        An open zip file.

    Returns
    -------
    dict
        Safe relative name (with ``/``) to entry; folders are left out.

    Raises
    ------
    ArchiveError
        For ``..``, absolute names, links, passwords, two entries of one name, a file that is also
        a folder, more than `MAX_ENTRIES` entries, names of more than `MAX_NAME` bytes, or more
        than `MAX_BYTES` bytes when unpacked.

    Examples
    --------
    >>> import io
    >>> archive = zipfile.ZipFile(io.BytesIO(), "w")
    >>> archive.writestr("../evil.txt", "gotcha")
    >>> members(archive)
    Traceback (most recent call last):
    cnnlab.data.archives.ArchiveError: the entry '../evil.txt' would land outside the folder
    >>> archive.close()
    """
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise ArchiveError(f"{len(entries):,} entries, more than the limit of {MAX_ENTRIES:,}")
    total = sum(entry.file_size for entry in entries)
    if total > MAX_BYTES:
        raise ArchiveError(f"{total:,} bytes unpacked, more than the limit of {MAX_BYTES:,}")
    safe: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = _safe_name(entry)
        if entry.filename.endswith(SLASHES):  # a folder
            continue
        if name in safe:
            raise ArchiveError(f"two entries are called {name!r}")
        safe[name] = entry
    folders = {str(folder) for name in safe for folder in PurePosixPath(name).parents}
    if both := folders & safe.keys():
        raise ArchiveError(f"the entry {both.pop()!r} is a file and a folder")
    return safe


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip file into a folder, which is made if need be; nothing is overwritten.

    Raises
    ------
    ArchiveError
        See `members`; also for a damaged file. What was unpacked until then stays in `folder`,
        so unpack into a temporary one.
    OSError
        When the disk is full or may not be written to.
    """
    with open_archive(path) as archive:
        entries = members(archive)
        folder.mkdir(parents=True, exist_ok=True)
        needed = sum(entry.file_size for entry in entries.values())
        free = shutil.disk_usage(folder).free
        if needed > free:
            advice = f"unpacking {path.name} needs {needed:,} bytes, {free:,} are free"
            raise OSError(errno.ENOSPC, advice, str(folder))
        for name, entry in entries.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as file:
                file.writelines(_pieces(archive, entry))


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip file; raises ArchiveError when it is none."""
    try:
        return zipfile.ZipFile(path)
    except OSError:
        raise
    except Exception as error:  # not only BadZipFile: names that are no text, unknown versions, …
        raise ArchiveError(f"not a complete zip file ({error})") from error


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read one file of an archive, no longer than its entry states; damage is an ArchiveError."""
    return b"".join(_pieces(archive, entry))


def _pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Read piece by piece: two gigabytes of nothing are two megabytes in a zip."""
    try:
        with archive.open(entry) as file:
            while piece := file.read(PIECE):
                yield piece
    except Exception as error:  # a damaged file makes the decoders raise nearly anything
        raise ArchiveError(f"the entry {entry.filename!r} is damaged ({error})") from error


def _safe_name(entry: zipfile.ZipInfo) -> str:
    raw = entry.filename
    path = PurePosixPath(raw.replace("\\", "/"))
    has_drive = raw[1:2] == ":"
    nameless = not path.parts and not raw.endswith(SLASHES)
    dotted = not all(part.strip(" .") for part in path.parts)  # Windows reads ".. " as ".."
    if path.is_absolute() or has_drive or nameless or dotted:
        raise ArchiveError(f"the entry {raw!r} would land outside the folder")
    if len(raw.encode()) > MAX_NAME:
        raise ArchiveError(f"the entry {raw[:40]!r}… has a name of more than {MAX_NAME} bytes")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ArchiveError(f"the entry {raw!r} is a link")
    if entry.flag_bits & 0x1:
        raise ArchiveError(f"the entry {raw!r} needs a password")
    return "".join("_" if letter in NOT_IN_NAMES else letter for letter in str(path))
