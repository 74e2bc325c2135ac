"""Run notebooks from the command line: a kernel each, a web page each, one table at the end.

The notebooks themselves are only read; what they print and draw goes into the pages.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert.filters import strip_ansi

from cnnlab.publish.pages import write_page
from cnnlab.publish.report import Progress
from cnnlab.publish.series import UnknownName

__all__ = ["Run", "run_notebooks"]

POLL_SECONDS = 0.2

Writer = Callable[[Any, Path, Path], Path]  # notebook, where it was read, folder -> file


class ThisPython(KernelSpecManager):
    """Knows one kernel: this very interpreter, whatever kernels the machine has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [*make_ipkernel_cmd(), "--log-level=ERROR", "--HistoryManager.enabled=False"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def kernel_environment(jobs: int) -> dict[str, str]:
    """Return the environment variables for the kernels of `jobs` notebooks at once."""
    environment = dict(os.environ)
    environment.pop("MPLBACKEND", None)  # figures belong in the page
    if jobs > 1:
        # Networks that train side by side, each with a thread a core, only fight for the cores.
        environment.setdefault("OMP_NUM_THREADS", "1")
    return environment


def _memory(process: psutil.Process) -> int:
    """Return the bytes in use; what a process shares with others counts in part, where known."""
    try:
        return process.memory_full_info().pss
    except (AttributeError, psutil.AccessDenied):  # not Linux, or not allowed to look
        return process.memory_info().rss


@dataclass
class Run:
    """One notebook's way through a kernel, and what came of it."""

    notebook: Path
    cells: int = 0  # code cells that are not empty
    cell: int = 0  # the one at work, counted from 1
    source: str = ""  # of that cell
    seconds: float = 0.0
    peak_bytes: int = 0  # resident, of the kernel and its child processes together
    state: str = "waiting"  # then running, then ok, FAILED or stopped
    error: str = ""
    page: Path | None = None
    manager: AsyncKernelManager | None = field(default=None, repr=False)
    kernel: psutil.Process | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.notebook.stem

    def execute(
        self, folder: Path, environment: dict[str, str], progress: Progress, write: Writer
    ) -> None:
        """Execute the notebook and write its page into `folder`, also when a cell fails."""
        if self.state == "stopped":
            return
        self.state, started = "running", time.monotonic()
        try:
            notebook = nbformat.read(self.notebook, as_version=4)
            code = [cell for cell in notebook.cells if cell.cell_type == "code"]
            self.cells = sum(bool(cell.source.strip()) for cell in code)
            for cell in code:
                cell.update(outputs=[], execution_count=None)  # nothing from an earlier run
            self._execute_cells(notebook, environment, progress)
            if self.state == "running":
                self.page = write(notebook, self.notebook, folder)
        except (OSError, ValueError, nbformat.ValidationError) as error:
            self.error = f"{type(error).__name__}: {error}"
        self.seconds = time.monotonic() - started
        if self.state == "running":
            self.state = "FAILED" if self.error else "ok"
        progress.finish(self)

    def _execute_cells(
        self, notebook: Any, environment: dict[str, str], progress: Progress
    ) -> None:
        def next_cell(cell: Any, cell_index: int) -> None:
            self.cell, self.source = self.cell + 1, cell.source
            progress.show(self)

        self.manager = AsyncKernelManager(kernel_spec_manager=ThisPython(), kernel_name="python3")
        client = NotebookClient(notebook, self.manager, timeout=None, on_cell_execute=next_cell)
        try:
            client.execute(cwd=str(self.notebook.parent), env=environment, cleanup_kc=True)
        except CellExecutionError as error:
            self.error = traceback_of(notebook) or f"{error.ename}: {error.evalue}"
        except RuntimeError as error:  # nbclient's DeadKernelError is one, too
            self.error = f"the kernel died; was there too little memory? ({error})"
        finally:
            client.set_widgets_metadata()  # nbclient does so only when all went well
            self.kill()

    def processes(self) -> list[psutil.Process]:
        """Return the kernel and its child processes, as far as they live."""
        with suppress(psutil.Error):
            launcher = self.manager and self.manager.provisioner
            if self.kernel is None and launcher and launcher.pid is not None:
                self.kernel = psutil.Process(launcher.pid)  # without a pid it would be ourselves
            if self.kernel is not None:
                return [self.kernel, *self.kernel.children(recursive=True)]
        return []

    def measure(self) -> None:
        """Note the memory in use, if it is the most so far."""
        used = 0
        for process in self.processes():
            with suppress(psutil.Error):
                used += _memory(process)
        self.peak_bytes = max(self.peak_bytes, used)

    def stop(self) -> None:
        """End it now; `execute` then returns without a page."""
        if self.state in ("waiting", "running"):
            self.state = "stopped"
        self.kill()

    def kill(self) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()


def traceback_of(notebook: Any) -> str:
    """Return the traceback in the outputs of the cell that failed, without colors."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    errors = [output for output in outputs if output.output_type == "error"]
    return strip_ansi("\n".join(errors[-1].traceback)) if errors else ""


def run_notebooks(
    notebooks: Sequence[Path], folder: Path, jobs: int = 1, write: Writer = write_page
) -> list[Run]:
    """Execute `notebooks`, `jobs` at a time, and write their pages (or slides) into `folder`.

    Whatever ends this function, an exception or Ctrl-C too, no kernel is left behind.

    Returns
    -------
    list of Run
        One a notebook, in the same order; a failure is told there, not raised.

    Raises
    ------
    UnknownName
        When two notebooks of the same name would write the same page.
    OSError
        When `folder` cannot be made.
    """
    runs = [Run(path) for path in notebooks]
    names = [run.name for run in runs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UnknownName(f"two notebooks named {twice.pop()}; run them one by one")
    folder.mkdir(parents=True, exist_ok=True)
    environment, progress = kernel_environment(jobs), Progress(runs)
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run.execute, folder, environment, progress, write) for run in runs]
        try:
            while wait(futures, timeout=POLL_SECONDS).not_done:
                for run in runs:
                    if run.state == "running":
                        run.measure()
                progress.tick()
        finally:
            while wait(futures, timeout=POLL_SECONDS).not_done:
                for run in runs:
                    run.stop()
    for future in futures:
        future.result()  # raises what is wrong with this program, rather than with a notebook
    return runs
