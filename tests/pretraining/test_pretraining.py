"""Pretraining: two processes do what one does, and a killed run loses one epoch at most."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.data.folders import read_split
from cnnlab.models.backbones import read_weights

MODULE = "cnnlab.pretraining"
OPTIONS = ["--epochs", "3", "--batch-size", "16", "--size", "32", "--lr", "0.01", "--fast", "0"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two classes of 40 colored noise pictures and 8 to validate, as a zip."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("classes.tsv", "n01\tred thing, scarlet\nn02\tblue thing\n")
        for split, count in (("train", 40), ("val", 8)):
            for folder, tint in (("n01", (200, 60, 60)), ("n02", (60, 60, 200))):
                for i in range(count):
                    noise = rng.normal(tint, 60, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                    with archive.open(f"{split}/{folder}/{i}.png", "w") as file:
                        Image.fromarray(noise).save(file, "PNG")
        archive.writestr("train/n01/broken.png", b"not a picture")
    return path


def command(source, output, *, processes=1):
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        start += ["-m"]
    return [*start, MODULE, "--data", str(source), "--output", str(output), *OPTIONS]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1"}


def history_of(output):
    return torch.load(output / "checkpoint.pt", weights_only=True)["history"]


@pytest.fixture(scope="module")
def straight(source, tmp_path_factory):
    """The result of one process that nobody disturbed."""
    output = tmp_path_factory.mktemp("straight")
    subprocess.run(command(source, output), check=True, env=environment(), capture_output=True)
    return output


def test_it_learns_and_writes_weights_with_their_card(straight, source):
    history = history_of(straight)
    assert history[-1]["loss"] < history[0]["loss"] and len(history) == 3
    _, card = read_weights(straight / "tiny_resnet.safetensors")
    assert json.loads(card["categories"]) == ["red thing", "blue thing"]
    assert 0.5 <= history[-1]["top1"] <= history[-1]["top5"] == 1  # two classes
    assert "teaching and research" in card["license"]


@pytest.mark.skipif(sys.platform == "win32", reason="gloo with torchrun is not for Windows")
def test_two_processes_give_the_losses_of_one(straight, source, tmp_path):
    two = command(source, tmp_path, processes=2)
    result = subprocess.run(two, env=environment(), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    for one, other in zip(history_of(straight), history_of(tmp_path), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_a_killed_run_loses_no_finished_epoch(straight, source, tmp_path):
    process = subprocess.Popen(command(source, tmp_path), env=environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    limit = time.monotonic() + 120
    while not (tmp_path / "checkpoint.pt").exists() and time.monotonic() < limit:
        time.sleep(0.005)
    process.kill()
    process.wait()
    finished = len(history_of(tmp_path))
    assert finished >= 1
    subprocess.run(command(source, tmp_path), check=True, env=environment(), capture_output=True)
    for name in ("loss", "top1"):
        resumed = [record[name] for record in history_of(tmp_path)]
        assert resumed == [record[name] for record in history_of(straight)]
    weights = [read_weights(f / "tiny_resnet.safetensors")[0] for f in (straight, tmp_path)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_checkpoint_of_other_settings_is_refused(straight, source):
    other = [*command(source, straight), "--seed", "1"]
    result = subprocess.run(other, env=environment(), capture_output=True, text=True)
    assert result.returncode != 0 and "other settings" in result.stderr


def test_the_command_of_the_card_repeats_the_run(straight, source):
    weights, card = read_weights(straight / "tiny_resnet.safetensors")
    words, folder = shlex.split(card["command"])[1:], source.parent
    again = [sys.executable, *words, "--output", "again"]
    subprocess.run(again, check=True, env=environment(), cwd=folder,
                   capture_output=True)  # fmt: skip
    repeated, _ = read_weights(folder / "again" / "tiny_resnet.safetensors")
    assert all(torch.equal(weights[name], repeated[name]) for name in weights)


def test_folder_and_zip_give_the_same_pictures(source, tmp_path):
    zipfile.ZipFile(source).extractall(tmp_path)
    zipped, unpacked = (read_split(s, "train", 32) for s in (source, tmp_path))
    assert torch.equal(zipped.inputs, unpacked.inputs)
    assert zipped.classes == ["red thing", "blue thing"] and len(zipped.labels) == 80


def test_a_source_without_classes_is_refused(tmp_path):
    (tmp_path / "train" / "only").mkdir(parents=True)
    with pytest.raises(ValueError, match="at least 2 are needed"):
        read_split(tmp_path, "train", 32)
