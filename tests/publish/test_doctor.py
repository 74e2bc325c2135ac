"""Real things that are wrong with a machine, and what the doctor says about them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cnnlab.publish import doctor
from cnnlab.publish.doctor import Check, examine

PARTS = ("python", "torch", "kernel", "memory", "data folder", "disk", "settings", "data",
         "ImageNet", "tiny_resnet")  # fmt: skip


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    monkeypatch.delenv("CNNLAB_MIRROR", raising=False)


def report(**changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cnnlab", "doctor"],
        env={**os.environ, **changes}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def level_of(name: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Examine one thing; return the level and the text of the finding."""
    (check,) = [check for check in doctor.CHECKS if check.name == name]
    examine([check])
    line, *_ = capsys.readouterr().out.partition("\n\n")
    found = re.match(rf"(ok|note|STOP) +{name} +(.*)", line, re.DOTALL)
    assert found
    return found[1], found[2]


def test_a_healthy_machine_is_ready() -> None:
    done = report()
    assert done.returncode == 0 and "Ready for class" in done.stdout
    assert (done.stderr, "STOP" in done.stdout) == ("", False)
    for name in PARTS:
        assert re.search(rf"^(ok|note) +{name} +\S", done.stdout, re.MULTILINE), name
    assert done.stdout.isascii(), "for every terminal"


def test_everything_wrong_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fake = tmp_path / "fake"
    fake.mkdir()
    broken = "raise RuntimeError('operator torchvision::nms does not exist')"
    (fake / "torchvision.py").write_text(broken)
    path = os.pathsep.join([str(fake), os.environ.get("PYTHONPATH", "")])
    done = report(
        CNNLAB_DATA=str(tmp_path / "file" / "cache"),
        CNNLAB_MIRROR=str(tmp_path / "no-stick"),
        PYTHONPATH=path.strip(os.pathsep),
    )
    assert done.returncode == 1 and done.stderr == ""
    wrong = re.findall(r"^STOP +(\w+(?: folder)?)", done.stdout, re.MULTILINE)
    assert {"torch", "data folder", "settings"} <= set(wrong)
    assert "operator torchvision::nms does not exist" in done.stdout
    assert f"{len(wrong)} to mend before class" in done.stdout.splitlines()[-1]
    notes = re.findall("^note", done.stdout, re.MULTILINE)
    advice = re.findall(r"^ +-> \S", done.stdout, re.MULTILINE)
    assert len(advice) == len(wrong + notes), "each finding comes with an advice"


def test_packages_are_compared_with_the_bounds() -> None:
    assert "2 packages are new enough" in doctor.look_at_packages(["numpy>=1", "torch"])
    needs = ["numpy>=9999", "no-such-package>=1.0", "torch", "absent; extra == 'dev'"]
    with pytest.raises(RuntimeError) as caught:
        doctor.look_at_packages(needs)
    assert re.fullmatch(
        r'needed: "numpy>=9999" \(here: [\d.]+\), "no-such-package>=1.0" \(here: missing\)',
        str(caught.value),
    )


def test_a_kernel_that_does_not_start_stops_the_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    level, text = level_of("kernel", capsys)
    assert level == "STOP" and "-> pip install --force-reinstall ipykernel" in text


def test_a_full_machine_could_be_better(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    little = SimpleNamespace(available=3e8, free=3e8)
    monkeypatch.setattr("psutil.virtual_memory", lambda: little)
    monkeypatch.setattr("shutil.disk_usage", lambda path: little)
    for name in ("memory", "disk"):
        level, text = level_of(name, capsys)
        assert level == "note" and text.startswith("only 0.3 GB free\n")


def test_data_are_here_or_have_a_stand_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "cache" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"half")
    level, text = level_of("data", capsys)
    assert level == "note" and re.search(
        "no ants_and_bees, mnist.*-> cnnlab fetch --all", text, re.S
    )


@pytest.mark.photos
def test_complete_data_are_found(
    photos: Path, mnist: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CNNLAB_DATA", str(photos.parent))
    assert level_of("data", capsys) == ("ok", "ants_and_bees, mnist")


def test_the_embedded_weights_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert level_of("ImageNet", capsys)[0] == level_of("tiny_resnet", capsys)[0] == "ok"


def test_damaged_weights_stop_the_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str) -> None:
        raise RuntimeError(f"the weights of {name} are damaged")

    monkeypatch.setattr("cnnlab.models.backbones.load_backbone", fail)
    level, text = level_of("ImageNet", capsys)
    assert level == "STOP" and "efficientnet_lite0 are damaged" in text


@pytest.mark.parametrize("mirror", ["ftp://classroom", "/no/such/stick"])
def test_a_wrong_setting_is_one_finding_among_the_others(
    mirror: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CNNLAB_MIRROR", mirror)
    level, text = level_of("settings", capsys)
    assert level == "STOP" and mirror in text


def test_the_verdict_counts(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> str:
        raise ImportError("no")

    assert examine([Check("a", lambda: "fine"), Check("b", wrong, "mend", is_needed=False)])
    assert capsys.readouterr().out.endswith("-> mend\n\nReady for class, 1 that could be better\n")
    assert not examine([Check("b", wrong)])
    assert capsys.readouterr().out.endswith("\n\n1 to mend before class\n")
