"""How time and memory grow with the number of pictures: in proportion, and then not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark

COPIES = (1, 4, 16)
SIZE = 224  # 16 × 397 pictures then need 956 MB: too many to be kept in memory
SCRIPT = """
import resource, sys, time
import cnnlab
backbone = cnnlab.load_backbone("tiny_resnet")
start = time.perf_counter()
data = cnnlab.load_image_folder(sys.argv[1], image_size=int(sys.argv[2]))
cnnlab.extract_features(backbone, data)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
kind = type(data.train.inputs).__name__
print(len(data.train) + len(data.val) + len(data.test), seconds, peak, kind)
"""


def multiplied(folder: Path, copies: int, target: Path) -> Path:
    """Make a folder with links to every picture, several times."""
    for path in folder.glob("*/*/*.*"):
        place = target / path.relative_to(folder).parent
        place.mkdir(parents=True, exist_ok=True)
        for i in range(copies):
            (place / f"{i:02}_{path.name}").symlink_to(path)
    return target


def test_sixteen_times_the_pictures_take_sixteen_times_as_long_in_bounded_memory(
    pictures, tmp_path, report
):
    found = []
    for copies in COPIES:
        folder = multiplied(pictures.folder, copies, tmp_path / str(copies))
        command = [sys.executable, "-c", SCRIPT, str(folder), str(SIZE)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        count, seconds, peak, kind = lines.splitlines()[-1].split()
        found.append((int(count), float(seconds), float(peak) / 1e9, kind))
    note = "; ".join(f"{n:,} in {s:.1f} s, {p:.2f} GB, {kind}" for n, s, p, kind in found)
    assert [kind for *_, kind in found] == ["Tensor", "Tensor", "Streamed"]
    report(
        f"peak memory with 16 × {found[0][0]} pictures at {SIZE} px ({pictures.kind})",
        "decoded anew where they would fill the memory",
        [found[-1][2]],
        target=1.5,
        unit=" GB",
        at_most=True,
        note=note,
    )
    report(
        f"time for each of 4 times as many pictures at {SIZE} px ({pictures.kind})",
        "time for each of the first",
        [found[1][1] / found[1][0] / (found[0][1] / found[0][0])],
        target=1.2,
        at_most=True,
        note="1 is proportional; all of them decoded, and their features computed",
    )
