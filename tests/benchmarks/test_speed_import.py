"""`import cnnlab` loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark

SCRIPT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds_to_import(name: str) -> float:
    command = [sys.executable, "-c", SCRIPT.format(name)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_import_takes_a_twentieth_of_torch(report):
    pairs = [[seconds_to_import(name) for name in ("torch", "cnnlab")] for _ in range(7)]
    report(
        "import cnnlab",
        "import torch",
        [theirs / ours for theirs, ours in pairs],
        target=20,
        note=f"{1000 * min(pairs)[1]:.1f} ms and {min(pairs)[0]:.2f} s",
    )
