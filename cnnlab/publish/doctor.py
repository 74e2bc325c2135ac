"""Looks at a machine before class: what is there, what is wrong, and what to do about it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TextIO

import psutil
import requests
from packaging.requirements import Requirement

from cnnlab import __version__
from cnnlab.data import downloads
from cnnlab.publish import catalog

__all__ = ["CHECKS", "Finding", "examine"]

OLDEST_PYTHON = (3, 10)
MAIN_PACKAGES = (
    "torch torchvision numpy matplotlib scikit-learn pycm livelossplot torchsummary jupyter"
)
GIGABYTE = 1e9
LITTLE_MEMORY, LITTLE_DISK, NO_DISK = 2.0, 1.0, 0.1  # GB
ANSWER_SECONDS = 4.0
LINE, NAME = 96, 16  # columns
REINSTALL_TORCH = (
    "install the two together, from one place: pip install --force-reinstall torch torchvision"
)


@dataclass(frozen=True)
class Finding:
    """One line of the report: `level` is ok, note or stop (which stops the lessons)."""

    level: str
    name: str
    text: str
    advice: str = ""


def check_python() -> Iterator[Finding]:
    """Python itself, and the packages at the versions that cnnlab asks for."""
    new_enough = sys.version_info >= OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    yield Finding(
        "ok" if new_enough else "stop",
        "python",
        f"{platform.python_version()} in {sys.prefix}",
        "" if new_enough else f"install Python {oldest} or newer, then cnnlab into it",
    )
    try:
        wanted = [Requirement(line) for line in metadata.requires("cnnlab") or []]
        yield Finding("ok", "cnnlab", f"{__version__} in {Path(__file__).parent}")
    except metadata.PackageNotFoundError:
        wanted = [Requirement(name) for name in MAIN_PACKAGES.split()]
        advice = "in the repository: pip install -e ."
        yield Finding("note", "cnnlab", f"{__version__}, not installed", advice)
    yield from check_packages([need for need in wanted if not _is_extra(need)])


def _is_extra(need: Requirement) -> bool:
    return need.marker is not None and not need.marker.evaluate({"extra": ""})


def check_packages(wanted: list[Requirement]) -> Iterator[Finding]:
    """The installed version of each package, all good ones in one line."""
    good = []
    for need in wanted:
        advice = f'pip install "{need}"'
        try:
            version = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            yield Finding("stop", need.name, "missing", advice)
            continue
        if need.specifier.contains(version, prereleases=True):
            good.append(f"{need.name} {version}")
        else:
            text = f"{version}, but cnnlab needs {need.specifier}"
            yield Finding("stop", need.name, text, advice)
    yield Finding("ok", "packages", ", ".join(good))


def check_torch() -> Iterator[Finding]:
    """Whether torch and torchvision work together, on which device, with how many threads."""
    for name in ("torch", "torchvision"):
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken installation can raise anything
            reason = str(error).strip().split("\n")[0]
            yield Finding("stop", name, f"does not import: {reason}", REINSTALL_TORCH)
            return
    import torch

    if torch.cuda.is_available():
        yield Finding("ok", "device", f"CUDA: {torch.cuda.get_device_name()}")
    elif torch.backends.mps.is_available():
        yield Finding("ok", "device", "MPS (the GPU of this Mac)")
    elif shutil.which("nvidia-smi"):
        advice = "if there is an NVIDIA GPU: https://pytorch.org/get-started/locally"
        yield Finding("note", "device", "CPU; torch sees no GPU, but nvidia-smi is here", advice)
    else:
        yield Finding("ok", "device", "CPU (enough for every lesson)")
    threads, cores = torch.get_num_threads(), psutil.cpu_count() or 1
    limited = os.environ.get("OMP_NUM_THREADS")
    text = f"{threads} on {cores} cores" + (f" (OMP_NUM_THREADS={limited})" if limited else "")
    yield Finding("ok", "threads", text)


def check_room() -> Iterator[Finding]:
    """Memory, the data folder, and the room on its disk."""
    memory = psutil.virtual_memory()
    free = memory.available / GIGABYTE
    low = free < LITTLE_MEMORY
    yield Finding(
        "note" if low else "ok",
        "memory",
        f"{free:.1f} GB free of {memory.total / GIGABYTE:.1f} GB",
        "close other programs; run one notebook at a time" if low else "",
    )
    folder = downloads.data_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        advice = "set CNNLAB_DATA to a folder that you may write to"
        yield Finding("stop", "data folder", f"{folder}: {error.strerror}", advice)
        return
    yield Finding("ok", "data folder", str(folder))
    disk = shutil.disk_usage(existing).free / GIGABYTE
    level = "stop" if disk < NO_DISK else "note" if disk < LITTLE_DISK else "ok"
    advice = "" if level == "ok" else "make room, or set CNNLAB_DATA to a folder on another disk"
    yield Finding(level, "disk", f"{disk:.1f} GB free there", advice)


def check_data() -> Iterator[Finding]:
    """Which data and weights are here; the lessons have a stand-in for each."""
    for name, resource in downloads.resources().items():
        folder = downloads.data_folder() / resource["folder"]
        if downloads.find(name):
            yield Finding("ok", name, str(folder))
        else:
            state = "incomplete or damaged" if folder.exists() else "not here"
            text = f"{state}; without a network, a stand-in is used"
            yield Finding("note", name, text, f"cnnlab fetch {name}")
    files = sorted((downloads.data_folder() / "weights").glob("*.pth"))
    if catalog.find_weights(catalog.WEIGHTS) is None:
        advice = f"cnnlab fetch {catalog.WEIGHTS}"
        text = "not here; without a network, tiny_resnet is used"
        yield Finding("note", catalog.WEIGHTS, text, advice)
    if files:
        yield Finding("ok", "weights", ", ".join(file.name for file in files))
    embedded = [file.stem for file in downloads.packaged("weights").glob("*.safetensors")]
    if embedded:
        yield Finding("ok", "embedded", ", ".join(embedded))
    else:
        folder = downloads.packaged("weights")
        yield Finding("stop", "embedded", f"no weights in {folder}", "install cnnlab again")


def check_network() -> Iterator[Finding]:
    """The settings in the environment, the mirror, and the public network."""
    for name in ("CNNLAB_DATA", "CNNLAB_MIRROR", "CNNLAB_OFFLINE"):
        yield Finding("ok", name, os.environ.get(name) or "not set")
    place = downloads.mirror()
    if place and not place.startswith("http"):
        yield _mirror_folder(Path(place))
    if downloads.offline():
        yield Finding("ok", "network", "not tried, because CNNLAB_OFFLINE is set")
        return
    key, url = next(iter(downloads.resources()["ants_and_bees"]["urls"].items()))
    if place and place.startswith("http"):
        problem = no_answer(f"{place}/{key}")
        advice = "look whether the server runs, or unset CNNLAB_MIRROR" if problem else ""
        yield Finding("note" if problem else "ok", "mirror", problem or "answers", advice)
    problem = no_answer(url)
    advice = "the lessons work without; CNNLAB_OFFLINE=1 saves the waiting" if problem else ""
    yield Finding("note" if problem else "ok", "network", problem or "answers", advice)


def _mirror_folder(folder: Path) -> Finding:
    keys = [key for resource in downloads.resources().values() for key in resource["urls"]]
    if not folder.is_dir():
        advice = "plug the disk in, correct CNNLAB_MIRROR, or unset it"
        return Finding("stop", "mirror", f"there is no folder {folder}", advice)
    if not any((folder / key).exists() for key in keys):
        advice = "it should look like the data folder of a machine that fetched everything"
        return Finding("note", "mirror", f"nothing useful in {folder}", advice)
    return Finding("ok", "mirror", "a folder with data")


def no_answer(url: str, seconds: float = ANSWER_SECONDS) -> str:
    """Return what keeps `url` from being fetched, or an empty string when it can be."""
    outcome = [f"no answer from {url} within {seconds:g} s"]

    def ask() -> None:
        try:
            answer = requests.head(url, timeout=seconds, allow_redirects=True)
            is_page = answer.headers.get("Content-Type", "").startswith("text/html")
            problem = f"a web page instead of {url}: a log-in?" if is_page else ""
            outcome[0] = problem if answer.ok else f"{url} answers {answer.status_code}"
        except requests.RequestException:
            outcome[0] = f"no connection to {url}"

    # In a thread, because looking up the name of a host knows no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return outcome[0]


Check = Callable[[], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "Software": check_python,
    "Computing": check_torch,
    "Room": check_room,
    "Data and weights": check_data,
    "Settings and network": check_network,
}


def examine(stream: TextIO | None = None, checks: dict[str, Check] | None = None) -> bool:
    """Print the report of `checks`, or of CHECKS; return whether nothing stops the lessons."""
    stream = stream or sys.stdout
    findings = []
    for title, check in (checks or CHECKS).items():
        print(f"{title}", file=stream)
        try:
            for finding in check():
                findings.append(finding)
                print(layout(finding, stream), file=stream, flush=True)
        except (ValueError, downloads.DownloadError) as error:  # a setting that cannot be used
            findings.append(Finding("stop", "settings", str(error), "correct it, or unset it"))
            print(layout(findings[-1], stream), file=stream)
    stops = sum(finding.level == "stop" for finding in findings)
    notes = sum(finding.level == "note" for finding in findings)
    verdict = f"{stops} to mend before class" if stops else "Ready for class"
    print(f"\n{verdict}" + (f", {notes} that could be better" if notes else ""), file=stream)
    return not stops


def layout(finding: Finding, stream: TextIO) -> str:
    """Lay one finding out: a mark, its name, its text, and the advice on a line of its own."""
    marks = {"ok": "✓", "note": "!", "stop": "✗", "advice": "→"}
    try:
        "".join(marks.values()).encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        marks = {"ok": "+", "note": "!", "stop": "x", "advice": "->"}
    mark = marks[finding.level]
    if stream.isatty() and "NO_COLOR" not in os.environ:
        color = {"ok": 32, "note": 33, "stop": 31}[finding.level]
        mark = f"\033[{color}m{mark}\033[0m"
    margin = " " * (NAME + 4)
    text = textwrap.fill(
        finding.text, LINE, initial_indent=margin, subsequent_indent=margin,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    line = f"  {mark} {finding.name:<{NAME}}{text[NAME + 4 :]}"
    if finding.advice:
        line += f"\n{margin}{marks['advice']} {finding.advice}"
    return line
