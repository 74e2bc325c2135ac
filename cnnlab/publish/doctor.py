"""Looks at a machine before class: what is there, what is wrong, and what to do about it."""

from __future__ import annotations

import io
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from cnnlab.data import downloads

__all__ = ["CHECKS", "Check", "checks_for_class", "examine"]

LITTLE_MEMORY, LITTLE_DISK = 2e9, 1e9  # bytes


@dataclass(frozen=True)
class Check:
    """One line of the report: `look` returns what is there, and raises what is wrong."""

    name: str
    look: Callable[[], object]
    advice: str = "install cnnlab again"
    is_needed: bool = True  # else the lessons get along without


def look_at_packages(needs: Iterable[str] | None = None) -> str:
    """Compare the installed versions with those that cnnlab asks for."""
    wrong, good = [], 0
    for need in map(Requirement, metadata.requires("cnnlab") or [] if needs is None else needs):
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        found = [each.version for each in metadata.distributions(name=need.name)]
        if found and need.specifier.contains(found[0], prereleases=True):
            good += 1
        else:
            wrong.append(f'"{need}" (here: {", ".join(found) or "missing"})')
    if wrong:
        raise RuntimeError(f"needed: {', '.join(wrong)}")
    return f"{platform.python_version()} in {sys.prefix}, {good} packages are new enough"


def look_at_torch() -> str:
    import torch
    import torchvision

    threads = torch.get_num_threads()
    return f"{torch.__version__}, torchvision {torchvision.__version__}, {threads} threads"


def look_at_kernel() -> str:
    from jupyter_client.manager import run_kernel

    with run_kernel(kernel_name="python3", extra_arguments=["--log-level=ERROR"]):
        return "starts"


def look_at_memory() -> str:
    return _enough(psutil.virtual_memory().available, LITTLE_MEMORY)


def look_at_data_folder() -> str:
    folder = downloads.data_folder()
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return str(folder)


def look_at_disk() -> str:
    return _enough(shutil.disk_usage(downloads.data_folder()).free, LITTLE_DISK)


def _enough(num_bytes: float, least: float) -> str:
    if num_bytes < least:
        raise RuntimeError(f"only {num_bytes / 1e9:.1f} GB free")
    return f"{num_bytes / 1e9:.1f} GB free"


def look_for_data() -> str:
    if missing := [name for name in _expected_data() if not downloads.find(name)]:
        raise RuntimeError(f"no {', '.join(missing)}, or damaged: the lessons use stand-ins")
    return ", ".join(_expected_data())


def _expected_data() -> list[str]:
    return [name for name, data in downloads.resources().items() if "only_if_asked" not in data]


def look_at_weights(name: str) -> str:
    from cnnlab.models.backbones import load_backbone

    with redirect_stdout(io.StringIO()):
        return load_backbone(name).source


def look_at_settings() -> str:
    """Return the settings in the environment; a mirror in a folder must be there."""
    place = downloads.mirror()
    if place and "://" not in place and not Path(place).is_dir():
        raise RuntimeError(f"CNNLAB_MIRROR: there is no folder {place}")
    names = ("CNNLAB_DATA", "CNNLAB_MIRROR", "CNNLAB_OFFLINE")
    return ", ".join(f"{name}={os.environ.get(name, '')}" for name in names)


CHECKS = [
    Check("python", look_at_packages),
    Check("torch", look_at_torch, "pip install --force-reinstall torch torchvision, together"),
    Check("kernel", look_at_kernel, "pip install --force-reinstall ipykernel jupyter-client"),
    Check("memory", look_at_memory, "close other programs", is_needed=False),
    Check("data folder", look_at_data_folder, "set CNNLAB_DATA to a folder that you may write to"),
    Check("disk", look_at_disk, "make room, or set CNNLAB_DATA", is_needed=False),
    Check("settings", look_at_settings, "correct or unset it"),
    Check("data", look_for_data, "cnnlab fetch --all", is_needed=False),
    Check("ImageNet", partial(look_at_weights, "efficientnet_lite0")),
    Check("tiny_resnet", partial(look_at_weights, "tiny_resnet")),
]


def examine(checks: Iterable[Check] = CHECKS) -> bool:
    """Print the report of `checks`; return whether nothing stops the lessons."""
    levels = []
    for check in checks:
        try:
            level, text = "ok", str(check.look())
        except Exception as error:  # a broken installation can raise anything
            level = "STOP" if check.is_needed else "note"
            text = f"{error}\n{'':19} -> {check.advice}"
        levels.append(level)
        print(f"{level:<5} {check.name:<13} {text}", flush=True)
    stops, notes = levels.count("STOP"), levels.count("note")
    verdict = f"{stops} to mend before class" if stops else "Ready for class"
    print(f"\n{verdict}" + (f", {notes} that could be better" if notes else ""))
    return not stops


def checks_for_class(notebooks: Sequence[Path], folder: Path) -> list[Check]:
    """Return all checks, and before them fetching, and after them a rehearsal into `folder`."""
    from cnnlab.publish import site

    fetching = [
        Check("fetching", partial(downloads.fetch, name), f"cnnlab fetch {name}", is_needed=False)
        for name in _expected_data()
    ]
    rehearsal = [
        Check(f"lesson {path.stem[:2]}", partial(_rehearse, path, folder), f"cnnlab run {path}")
        for path in notebooks
    ]
    index = partial(site.write_index, notebooks, folder, site.LINKS["site"])
    return [*fetching, *CHECKS, *rehearsal, Check("index", index, "make room")]


def _rehearse(notebook: Path, folder: Path) -> str:
    """Run a notebook with the network forbidden, and write its page and slides."""
    from cnnlab.publish import running, site

    os.environ["CNNLAB_OFFLINE"] = "1"  # kernels inherit it: what needs the network fails now
    (run,) = running.run_notebooks([notebook], folder, write=site.write_lesson)
    if run.state != "ok":
        raise RuntimeError(f"{run.name} failed: {run.error.strip().splitlines()[-1]}")
    return f"{run.seconds:.0f} s, {run.peak_bytes / 1e6:,.0f} MB of memory"
