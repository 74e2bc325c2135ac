"""An imitation of Colab: its old IPython beside today's torch, an empty folder, a stamped lesson.

It installs a virtual environment from PyPI, which takes minutes, so it is off by default:
``pytest -m benchmark tests/notebooks/test_colab.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from packaging.requirements import Requirement
from repository import ROOT

from cnnlab.publish.series import SETUP

pytestmark = [pytest.mark.benchmark, pytest.mark.network]
COLAB = ["ipython==7.34.0", "ipywidgets==7.7.1", "ipykernel==6.17.1", "jupyter-client==7.4.9"]
LESSONS = ["morning/04_transposed_convolution.ipynb", "afternoon/09_ants_and_bees.ipynb"]


def run(*command: Any, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def with_requirements(names: list[str]) -> set[str]:
    """The distributions named, with all that they require here."""
    found: set[str] = set()
    while names:
        name = names.pop()
        try:
            needs = [Requirement(line) for line in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:
            continue  # for another platform
        if name not in found:
            found.add(name)
            names += [n.name for n in needs if not n.marker or n.marker.evaluate({"extra": ""})]
    return found


def share_torch(target: Path) -> None:
    """Link torch and what it requires into another environment, to spare 5 GB of installing."""
    here = Path(sysconfig.get_path("purelib"))
    for name in with_requirements(["torch", "torchvision"]):
        files = metadata.distribution(name).files or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if (here / top).exists() and not (target / top).exists():
                (target / top).symlink_to(here / top)


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with Colab's pins and a stub of google.colab."""
    folder = tmp_path_factory.mktemp("colab")
    run(sys.executable, "-m", "venv", folder)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--retries=0"]
    probe = [*pip, "download", "--no-deps", "--dest", folder, "torchsummary"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("pip reaches no package index")
    place = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    site = Path(place.strip())
    share_torch(site)
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").touch()
    run(*pip, "install", "--quiet", *COLAB)
    return python


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The working tree as it stands, as a Git repository to install from."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone")
    copy = tmp_path_factory.mktemp("published")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    run("git", "init", "--quiet", copy)
    run("git", "-C", copy, "add", "--all")
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    run("git", "-C", copy, *author, "commit", "--quiet", "--no-verify", "-m", "published")
    return f"git+{copy.as_uri()}"


def versions(python: Path) -> dict[str, str]:
    listed = json.loads(run(python, "-m", "pip", "list", "--format=json"))
    return {each["name"].lower(): each["version"] for each in listed}


def run_all(lesson: Path, python: Path, folder: Path) -> Any:
    """Execute a notebook in a kernel of `python`, started in `folder`."""

    class ItsKernel(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="Colab", language="python")

    notebook = nbformat.read(lesson, as_version=4)
    manager = AsyncKernelManager(kernel_spec_manager=ItsKernel(), kernel_name="python3")
    names = ("MPLBACKEND", "PYTHONPATH", "CNNLAB_MIRROR")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"CNNLAB_OFFLINE": "1", "CNNLAB_DATA": str(folder / "data")}
    client = NotebookClient(notebook, manager, timeout=1200)
    return client.execute(cwd=str(folder), env=environment, cleanup_kc=True)


def test_two_lessons_run_in_colab_and_change_none_of_its_packages(
    colab: Path, address: str, tmp_path: Path
) -> None:
    before = versions(colab)
    assert before["ipython"] == "7.34.0" and "cnnlab" not in before
    empty = tmp_path / "content"
    empty.mkdir()
    for name in LESSONS:
        lesson = tmp_path / Path(name).name
        source = (ROOT / "notebooks" / name).read_text(encoding="utf-8")
        notebook = nbformat.reads(source, as_version=4)
        setup = next(cell for cell in notebook.cells if SETUP.search(cell.source))
        setup.source = SETUP.sub(f'ADDRESS = "{address}"', setup.source)
        nbformat.write(notebook, lesson)
        done = run_all(lesson, colab, empty)
        last = [cell for cell in done.cells if cell.cell_type == "code"][-1]
        assert last.execution_count and last.outputs
    after = versions(colab)
    assert "cnnlab" in after
    changed = {name: (old, after.get(name)) for name, old in before.items()}
    assert {name: pair for name, pair in changed.items() if pair[0] != pair[1]} == {}
