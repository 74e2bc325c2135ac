"""Real things that are wrong with a machine, and what the doctor says about them."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cnnlab.publish import doctor
from cnnlab.publish.doctor import Finding


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    monkeypatch.delenv("CNNLAB_MIRROR", raising=False)


def named(findings: Iterator[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def report(**changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cnnlab", "doctor"],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **changes},
        capture_output=True, text=True, encoding="utf-8", timeout=120,
    )  # fmt: skip


@pytest.fixture
def captive_portal() -> Iterator[str]:
    class LogIn(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    yield from _serve(LogIn)


def _serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_healthy_machine_is_ready() -> None:
    done = report()
    assert done.returncode == 0 and "Ready for class" in done.stdout
    assert "✗" not in done.stdout and "\x1b" not in done.stdout
    for name in ("python", "packages", "device", "threads", "memory", "disk", "network"):
        assert re.search(rf"^  [✓!] {name} +\S", done.stdout, re.MULTILINE), name
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_everything_wrong_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fake = tmp_path / "fake"
    fake.mkdir()
    broken = "raise RuntimeError('operator torchvision::nms does not exist')"
    (fake / "torchvision.py").write_text(broken)
    done = report(
        CNNLAB_DATA=str(tmp_path / "file" / "cache"),
        CNNLAB_MIRROR=str(tmp_path / "no-stick"),
        PYTHONPATH=str(fake),
    )
    assert done.returncode == 1 and done.stderr == ""
    lines = done.stdout.splitlines()
    wrong = [number for number, line in enumerate(lines) if line.startswith(("  ✗", "  !"))]
    names = [lines[number].split()[1] for number in wrong]
    assert {"torchvision", "data", "mirror"} <= set(names)
    assert "operator torchvision::nms does not exist" in done.stdout
    assert "3 to mend before class" in lines[-1]
    advice = [line for line in lines if line.strip().startswith("→ ")]
    assert len(advice) == len(wrong), "each finding comes with an advice"


def test_packages_are_compared_with_the_bounds() -> None:
    wanted = map(Requirement, ["numpy>=9999", "no-such-package>=1.0", "torch"])
    old, missing, good = doctor.check_packages(list(wanted))
    assert (old.level, missing.level, good.level) == ("stop", "stop", "ok")
    assert "but cnnlab needs >=9999" in old.text and old.advice == 'pip install "numpy>=9999"'
    assert missing.text == "missing" and good.text.startswith("torch ")


def test_damaged_data_is_not_called_present(tmp_path: Path) -> None:
    raw = tmp_path / "cache" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"half")
    mnist = named(doctor.check_data(), "mnist")
    assert mnist.level == "note" and mnist.text.startswith("incomplete or damaged")
    assert mnist.advice == "cnnlab fetch mnist"


def test_the_embedded_backbone_is_found() -> None:
    assert "tiny_resnet" in named(doctor.check_data(), "embedded").text


def test_offline_means_that_the_network_is_not_tried() -> None:
    assert named(doctor.check_network(), "network").text.startswith("not tried")


def test_a_mirror_folder_without_data_is_useless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNLAB_MIRROR", str(tmp_path))
    assert named(doctor.check_network(), "mirror").level == "note"
    (tmp_path / "hymenoptera_data.zip").write_bytes(b"")
    assert named(doctor.check_network(), "mirror").level == "ok"


def test_a_cache_served_by_python_is_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    for address in _serve(Files):
        key = "hymenoptera_data.zip"
        assert "answers 404" in doctor.no_answer(f"{address}/{key}")
        (tmp_path / key).write_bytes(b"PK")
        assert doctor.no_answer(f"{address}/{key}") == ""


def test_a_log_in_page_is_not_the_network(captive_portal: str) -> None:
    assert "a log-in?" in doctor.no_answer(f"{captive_portal}/hymenoptera_data.zip")


def test_a_server_that_never_answers_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        problem = doctor.no_answer(f"http://127.0.0.1:{silent.getsockname()[1]}/x", seconds=0.3)
    assert problem and time.monotonic() - started < 2


def test_an_address_of_another_kind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_MIRROR", "ftp://classroom")
    monkeypatch.setattr(doctor, "CHECKS", {"Settings and network": doctor.check_network})
    stream = io.StringIO()
    assert not doctor.examine(stream)
    assert "CNNLAB_MIRROR=ftp://classroom" in stream.getvalue()


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_marks_suit_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    finding = Finding("stop", "mirror", "gone", "look for it")
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert doctor.layout(finding, plain) == (
        "  x mirror          gone\n                    -> look for it"
    )
    terminal = Terminal(io.BytesIO(), encoding="utf-8")
    assert doctor.layout(finding, terminal).startswith("  \x1b[31m✗\x1b[0m mirror          gone")
    monkeypatch.setenv("NO_COLOR", "1")
    assert doctor.layout(finding, terminal).startswith("  ✗ mirror          gone")
