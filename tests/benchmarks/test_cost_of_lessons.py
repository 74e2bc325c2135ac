"""The whole series with nbmake, two lessons at a time and offline: time, and peak memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
import pytest

pytestmark = pytest.mark.benchmark

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").rglob("*.ipynb"))
IMPORTS = "import cnnlab, matplotlib.pyplot, pycm, sklearn, torch, torchvision"


class Cost(NamedTuple):
    seconds: float
    peak_bytes: int


def peak_memory(process: psutil.Process) -> int:
    """Return the most memory that a process ever had, or has now where that is not recorded."""
    with suppress(OSError):
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            return 1024 * int(found[1])
    return process.memory_info().rss


def run(notebook: Path) -> Cost:
    """Execute a notebook with nbmake; watch the memory of its kernel."""
    start, peak = time.perf_counter(), 0
    command = [sys.executable, "-m", "pytest", "--nbmake", "--nbmake-timeout=600", "-q"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CNNLAB_OFFLINE": "1"}
    environment.pop("CNNLAB_MIRROR", None)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [*command, "-o", "addopts=", "-p", "no:cacheprovider", str(notebook)],
            env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        while process.poll() is None:
            with suppress(psutil.Error):
                kernels = psutil.Process(process.pid).children(recursive=True)
                peak = max([peak, *map(peak_memory, kernels)])
            time.sleep(0.1)
        output.seek(0)
        assert process.returncode == 0, output.read()
    return Cost(time.perf_counter() - start, peak)


def run_all(notebooks: Sequence[Path]) -> tuple[float, dict[str, Cost]]:
    """Execute notebooks, two at a time; return the seconds in all, and the cost of each."""
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        costs = dict(zip((path.stem for path in notebooks), pool.map(run, notebooks), strict=True))
    return time.perf_counter() - start, costs


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, dict[str, Cost]]:
    own = tmp_path_factory.mktemp("data")  # no photographs from an earlier run
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNLAB_DATA", str(own))
        return run_all(NOTEBOOKS)


def test_the_series_takes_four_minutes(series, tmp_path, report):
    seconds, costs = series
    empty = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(IMPORTS)])
    empty.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    copies = [tmp_path / path.name for path in NOTEBOOKS]
    for path in copies:
        nbformat.write(empty, path)
    fixed, _ = run_all(copies)
    report(
        f"{len(NOTEBOOKS)} lessons with nbmake, two at a time, offline",
        f"as many notebooks that only import: {fixed:.0f} s",
        [seconds],
        target=240,
        unit=" s",
        at_most=True,
        note=f"{seconds / fixed:.1f} × the fixed cost; "
        + ", ".join(f"{name[:2]} {cost.seconds:.0f} s" for name, cost in costs.items()),
    )


def test_no_lesson_needs_more_than_1500_megabytes(series, report):
    peaks = {name: cost.peak_bytes / 1e9 for name, cost in series[1].items()}
    report(
        "peak memory of the hungriest lesson",
        "no other side",
        [max(peaks.values())],
        target=1.5,
        unit=" GB",
        at_most=True,
        note=", ".join(f"{name[:2]} {peak:.2f}" for name, peak in peaks.items()),
    )
