"""Run notebooks from the command line: a kernel each, a web page each, one table at the end.

The notebooks themselves are only read; what they print and draw goes into the pages.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert.filters import strip_ansi
from nbconvert.preprocessors import ClearOutputPreprocessor
from tqdm import tqdm

from cnnlab.data.downloads import absolute_environment
from cnnlab.publish.pages import write_page
from cnnlab.runtime import format_table

__all__ = ["Run", "new_kernel", "run_notebooks", "table"]

POLL_SECONDS = 0.2
BAR = "{desc}  cell {n_fmt:>2}/{total_fmt} |{bar:24}| {elapsed}"
QUIET = ["--log-level=ERROR", "--HistoryManager.enabled=False"]

Writer = Callable[[Any, Path, Path], Path]  # notebook, where it was read, folder -> file


def new_kernel() -> AsyncKernelManager:
    """Return a kernel of this very interpreter, whatever kernels the machine has installed."""
    return AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))


@dataclass
class Run:
    """One notebook's way through a kernel, and what came of it."""

    notebook: Path
    cells: int = 0  # code cells that are not empty
    cell: int = 0  # the one at work, counted from 1
    seconds: float = 0.0
    peak_bytes: int = 0  # resident, of the kernel and its child processes together
    state: str = "waiting"  # then running, then ok, FAILED or stopped
    error: str = ""
    page: Path | None = None
    kernel: AsyncKernelManager = field(default_factory=new_kernel, repr=False)
    bar: Any = field(default=None, repr=False)  # moves in a terminal only

    @property
    def name(self) -> str:
        return self.notebook.stem

    def execute(self, folder: Path, environment: dict[str, str], write: Writer) -> None:
        """Execute the notebook and write its page into `folder`, also when a cell fails."""
        if self.state == "stopped":
            return
        self.state, started = "running", time.monotonic()
        try:
            notebook = nbformat.read(self.notebook, as_version=4)
            notebook, _ = ClearOutputPreprocessor().preprocess(notebook, {})
            self._execute_cells(notebook, environment)
            if self.state == "running":
                self.page = write(notebook, self.notebook, folder)
        except (OSError, ValueError, nbformat.ValidationError) as error:
            self.error = f"{type(error).__name__}: {error}"
        self.seconds = time.monotonic() - started
        if self.state == "running":
            self.state = "FAILED" if self.error else "ok"
        tqdm.write(f"{self.name}  {self.state} after {self.seconds:.1f} s", file=sys.stderr)

    def _execute_cells(self, notebook: Any, environment: dict[str, str]) -> None:
        def show_progress(cell: Any, cell_index: int) -> None:
            self.cell += 1
            self.bar.update()
            if self.bar.disable:
                print(f"{self.name}  cell {self.cell}/{self.cells}", file=sys.stderr)

        sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        self.cells = sum(bool(source.strip()) for source in sources)
        self.bar = tqdm(None, self.name, self.cells, leave=False, disable=None, bar_format=BAR)
        client = NotebookClient(notebook, self.kernel, timeout=None, extra_arguments=QUIET)
        client.on_cell_execute = show_progress
        try:
            client.execute(cwd=str(self.notebook.parent), env=environment, cleanup_kc=True)
        except CellExecutionError as error:
            self.error = strip_ansi(str(error))  # the cell and its traceback
        except RuntimeError as error:  # nbclient's DeadKernelError is one, too
            self.error = f"the kernel died; was there too little memory? ({error})"
        finally:
            client.set_widgets_metadata()  # nbclient does so only when all went well
            self.bar.close()

    def processes(self) -> list[psutil.Process]:
        """Return the child processes of the kernel and then the kernel, as far as they live."""
        pid = getattr(self.kernel.provisioner, "pid", None)
        if pid is None:  # psutil would take this process
            return []
        kernel = psutil.Process(pid)
        return [*kernel.children(recursive=True), kernel]

    def measure(self) -> None:
        """Note the memory in use, if it is the most so far, and move the clock on."""
        with suppress(psutil.Error):
            used = sum(process.memory_info().rss for process in self.processes())
            self.peak_bytes = max(self.peak_bytes, used)
        if self.bar is not None:
            self.bar.refresh()

    def stop(self) -> None:
        """End it now; `execute` then returns without a page."""
        if self.state in ("waiting", "running"):
            self.state = "stopped"
        with suppress(psutil.Error):
            for process in self.processes():
                process.kill()


def kernel_environment(jobs: int) -> dict[str, str]:
    """Return the environment variables for the kernels of `jobs` notebooks at once."""
    environment = {**os.environ, **absolute_environment()}  # they start in other folders
    environment.pop("MPLBACKEND", None)  # figures belong in the page
    if jobs > 1:
        # Networks that train side by side, each with a thread a core, only fight for the cores.
        environment.setdefault("OMP_NUM_THREADS", "1")
    return environment


def run_notebooks(
    notebooks: Sequence[Path], folder: Path, jobs: int = 1, write: Writer = write_page
) -> list[Run]:
    """Execute `notebooks`, `jobs` at a time, and write their pages (or slides) into `folder`.

    Whatever ends this function, an exception or Ctrl-C too, no kernel is left behind.

    Returns
    -------
    list of Run
        One for each notebook, in the same order; a failure is told there, not raised.

    Raises
    ------
    ValueError
        When two notebooks of the same name would write the same page, or for a wrong setting.
    OSError
        When `folder` cannot be made.
    """
    runs = [Run(path) for path in notebooks]
    if len({run.name for run in runs}) < len(runs):
        raise ValueError("two notebooks have the same name; run them one by one")
    folder.mkdir(parents=True, exist_ok=True)
    environment = kernel_environment(jobs)
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run.execute, folder, environment, write) for run in runs]
        try:
            while wait(futures, timeout=POLL_SECONDS).not_done:
                for run in runs:
                    run.measure()
        finally:
            while wait(futures, timeout=POLL_SECONDS).not_done:
                for run in runs:
                    run.stop()
    for future in futures:
        future.result()  # raises what is wrong with this program, rather than with a notebook
    return runs


def table(runs: Sequence[Run]) -> str:
    """Return the aligned table of what was run, one row for each notebook.

    Examples
    --------
    >>> ants = Run(Path("09_ants_and_bees.ipynb"), cells=34, cell=34, seconds=71.26, state="ok")
    >>> print(table([ants]))
    notebook          cells  seconds  peak MB  result  page
    09_ants_and_bees  34/34     71.3        0  ok      -
    """
    header = ("notebook", "cells", "seconds", "peak MB", "result", "page")
    rows = []
    for run in runs:
        cells, peak = f"{run.cell}/{run.cells}", f"{run.peak_bytes / 1e6:,.0f}"
        page = run.page.as_posix() if run.page else "-"
        rows.append((run.name, cells, f"{run.seconds:.1f}", peak, run.state, page))
    return format_table(rows, header, align="<>>><<")
