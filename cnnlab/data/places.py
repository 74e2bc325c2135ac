"""Where things are: the data folder, the mirror, the files that come with the package.

``CNNLAB_DATA``, ``CNNLAB_MIRROR`` and ``CNNLAB_OFFLINE`` are read here and nowhere else.
"""

from __future__ import annotations

import os
from pathlib import Path

import pooch


class DownloadError(RuntimeError):
    """A file that cannot be had from anywhere; `reason` is the short form of why."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StorageError(DownloadError):
    """A file that cannot be kept: a full or read-only disk, or no home folder."""


def data_folder() -> Path:
    """Return the folder for downloads: ``CNNLAB_DATA``, or the platform's cache folder.

    Raises
    ------
    StorageError
        When neither a home folder nor ``CNNLAB_DATA`` exists.
    """
    chosen = os.environ.get("CNNLAB_DATA", "")
    try:
        return Path(chosen or pooch.os_cache("cnnlab")).expanduser().absolute()
    except RuntimeError as error:
        where = chosen or "downloads"
        advice = "set CNNLAB_DATA to a folder for downloads"
        raise StorageError(f"no home folder for {where}: {advice}", "no home folder") from error


def offline() -> bool:
    """Tell whether ``CNNLAB_OFFLINE`` forbids the network."""
    return os.environ.get("CNNLAB_OFFLINE", "") not in ("", "0")


def mirror() -> str | None:
    """Return ``CNNLAB_MIRROR``: an http(s) address, or the absolute path of a folder.

    Raises
    ------
    ValueError
        For another kind of address.
    """
    chosen = os.environ.get("CNNLAB_MIRROR", "").rstrip("/")
    if not chosen:
        return None
    if chosen.startswith(("http://", "https://")):
        return chosen
    if "://" in chosen:
        raise ValueError(f"CNNLAB_MIRROR={chosen}: use a folder or an http(s) address")
    return str(Path(chosen).expanduser().absolute())


def absolute_environment() -> dict[str, str]:
    """Return ``CNNLAB_DATA`` and ``CNNLAB_MIRROR`` made absolute, those that are set.

    Kernels start in the notebook's own folder, where a relative path means something else:
    ``os.environ.update(absolute_environment())`` before starting one.
    """
    settings = {}
    if os.environ.get("CNNLAB_DATA"):
        settings["CNNLAB_DATA"] = str(data_folder())
    if place := mirror():
        settings["CNNLAB_MIRROR"] = place
    return settings


def packaged(*parts: str) -> Path:
    """Return the path of a file in the repository's ``data/`` folder, installed or cloned.

    Examples
    --------
    >>> packaged("ants_and_bees.sha256").is_file()
    True
    """
    here = Path(__file__).parents[1]
    installed = here / "_data"
    return (installed if installed.is_dir() else here.parent / "data").joinpath(*parts)
