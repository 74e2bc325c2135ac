"""Lessons that were really executed, for the tests that look at pages and slides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cnnlab.publish.running import run_notebooks
from cnnlab.publish.site import write_lesson, write_site_index


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Executes notebooks that were not executed before; returns the folder of the site."""
    folder = tmp_path_factory.mktemp("site")

    def execute(*notebooks: Path) -> Path:
        new = [path for path in notebooks if not (folder / f"{path.stem}.html").exists()]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CNNLAB_OFFLINE", "1")
            patch.setenv("CNNLAB_DATA", str(tmp_path_factory.mktemp("data")))
            runs = run_notebooks(new, folder, write=write_lesson)
        for run in runs:
            if run.state != "ok" and run.page:
                run.page.unlink()  # the next test must not take it for a whole one
        assert [run.error for run in runs if run.state != "ok"] == []
        write_site_index(sorted(notebooks, key=lambda path: path.name), folder)
        return folder

    return execute
