"""What the benchmarks found: a line each, `build/benchmarks.json`, and a picture of all of them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import torch

from cnnlab.plotting import COLORS, styled
from cnnlab.runtime import fast_dtype

FILE = Path(__file__).parents[2] / "build" / "benchmarks.json"
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "lightning", "skorch", "nbmake")


@dataclass(frozen=True)
class Row:
    """A benchmark: a value a repetition, and what its median has to reach."""

    name: str
    against: str
    values: Sequence[float]
    target: float
    unit: str = "×"
    at_most: bool = False  # the target is an upper bound
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        return self.median <= self.target if self.at_most else self.median >= self.target

    @property
    def margin(self) -> float:
        """How many times better than the target the median is; below 1 it is missed."""
        return self.better(self.median)

    def better(self, value: float) -> float:
        return self.target / value if self.at_most else value / self.target

    @property
    def measured(self) -> str:
        return f"{short(self.median)}{self.unit}"

    def __str__(self) -> str:
        low, high = short(min(self.values)), short(max(self.values))
        spread = f" ({low} to {high}, n = {len(self.values)})" if len(self.values) > 1 else ""
        bound, verdict = "≤" if self.at_most else "≥", "met" if self.met else "MISSED"
        return (
            f"{self.name} | {self.against} | {self.measured}{spread} | "
            f"target {bound} {short(self.target)}{self.unit}: {verdict}"
            f"{' | ' + self.note if self.note else ''}"
        )


def short(value: float) -> str:
    """Three digits that mean something, without an exponent.

    Examples
    --------
    >>> [short(x) for x in (0.01234, 1.0349, 58.04, 1234.6)]
    ['0.0123', '1.03', '58', '1,235']
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> str:
    """Describe this machine in general words."""
    memory = psutil.virtual_memory().total / 1e9
    capability = torch.backends.cpu.get_cpu_capability()
    bf16 = "with bf16" if fast_dtype(torch.device("cpu")) else "without bf16"
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} CPU cores ({capability}, {bf16}), {memory:.0f} GB{gpu}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def enter(row: Row, command: str) -> None:
    """Merge a row with those of earlier runs, and draw them all."""
    page = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    page[row.name] = asdict(row) | {
        "median": row.median,
        "met": row.met,
        "machine": machine(),
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "versions": versions(),
        "command": command,
    }
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(page, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(page, FILE.with_suffix(".png"))


def draw(page: dict[str, Any], path: Path) -> None:
    """Draw how much better than its target each benchmark is, with the spread."""
    from matplotlib.figure import Figure

    keys = Row.__dataclass_fields__
    rows = [Row(**{k: entry[k] for k in keys}) for entry in page.values()]
    rows.sort(key=lambda row: row.margin)
    with styled():
        figure = Figure(figsize=(12, 1.6 + 0.42 * len(rows)))
        ax = figure.subplots()
        for y, row in enumerate(rows):
            ends = sorted(row.better(value) for value in (min(row.values), max(row.values)))
            color, marker = (COLORS[0], "o") if row.met else (COLORS[1], "X")
            ax.plot(ends, [y, y], color=color, linewidth=2)
            ax.plot(row.margin, y, marker, color=color, markersize=9)
        ax.axvline(1, color=COLORS[-1], linewidth=1)
        ax.set(xscale="log", ylim=(-0.6, len(rows) - 0.4))
        ax.xaxis.set_major_formatter("{x:g}×")
        ax.set(xlabel="better than its target by a factor of … (left of the line: missed)")
        ax.set_yticks(range(len(rows)), [row.name for row in rows])
        right = ax.secondary_yaxis("right")
        right.set_yticks(range(len(rows)), [row.measured for row in rows])
        right.spines["right"].set_visible(False)
        right.tick_params(length=0)
        ax.set_title("Medians with the range of all repetitions; measured values on the right")
        figure.savefig(path, dpi=100)
