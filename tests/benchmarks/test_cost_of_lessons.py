"""The whole series with nbmake, two lessons at a time and offline: time, and peak memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
import pytest
from repository import NOTEBOOKS

pytestmark = pytest.mark.benchmark

IMPORTS = "import cnnlab, matplotlib.pyplot, pycm, sklearn, torch, torchvision"


class Cost(NamedTuple):
    seconds: float
    peak_bytes: int  # of the hungriest kernel
    lessons: str  # the seconds of each


def peak_memory(process: psutil.Process) -> int:
    """Return the most memory that a process ever had, or has now where that is not recorded."""
    with suppress(OSError):
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            return 1024 * int(found[1])
    return process.memory_info().rss


def run_all(notebooks: Sequence[Path]) -> Cost:
    """Execute notebooks with nbmake and two workers; watch the memory of the kernels."""
    start, peak = time.perf_counter(), 0
    command = [sys.executable, "-m", "pytest", "--nbmake", "--nbmake-timeout=600", "-q"]
    options = ["-n", "2", "--maxschedchunk=1", "--durations=0", "-o", "addopts="]
    environment = os.environ | {"CNNLAB_OFFLINE": "1"}  # threads: see notebooks/conftest.py
    environment.pop("CNNLAB_MIRROR", None)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [*command, *options, "-p", "no:cacheprovider", *map(str, notebooks)],
            env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        while process.poll() is None:
            with suppress(psutil.Error):
                kernels = psutil.Process(process.pid).children(recursive=True)
                peak = max([peak, *map(peak_memory, kernels)])
            time.sleep(0.1)
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read()
    assert process.returncode == 0, text
    lessons = re.findall(r"([\d.]+)s call .*/(\d\d)_", text)
    return Cost(seconds, peak, ", ".join(f"{name} {float(s):.0f} s" for s, name in lessons))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Cost:
    own = tmp_path_factory.mktemp("data")  # no photographs from an earlier run
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNLAB_DATA", str(own))
        return run_all(NOTEBOOKS)


def test_the_series_takes_four_minutes(series, tmp_path, report):
    empty = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(IMPORTS)])
    empty.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    copies = [tmp_path / path.name for path in NOTEBOOKS]
    for path in copies:
        nbformat.write(empty, path)
    fixed = run_all(copies).seconds
    report(
        f"{len(NOTEBOOKS)} lessons with nbmake, two workers, offline",
        f"as many notebooks that only import: {fixed:.0f} s",
        [series.seconds],
        target=240,
        unit=" s",
        at_most=True,
        note=f"{series.seconds / fixed:.1f} × the fixed cost; {series.lessons}",
    )


def test_no_lesson_needs_more_than_1500_megabytes(series, report):
    report(
        "peak memory of the hungriest lesson",
        "no other side",
        [series.peak_bytes / 1e9],
        target=1.5,
        unit=" GB",
        at_most=True,
    )
