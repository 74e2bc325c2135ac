"""What `cnnlab run` tells in the terminal: progress, failures and the table at the end."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from cnnlab.publish.running import Run

__all__ = ["Progress", "failure", "table"]

WIDTH = 80  # columns of a plain terminal
MEGABYTE = 1e6
BAR = "{desc}  cell {n_fmt:>2}/{total_fmt} |{bar:24}| {elapsed}"


class Progress:
    """Where each notebook is: moving bars in a terminal, a line a cell anywhere else.

    Notebooks that run at once report from threads of their own, hence the lock.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.width = max((len(run.name) for run in runs), default=0)
        self.terminal = sys.stderr.isatty()
        self.bars: dict[str, tqdm[Any]] = {}
        self.lock = Lock()

    def show(self, run: Run) -> None:
        """Show that `run` has come to another cell."""
        name = f"{run.name:<{self.width}}"
        if not self.terminal:
            print(f"{name}  cell {run.cell}/{run.cells}", file=sys.stderr, flush=True)
            return
        with self.lock:
            if run.name not in self.bars:
                self.bars[run.name] = tqdm(
                    desc=name, total=run.cells, bar_format=BAR, leave=False, file=sys.stderr
                )
            self.bars[run.name].n = run.cell
            self.bars[run.name].refresh()

    def tick(self) -> None:
        """Move the clocks on."""
        with self.lock:
            for bar in self.bars.values():
                bar.refresh()

    def finish(self, run: Run) -> None:
        """Replace the bar of `run` by a line that stays."""
        with self.lock:
            line = f"{run.name:<{self.width}}  {run.state} after {run.seconds:.1f} s"
            if run.name in self.bars:
                self.bars.pop(run.name).close()
                line = f"\r{line}"  # tqdm leaves the cursor where the bar ended
            tqdm.write(line, file=sys.stderr)


def table(runs: Sequence[Run]) -> str:
    """Return the aligned table of what was run: a row a notebook, then the sum.

    Examples
    --------
    >>> from pathlib import Path
    >>> from cnnlab.publish.running import Run
    >>> ants = Run(Path("09_ants_and_bees.ipynb"), cells=34, cell=34, seconds=71.26, state="ok")
    >>> print(table([ants]))
    notebook          cells  seconds  peak MB  result  page
    09_ants_and_bees  34/34     71.3        0  ok      -
    """
    rows = [("notebook", "cells", "seconds", "peak MB", "result", "page")]
    for run in runs:
        cells, peak = f"{run.cell}/{run.cells}", f"{run.peak_bytes / MEGABYTE:,.0f}"
        page = os.path.relpath(run.page) if run.page else "-"
        rows.append((run.name, cells, f"{run.seconds:.1f}", peak, run.state, page))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = "<>>><<"
    lines = []
    for row in rows:
        columns = zip(row, aligned, widths, strict=True)
        lines.append("  ".join(f"{text:{side}{width}}" for text, side, width in columns))
    return "\n".join(line.rstrip() for line in lines)


def failure(run: Run) -> str:
    """Return the story of a failed run: which cell, its source, the traceback."""
    if not run.source:
        return f"{run.name} failed: {run.error}"
    source = textwrap.indent(run.source, "    ")
    title = f"-- {run.name}, code cell {run.cell} of {run.cells}, failed "
    return f"{title:-<{WIDTH}}\n{source}\n\n{run.error}"
