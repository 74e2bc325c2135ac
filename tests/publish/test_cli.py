"""The command line as a user has it: real processes, their output and their exit status."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import cnnlab

Finished = subprocess.CompletedProcess[str]


def environment(**changes: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CNNLAB_")}
    return {**ours, "COLUMNS": "80", **changes}


def call(*arguments: str, cwd: Path | None = None, **changes: str) -> Finished:
    command = [sys.executable, "-m", "cnnlab", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with a series of two: the first prints its environment, the second fails."""
    show = "import os; print([os.environ.get(f'CNNLAB_{n}') for n in ('DATA', 'MIRROR')])"
    for name, source in {"morning/01_show": show, "afternoon/08_fail": "1 / 0"}.items():
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(new_notebook(cells=[new_code_cell(source)]), path)
    return tmp_path


def test_help_names_every_command_without_torch() -> None:
    script = "import sys; from cnnlab.__main__ import main\n"
    script += (
        "try: main(['--help'])\nfinally: print({'torch', 'nbclient', 'pooch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    for name in ("run", "slides", "site", "lab", "fetch", "doctor", "stamp"):
        assert re.search(rf"^    {name} +\w", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("\nset()\n")


@pytest.mark.skipif(os.name != "posix", reason="measures processor time the POSIX way")
def test_help_takes_less_than_three_tenths_of_a_second() -> None:
    import resource

    def seconds() -> float:  # of the processor: a busy machine must not fail the test
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        call("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


def test_version_is_the_package_s() -> None:
    assert call("--version").stdout == f"cnnlab {cnnlab.__version__}\n"


def test_without_a_command_the_help_is_shown() -> None:
    done = call()
    assert done.returncode == 2 and "commands:" in done.stderr


def test_a_series_runs_and_a_failure_is_told_at_the_end(clone: Path) -> None:
    (clone / "stick").mkdir()
    done = call("run", cwd=clone, CNNLAB_DATA="data", CNNLAB_MIRROR="stick")
    assert done.returncode == 1
    lines = done.stdout.strip().splitlines()
    assert lines[0].split() == ["notebook", "cells", "seconds", "peak", "MB", "result", "page"]
    assert re.fullmatch(r"01_show +1/1 +[\d.]+ +\d+  ok      build/01_show\.html", lines[1])
    assert re.fullmatch(r"08_fail +1/1 +[\d.]+ +\d+  FAILED  build/08_fail\.html", lines[2])
    assert "01_show  cell 1/1\n" in done.stderr
    assert "08_fail failed at code cell 1." in done.stderr
    assert "\n1 / 0\n" in done.stderr and "ZeroDivisionError" in done.stderr
    page = (clone / "build" / "01_show.html").read_text(encoding="utf-8")
    assert f"['{clone}/data', '{clone}/stick']" in page


@pytest.mark.parametrize(
    ("command", "pages"),
    [("slides", ["01_show.html"]), ("site", ["01_show.html", "slides/01_show.html"])],
)
def test_slides_and_site_end_with_an_index_of_what_could_be_made(
    clone: Path, command: str, pages: list[str]
) -> None:
    done = call(command, "01_show", cwd=clone)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout.endswith(f"Index: build/{command}/index.html\n")
    index = (clone / "build" / command / "index.html").read_text(encoding="utf-8")
    for page in pages:
        assert f'"{page}"' in index and (clone / "build" / command / page).is_file()
    assert "08_fail" not in index


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "nothing"], "no notebook 'nothing'; there are 01_show, 08_fail"),
        (["run", "--jobs", "0"], "must be greater than 0"),
        (["run", "--jobs", "two"], "invalid int value: 'two'"),
        (["run", "--quick"], "unrecognized arguments: --quick"),
        (["teach"], "invalid choice: 'teach'"),
        (["fetch", "resnet81"], "no model 'resnet81'"),
        (["stamp"], "give either OWNER/REPO or --clear"),
    ],
)
def test_wrong_use_is_explained(arguments: list[str], complaint: str, clone: Path) -> None:
    done = call(*arguments, cwd=clone)
    assert done.returncode == 2 and complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mirror_address_of_another_kind_is_refused(clone: Path) -> None:
    done = call("run", cwd=clone, CNNLAB_MIRROR="ftp://classroom")
    assert done.returncode == 2 and "CNNLAB_MIRROR=ftp://classroom" in done.stderr


def test_a_package_that_is_missing_is_told_in_a_line(clone: Path) -> None:
    """Not even the doctor's own packages are there: Python without site-packages."""
    (clone / "cnnlab").symlink_to(Path(cnnlab.__file__).parent, target_is_directory=True)
    done = subprocess.run(
        [sys.executable, "-S", "-m", "cnnlab", "doctor"],
        cwd=clone, env=environment(PYTHONPATH=str(clone)), capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"cnnlab doctor: No module named '\w+'\n", done.stderr)


def test_an_output_folder_that_is_a_file_is_told(clone: Path) -> None:
    (clone / "build").write_text("")
    done = call("run", cwd=clone)
    assert done.returncode == 1 and "File exists: 'build'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_name_fetch_lists(tmp_path: Path) -> None:
    for arguments in (["fetch"], ["fetch", "--list", "mnist"]):
        done = call(*arguments, CNNLAB_DATA=str(tmp_path))
        assert done.returncode == 0
        assert "ants_and_bees  47 MB, not here yet" in done.stdout
        assert "cifar10        170 MB, not here yet" in done.stdout
        assert done.stdout.count("License: ") == 4
        assert max(map(len, done.stdout.splitlines())) <= 100
    assert not list(tmp_path.iterdir())


def test_a_fetch_that_fails_says_why_and_goes_on(tmp_path: Path) -> None:
    done = call("fetch", "--all", CNNLAB_DATA=str(tmp_path), CNNLAB_OFFLINE="1")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for file in ("hymenoptera_data.zip", "train-images-idx3-ubyte", "cifar-100-python.tar.gz"):
        assert file in done.stderr
    assert ": offline\n" in done.stderr and "CNNLAB_MIRROR" in done.stderr


@pytest.mark.photos
def test_a_fetch_says_where_things_are(tmp_path: Path) -> None:
    stick = os.environ.get("CNNLAB_MIRROR", "")
    if not (Path(stick) / "MNIST" / "raw").is_dir():
        pytest.skip("CNNLAB_MIRROR is not a folder with MNIST")
    settings = {"CNNLAB_DATA": str(tmp_path), "CNNLAB_MIRROR": stick, "CNNLAB_OFFLINE": "1"}
    done = call("fetch", "mnist", **settings)
    assert done.stdout == f"mnist is in {tmp_path / 'MNIST' / 'raw'}\n"
    assert f"here: {tmp_path / 'MNIST' / 'raw'}" in call("fetch", **settings).stdout


@pytest.mark.skipif(os.name != "posix", reason="stops the server by a POSIX signal")
def test_lab_serves_the_notebooks_to_who_has_the_token(clone: Path, free_port: int) -> None:
    log = clone / "log"
    with log.open("w") as stream:
        arguments = ["lab", "--no-browser", "--", f"--port={free_port}", "--allow-root"]
        process = subprocess.Popen(
            [sys.executable, "-m", "cnnlab", *arguments],
            cwd=clone, env=environment(), stdout=stream, stderr=stream,
        )  # fmt: skip
    try:
        pattern = re.compile(r"http://127\.0\.0\.1:\d+/lab\?token=\w+")
        deadline = time.monotonic() + 60
        while not (found := pattern.search(log.read_text())):
            assert time.monotonic() < deadline and process.poll() is None, log.read_text()
            time.sleep(0.2)
        address, token = found[0].split("/lab?token=")
        contents = f"{address}/api/contents"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(contents, timeout=20)
        with urllib.request.urlopen(f"{contents}?token={token}", timeout=20) as answer:
            assert {"morning", "afternoon"} <= set(re.findall(r"\w+", answer.read().decode()))
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_bar(clone: Path) -> None:
    import fcntl
    import pty
    import termios

    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "cnnlab", "run", "1", "--output", "pages/today"]
    process = subprocess.Popen(
        command, cwd=clone, env=environment(), stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # which is how a terminal says that it was closed
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    assert process.wait(timeout=20) == 0
    assert "01_show  cell  1/1 |████".encode() in shown and b"01_show  ok after" in shown
    assert [path.name for path in (clone / "pages" / "today").iterdir()] == ["01_show.html"]
