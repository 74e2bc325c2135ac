"""What can be fetched, and how to recognize it: addresses, sizes, checksums, licenses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnnlab.data import archives
from cnnlab.data.places import packaged

PHOTOGRAPHS = "hymenoptera_data"
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
NAMED_IN_MESSAGES = 3  # so many damaged photographs are named, the rest counted


@dataclass(frozen=True)
class RemoteFile:
    """A file of a resource: its place in cache and mirror, public address, bytes and checksum."""

    key: str
    url: str
    size: int
    known_hash: str | None


@dataclass(frozen=True)
class Resource:
    """Something to fetch: `folder` is where it ends up inside the data folder."""

    description: str
    license: str
    folder: str
    files: tuple[RemoteFile, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes to download from a mirror."""
        return sum(file.size for file in self.files)


def _mnist(name: str, size: int, sha256: str) -> RemoteFile:
    return RemoteFile(f"MNIST/raw/{name}", f"{MNIST_URL}{name}.gz", size, f"sha256:{sha256}")


RESOURCES = {
    "ants_and_bees": Resource(
        "397 photographs of ants and bees (the PyTorch transfer-learning tutorial's archive)",
        "a subset of ImageNet, for research and teaching; not to be passed on",
        PHOTOGRAPHS,
        (
            RemoteFile(
                "hymenoptera_data.zip",
                "https://download.pytorch.org/tutorial/hymenoptera_data.zip",
                47_286_322,
                None,  # archives were zipped anew; each photograph's checksum is known instead
            ),
        ),
    ),
    "mnist": Resource(
        "MNIST: 70,000 handwritten digits of 28 × 28 pixels",
        "Y. LeCun and C. Cortes, CC BY-SA 3.0",
        "MNIST/raw",
        (
            _mnist(
                "train-images-idx3-ubyte",
                47_040_016,
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            _mnist(
                "train-labels-idx1-ubyte",
                60_008,
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            _mnist(
                "t10k-images-idx3-ubyte",
                7_840_016,
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            _mnist(
                "t10k-labels-idx1-ubyte",
                10_008,
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    ),
}


def photographs() -> dict[str, str]:
    """Return name and sha256 of the 397 photographs, e.g. ``hymenoptera_data/val/bees/abeja.jpg``.

    Examples
    --------
    >>> len(photographs())
    397
    """
    lines = packaged("ants_and_bees.sha256").read_text(encoding="utf-8").splitlines()
    return {name: sha256 for sha256, name in (line.split(maxsplit=1) for line in lines)}


def damaged_photographs(folder: Path) -> list[str]:
    """Return the names of photographs that are missing below a folder, or not as published."""
    return _differing(lambda name: (folder / name).read_bytes())


def check_archive(path: Path) -> None:
    """Raise ArchiveError unless a zip file holds every photograph as it was published."""
    with archives.open_archive(path) as archive:
        members = archives.members(archive)
        if damaged := _differing(lambda name: archives.read_entry(archive, members[name])):
            raise archives.ArchiveError(complaint(damaged))


def complaint(damaged: list[str]) -> str:
    """Say which photographs are damaged, without naming hundreds.

    Examples
    --------
    >>> complaint(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"])
    '5 missing or damaged photographs: a.jpg, b.jpg, c.jpg, …'
    """
    more = ["…"] if len(damaged) > NAMED_IN_MESSAGES else []
    names = ", ".join(damaged[:NAMED_IN_MESSAGES] + more)
    return f"{len(damaged)} missing or damaged photographs: {names}"


def _differing(read: Callable[[str], bytes]) -> list[str]:
    def is_good(name: str, sha256: str) -> bool:
        try:
            return hashlib.sha256(read(name)).hexdigest() == sha256
        except (OSError, KeyError, archives.ArchiveError):
            return False

    return [name for name, sha256 in photographs().items() if not is_good(name, sha256)]
