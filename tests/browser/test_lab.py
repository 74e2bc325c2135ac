"""JupyterLab itself, as a student has it: Run All, then an exercise, wrong and right."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from looking import open_page, wait_for
from repository import NOTEBOOKS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec("jupyterlab") is None, reason="jupyterlab is not installed"),
    pytest.mark.skipif(os.name != "posix", reason="ends the server the POSIX way"),
]
LESSON = next(path for path in NOTEBOOKS if path.stem.startswith("06"))
SECONDS = 300
SETTINGS = {  # every cell on the page, and no question about news
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
OPEN = """
const panel = window.jupyterapp?.shell.currentWidget;
return panel?.context?.isReady && panel.sessionContext.session?.kernel?.status === "idle";
"""
CELLS = """
const panel = window.jupyterapp.shell.currentWidget;
const cells = panel.content.model.sharedModel.toJSON().cells;
const code = cells.filter((cell) => cell.cell_type === "code" && cell.source.length);
return {status: panel.sessionContext.session.kernel.status,
        waiting: code.filter((cell) => cell.execution_count === null).length,
        errors: code.flatMap((cell) => cell.outputs)
          .filter((output) => output.output_type === "error")
          .map((output) => output.ename + ": " + output.evalue)};
"""
ANSWER = """
const [text, done] = arguments;
const notebook = window.jupyterapp.shell.currentWidget.content;
const cells = notebook.model.sharedModel.cells;
const stub = cells.findIndex((cell) => cell.getSource().startsWith("field_by_hand ="));
cells[stub].setSource(text);
const run = async () => {
  for (const index of [stub, stub + 1]) {
    notebook.activeCellIndex = index;
    await window.jupyterapp.commands.execute("notebook:run-cell");
  }
  const outputs = cells[stub + 1].toJSON().outputs;
  return outputs.map((output) => output.text ?? output.evalue).join("");
};
run().then(done);
"""


@pytest.fixture
def lab(tmp_path: Path, free_port: int) -> Iterator[str]:
    """`cnnlab lab` on a copy of one lesson: the address, with the token in it."""
    series = tmp_path / "notebooks" / "morning"
    series.mkdir(parents=True)
    shutil.copy(LESSON, series)
    for name, values in SETTINGS.items():
        file = tmp_path / "config/lab/user-settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    places = {"JUPYTER_CONFIG_DIR": tmp_path / "config", "CNNLAB_DATA": tmp_path / "data"}
    environment = {**os.environ, **{name: str(path) for name, path in places.items()}}
    options = [f"--port={free_port}", "--allow-root", "--LabApp.expose_app_in_browser=True"]
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "cnnlab", "lab", "--no-browser", "--", *options],
            cwd=tmp_path, env={**environment, "CNNLAB_OFFLINE": "1"}, stdout=stream, stderr=stream,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + SECONDS
        pattern = re.compile(r"(http://127\.0\.0\.1:\d+/lab)(\?token=\w+)")
        while not (found := pattern.search(log.read_text())):
            assert time.monotonic() < deadline and process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield f"{found[1]}/tree/morning/{LESSON.name}{found[2]}"
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.terminate()
        process.wait(timeout=20)


def test_run_all_ends_without_an_error_and_an_answer_is_checked(lab: str, browser: Any) -> None:
    open_page(browser, lab)
    wait_for(browser, OPEN, seconds=SECONDS)
    browser.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    deadline = time.monotonic() + SECONDS
    while (state := browser.execute_script(CELLS))["waiting"] or state["status"] != "idle":
        assert time.monotonic() < deadline and not state["errors"], state
        time.sleep(0.5)
    assert state["errors"] == []
    browser.set_script_timeout(60)
    replies = [
        browser.execute_async_script(ANSWER, f"field_by_hand = {answer}")
        for answer in ("[5, 8, 31]", "[5, 8, 32]")
    ]
    assert "✓" not in replies[0] and "31" in replies[0]
    assert "✓ correct" in replies[1]
    assert browser.execute_script(CELLS)["errors"] == []
