"""Downloads, verified: from the data folder, else from a mirror, else from the public address.

``CNNLAB_DATA`` is the folder for downloads, ``CNNLAB_MIRROR`` a folder or an http(s) address of
the same layout (so a data folder served with ``python -m http.server`` is a mirror), and
``CNNLAB_OFFLINE=1`` forbids the network. They are read here and nowhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import platformdirs
import pooch
import requests
from tqdm.auto import tqdm

TIMEOUT = 10.0  # seconds that a server may be silent, and before its speed counts
MIN_SPEED, CLASS_SPEED = 2_000, 250_000  # bytes per second; the second while a class is waiting
MAX_BYTES, MAX_ENTRIES = 3 * 1024**3, 50_000  # of a download or an unpacked zip file
Check = Callable[[Path], None]  # raises ValueError unless the file is the right one


class DownloadError(RuntimeError):
    """A file that cannot be had or cannot be kept; `reason` is the short form of why."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


# Settings


def data_folder() -> Path:
    """Return the folder for downloads: ``CNNLAB_DATA``, or the platform's cache folder.

    Raises
    ------
    DownloadError
        When neither a home folder nor ``CNNLAB_DATA`` exists.
    """
    try:
        chosen = os.environ.get("CNNLAB_DATA") or platformdirs.user_cache_dir("cnnlab")
        return Path(chosen).expanduser().absolute()
    except RuntimeError as error:
        raise DownloadError("no home folder: set CNNLAB_DATA", "no home folder") from error


def mirror() -> str | None:
    """Return ``CNNLAB_MIRROR``: an http(s) address, or the absolute path of a folder.

    Raises
    ------
    ValueError
        For another kind of address.
    """
    chosen = os.environ.get("CNNLAB_MIRROR", "").rstrip("/")
    if "://" not in chosen:
        return str(Path(chosen).expanduser().absolute()) if chosen else None
    if not chosen.startswith("http"):
        raise ValueError(f"CNNLAB_MIRROR={chosen}: use a folder or an http(s) address")
    return chosen


def offline() -> bool:
    """Tell whether ``CNNLAB_OFFLINE`` forbids the network."""
    return os.environ.get("CNNLAB_OFFLINE", "") not in ("", "0")


def absolute_environment() -> dict[str, str]:
    """Return ``CNNLAB_DATA`` and ``CNNLAB_MIRROR`` made absolute, those that are set.

    Kernels start in the notebook's own folder, where a relative path means something else:
    ``os.environ.update(absolute_environment())`` before starting one.
    """
    settings = {"CNNLAB_DATA": data_folder, "CNNLAB_MIRROR": mirror}
    return {name: str(read()) for name, read in settings.items() if os.environ.get(name)}


def packaged(*parts: str) -> Path:
    """Return the path of a file in the repository's ``data/`` folder, installed or cloned.

    Examples
    --------
    >>> packaged("ants_and_bees.sha256").is_file()
    True
    """
    installed, cloned = Path(__file__).parents[1] / "_data", Path(__file__).parents[2] / "data"
    return (installed if installed.is_dir() else cloned).joinpath(*parts)


# Data


def resources() -> dict[str, dict]:
    """Return what can be fetched, from ``data/resources.json``.

    Each has a description, a license, ``num_bytes`` to download, the folder where it ends up
    inside the data folder, and ``urls``: the public address of each file to download, by its path
    in the data folder and in a mirror. ``only_if_asked`` marks what no rehearsal downloads.

    Examples
    --------
    >>> list(resources())
    ['ants_and_bees', 'mnist', 'cifar10', 'cifar100']
    """
    return json.loads(packaged("resources.json").read_text(encoding="utf-8"))


def checksums(name: str) -> dict[str, str]:
    """Return the sha256 of each file of a resource, by its path in the data folder.

    Examples
    --------
    >>> len(checksums("ants_and_bees"))
    397
    """
    lines = packaged(f"{name}.sha256").read_text(encoding="utf-8").splitlines()
    return {path: sha256 for sha256, path in (line.split(maxsplit=1) for line in lines)}


def find(name: str) -> Path | None:
    """Return the folder of a resource if it is here, complete and undamaged; downloads nothing."""
    damaged = _damaged(name, data_folder())
    return None if damaged else data_folder() / resources()[name]["folder"]


def fetch(name: str, progress: bool = True, *, hurry: bool = False) -> Path:
    """Return the folder of a resource, verified; bring it here first if need be.

    Parameters
    ----------
    name
        A key of `resources`, such as ``"mnist"``.
    progress
        Whether to show progress bars.
    hurry
        A class is waiting and there is a stand-in: ask each server once only, and give up below
        `CLASS_SPEED`.

    Raises
    ------
    DownloadError
        Names every place that was tried, why each failed, and what to do.
    ValueError
        For an unknown name.
    """
    if name not in resources():
        raise ValueError(f"no resource is called {name!r}; there are: {', '.join(resources())}")
    known, resource = checksums(name), resources()[name]
    if find(name) is None:
        for key, url in resource["urls"].items():
            check = partial(check_sha256, known[key]) if key in known else _unpack_photographs
            download(key, url, check, progress, hurry)
    return data_folder() / resource["folder"]


def download(key: str, url: str, check: Check, progress: bool = True, hurry: bool = False) -> Path:
    """Return a verified file of the data folder; bring it from the mirror or `url` if need be.

    Parameters
    ----------
    key
        The file's path inside the data folder and inside a mirror, such as ``weights/x.pth``.
    url
        Public address; what ends in ``.gz`` is kept unpacked, unless the key ends so, too.
    check
        Raises ValueError unless the file is the right one, see `check_sha256`.
    progress, hurry
        See `fetch`, also for what is raised.
    """
    target = data_folder() / key
    failures: dict[str, str] = {}
    sources = [f"{mirror()}/{key}", url] if mirror() else [url]
    for source in [str(target), *(sources if hurry else sources * 2)]:
        try:
            return _bring(source, target, check, progress, CLASS_SPEED if hurry else MIN_SPEED)
        except Exception as error:  # requests, the decoders and the disk raise many kinds
            cut = isinstance(error, requests.ConnectionError)  # its own text has three lines
            failures[source] = "no connection" if cut else str(error)
    tried = "".join(f"\n  {place}: {why}" for place, why in failures.items())
    advice = "run `cnnlab fetch` online, set CNNLAB_MIRROR to a place with it, or CNNLAB_DATA to"
    message = f"cannot get {key}. Tried:{tried}\nWhat to do: {advice} a folder with room for it."
    raise DownloadError(message, "; ".join(dict.fromkeys(list(failures.values())[1:])))


def check_sha256(digits: str, path: Path) -> None:
    """Raise ValueError unless the checksum of a file begins with these digits."""
    if not pooch.file_hash(str(path)).startswith(digits):
        raise ValueError("wrong checksum: damaged, or a log-in page of the Wi-Fi")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file from a stranger: nothing lands outside `folder`, nor fills the disk.

    Raises
    ------
    ValueError
        For a damaged file, more than `MAX_ENTRIES` files or `MAX_BYTES` bytes, or a name that
        is absolute or has ``..`` in it; nothing is unpacked then.
    OSError
        When the disk is full, or does not take a name.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            entries = file.infolist()
            if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise ValueError(f"more than {MAX_ENTRIES:,} files or {MAX_BYTES:,} bytes")
            for entry in entries:
                entry.filename = entry.filename.replace("\\", "/")  # as Windows writes them
                parts = entry.filename.split("/")
                if ".." in parts or parts[0] == "" or ":" in parts[0]:
                    raise ValueError(f"{entry.filename!r} would land outside the folder")
            file.extractall(folder, entries)
    except Exception as error:  # damaged files make the decoders raise nearly anything
        raise ValueError(f"cannot unpack {archive.name}: {error}") from error


# Helpers


def _bring(source: str, target: Path, check: Check, progress: bool, min_speed: float) -> Path:
    """Bring one file from one place, in a temporary folder until it is complete and checked."""
    if source == str(target):
        check(target)
        return target
    if source.startswith("http") and offline():
        raise ValueError("offline")
    target.parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    downloader = partial(_download, progress, min_speed) if source.startswith("http") else _copy
    zipped = source.endswith(".gz") and target.suffix != ".gz"
    unzip = pooch.Decompress() if zipped else None
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=target.parent) as folder:
        path = Path(pooch.retrieve(source, None, Path(source).name, folder, unzip, downloader))
        check(path)
        path.chmod(0o644)  # temporary files are private, a shared folder is not
        return path.replace(target)


def _download(progress: bool, min_speed: float, url: str, path: str, _: object) -> None:
    """Download for pooch; unlike its own downloader, give up on a server that trickles."""
    start = time.monotonic()
    with requests.get(url, stream=True, timeout=TIMEOUT) as response, open(path, "wb") as file:
        response.raise_for_status()
        size, name = int(response.headers.get("Content-Length", 0)), Path(url).name
        with tqdm(desc=name, total=size, unit="B", unit_scale=True, disable=not progress) as bar:
            for piece in response.iter_content(8192):
                bar.update(file.write(piece))
                got, seconds = file.tell(), time.monotonic() - start
                if got > MAX_BYTES or (seconds > TIMEOUT and got < min_speed * seconds):
                    raise ValueError(f"too slow or too large: {got:,} bytes in {seconds:.0f} s")


def _copy(source: str, path: str, _: object) -> None:
    shutil.copyfile(source, path)


def _unpack_photographs(archive: Path) -> None:
    """Archives were zipped anew, so only the photographs' own checksums are known."""
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=archive.parent) as folder:
        unpack(archive, Path(folder))
        if damaged := _damaged("ants_and_bees", Path(folder)):
            raise ValueError(f"{len(damaged)} photographs are damaged, such as {damaged[0]}")
        source, target = Path(folder, "hymenoptera_data"), data_folder() / "hymenoptera_data"
        shutil.copytree(source, target, copy_function=os.replace, dirs_exist_ok=True)


def _damaged(name: str, folder: Path) -> list[str]:
    """Return the files of a resource that are missing below a folder, or not as published."""
    return [path for path, sha256 in checksums(name).items() if _sha256(folder / path) != sha256]


def _sha256(path: Path) -> str:
    return pooch.file_hash(str(path)) if path.is_file() else "no file"
