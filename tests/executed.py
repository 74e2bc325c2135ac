"""Lessons are executed once: what nbmake ran is kept for every test that needs its outputs.

A lesson with trained networks in it takes a minute or two. Tests that read what a lesson prints
and draws (pages, slides, alternative texts, numbers on the photographs) ask :func:`executed` for
it. Whoever needs a lesson first executes it, as nbmake does: with the solutions filled in, and
with the sentences about results asserted. All others, in other worker processes too, read the
notebook that was kept. Each run of pytest begins anew.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from filelock import FileLock
from nbmake import pytest_items
from nbmake.nb_result import NotebookResult
from nbmake.nb_run import NotebookRun

FOLDER = "CNNLAB_TESTS_EXECUTED"  # where the workers of one run of pytest keep them
TIMEOUT = 600  # seconds for one cell


class SharedRun(NotebookRun):
    """nbmake's run of a notebook, which keeps what a lesson returned without an error."""

    def execute(self) -> NotebookResult:
        kept = Path(os.environ[FOLDER], self.filename.name)
        with FileLock(f"{kept}.lock"):
            if kept.exists():
                return NotebookResult(nb=nbformat.read(kept, as_version=4), error=None)
            result = super().execute()
            if result.error is None:
                nbformat.write(result.nb, kept)
            return result


def executed(path: Path) -> Any:
    """Return a lesson with its outputs, executed in this run of pytest; fail where it fails."""
    result = SharedRun(path, TIMEOUT).execute()
    if result.error is not None:
        pytest.fail(f"{path.name} cannot be executed: {result.error.trace}")
    return result.nb


def share(config: pytest.Config) -> None:
    """Let nbmake keep what it executes; to be called by every conftest with lessons below it."""
    pytest_items.NotebookRun = SharedRun
    if FOLDER not in os.environ:  # worker processes inherit it
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="lessons-")
        # what lessons record stays out of the user's data folder
        os.environ["CNNLAB_RESULTS"] = str(Path(os.environ[FOLDER], "results"))
        os.environ["PYTHONWARNINGS"] = "default"  # kernels print deprecations, which are tested
        config.add_cleanup(forget)


def forget() -> None:
    """Remove what was kept."""
    for name in ("CNNLAB_RESULTS", "PYTHONWARNINGS"):
        os.environ.pop(name, None)
    shutil.rmtree(os.environ.pop(FOLDER), ignore_errors=True)
