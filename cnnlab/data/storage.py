"""Where data lives, and how it gets there: cache, then mirror, then the public address; verified.

The cache and a mirror have the same layout, so a cache served with ``python -m http.server`` (or
copied to a USB stick) is a mirror.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pooch

from cnnlab.data import archives
from cnnlab.data.places import (
    DownloadError,
    StorageError,
    absolute_environment,
    data_folder,
    mirror,
    offline,
    packaged,
)
from cnnlab.data.resources import (
    PHOTOGRAPHS,
    RESOURCES,
    Resource,
    check_archive,
    complaint,
    damaged_photographs,
)
from cnnlab.data.transfers import PATIENT, Patience, TransferError, transfer

__all__ = [
    "RESOURCES",
    "DownloadError",
    "StorageError",
    "absolute_environment",
    "data_folder",
    "download",
    "fetch",
    "find",
    "mirror",
    "offline",
    "packaged",
]

MIN_DIGITS = 8  # of a checksum; torchvision puts so many into file names
SWAPS = 5  # attempts to put an unpacked folder in its place
STAGING = ".unfinished-"  # prefix of temporary folders inside the cache
STAGING_SECONDS = 24 * 3600  # an older one was left by a killed process


def download(
    key: str,
    urls: Sequence[str] = (),
    known_hash: str | None = None,
    *,
    size: int | None = None,
    check: Callable[[Path], None] | None = None,
    patience: Patience = PATIENT,
    progress: bool = True,
) -> Path:
    """Return a verified file of the data folder; bring it from the mirror or an address if need be.

    Parameters
    ----------
    key
        The file's path inside the data folder and inside a mirror, such as ``weights/x.pth``.
    urls
        Public addresses, tried in order after the mirror.
    known_hash
        ``"sha256:…"`` (or another of hashlib's); the first digits are enough, as in the file
        names of torchvision's weights.
    size
        Expected bytes, for the progress bar and for messages.
    check
        A further check of the file, raising ValueError; for files without a known checksum.
    patience
        How long to wait for servers.
    progress
        Whether to show a progress bar.

    Raises
    ------
    DownloadError
        Names every place that was tried, and why each failed.
    StorageError
        When the disk is full or may not be written to.
    """
    target = data_folder() / key

    def verify(path: Path) -> None:
        if known_hash is not None:
            _check_hash(path, known_hash)
        if check is not None:
            check(path)

    failures = []
    if target.is_file():
        try:
            verify(target)
            return target
        except (OSError, ValueError) as error:
            failures.append((str(target), f"damaged: {error}"))
    else:
        failures.append((str(target), "not there"))
    for source in _sources(key, urls):
        try:
            with _staging(size) as folder:
                part = folder / target.name
                transfer(source, part, verify, size=size, patience=patience, progress=progress)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(part, target)
            return target
        except TransferError as error:
            failures.append((source, str(error)))
    raise _not_found(key, failures)


def find(name: str) -> Path | None:
    """Return the folder of a resource if it is here, complete and undamaged; downloads nothing."""
    resource = _resource(name)
    folder = data_folder() / resource.folder
    if name == "ants_and_bees":
        return None if damaged_photographs(folder.parent) else folder
    try:
        for file in resource.files:
            _check_hash(data_folder() / file.key, str(file.known_hash))
    except (OSError, ValueError):
        return None
    return folder


def fetch(name: str, progress: bool = True, *, patience: Patience = PATIENT) -> Path:
    """Return the folder of a resource, verified; bring it here first if need be.

    Parameters
    ----------
    name
        A key of `RESOURCES`.
    progress
        Whether to show progress bars.
    patience
        How long to wait for servers.

    Raises
    ------
    DownloadError, StorageError
        See `download`.
    """
    resource = _resource(name)
    if (folder := find(name)) is not None:
        return folder
    check = check_archive if name == "ants_and_bees" else None
    for file in resource.files:
        path = download(
            file.key,
            [file.url],
            file.known_hash,
            size=file.size,
            check=check,
            patience=patience,
            progress=progress,
        )
    if name == "ants_and_bees":
        _unpack_photographs(path)
    return data_folder() / resource.folder


def _resource(name: str) -> Resource:
    if name not in RESOURCES:
        raise ValueError(f"no resource is called {name!r}; there are: {', '.join(RESOURCES)}")
    return RESOURCES[name]


def _unpack_photographs(archive: Path) -> None:
    target = data_folder() / PHOTOGRAPHS
    with _staging(RESOURCES["ants_and_bees"].num_bytes) as folder:
        archives.unpack(archive, folder)
        if damaged := damaged_photographs(folder):
            raise StorageError(f"after unpacking {archive}: {complaint(damaged)}", "disk error")
        for attempt in range(SWAPS):
            try:
                os.rename(folder / PHOTOGRAPHS, target)
                return
            except OSError:  # a damaged folder stands there, or another process was quicker
                if not damaged_photographs(target.parent):
                    return
                with suppress(FileNotFoundError):  # … or is quicker now
                    os.rename(target, folder / f"damaged {attempt}")
        raise OSError(errno.EBUSY, "other programs keep changing the folder", str(target))


def _check_hash(path: Path, known_hash: str) -> None:
    algorithm, _, expected = known_hash.rpartition(":")
    if len(expected) < MIN_DIGITS:
        raise ValueError(f"{known_hash!r} is no checksum: give {MIN_DIGITS} digits or more")
    found = pooch.file_hash(str(path), alg=algorithm or "sha256")
    if not found.startswith(expected.lower()):
        raise ValueError(f"wrong checksum: {found[:12]}…, expected {expected[:12]}…")


def _sources(key: str, urls: Sequence[str]) -> list[str]:
    """Where to look for a file, in order; without a network only a folder is left."""
    sources = list(urls)
    if place := mirror():
        is_address = place.startswith("http")
        sources.insert(0, f"{place}/{quote(key)}" if is_address else str(Path(place, key)))
    return [source for source in sources if not (offline() and source.startswith("http"))]


@contextmanager
def _staging(size: int | None) -> Iterator[Path]:
    """Make a temporary folder inside the cache: what is complete leaves it by an atomic rename."""
    cache = data_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
        with tempfile.TemporaryDirectory(prefix=STAGING, dir=cache) as folder:
            yield Path(folder)
    except OSError as error:
        needed = f"{size:,} bytes" if size else "the file"
        why = error.strerror or str(error)
        raise StorageError(
            f"cannot keep {needed} in {cache}: {why}. Free some space there, or set CNNLAB_DATA "
            "to a folder that can be written to.",
            f"data folder: {why}",
        ) from error


def _sweep(cache: Path) -> None:
    """Remove what killed processes left behind."""
    for folder in cache.glob(f"{STAGING}*"):
        with suppress(OSError):  # another process may be sweeping too
            if time.time() - folder.stat().st_mtime > STAGING_SECONDS:
                shutil.rmtree(folder)


def _not_found(key: str, failures: list[tuple[str, str]]) -> DownloadError:
    tried = list(failures)
    if mirror() is None:
        tried.append(("CNNLAB_MIRROR", "not set"))
    if offline():
        tried.append(("the network", "not tried, because CNNLAB_OFFLINE is set"))
    message = (
        f"cannot get {key}. Tried:\n"
        + "".join(f"  {place}: {why}\n" for place, why in tried)
        + "What to do: run `cnnlab fetch` where there is a network, or set CNNLAB_MIRROR to a "
        + f"folder or an http(s) address that holds {key}."
    )
    reasons = [why for place, why in failures if not place.startswith(str(data_folder()))]
    if offline():
        reasons.append("offline")
    return DownloadError(message, "; ".join(dict.fromkeys(reasons)))
