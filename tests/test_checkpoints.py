"""Checkpoints: complete or not there, for the right model, and never executed."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from cnnlab.training import (
    CheckpointError,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)


def test_a_checkpoint_of_another_shape_says_what_differs(tmp_path):
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, {"model": nn.Linear(2, 3).state_dict()})
    with pytest.raises(CheckpointError, match=r"'weight' has shape \(3, 2\), the model's \(2, 2\)"):
        load_checkpoint(path, nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"has no '0\.weight'"):
        load_checkpoint(path, nn.Sequential(nn.Linear(2, 3)))


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    path = tmp_path / "b.ckpt"
    save_checkpoint(path, {"model": nn.Linear(50, 50).state_dict()})
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        load_checkpoint(path, nn.Linear(50, 50))


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_a_checkpoint_is_not_executed(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "evil.ckpt"
    torch.save({"model": Canary(canary)}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path, nn.Linear(2, 2))
    assert not canary.exists()
    path.write_bytes(pickle.dumps({"model": Canary(canary)}))
    with pytest.raises(CheckpointError):
        load_checkpoint(path, nn.Linear(2, 2))
    assert not canary.exists()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path / "file" / "a.ckpt", {"model": {}})


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_leaves_the_older_checkpoint_as_it_was(tmp_path):
    """The kernel refuses to write more than 100 kB: as on a full disk, the write itself fails."""
    path = tmp_path / "c.ckpt"
    save_checkpoint(path, {"model": nn.Linear(2, 2).state_dict()})
    before = path.read_bytes()
    script = f"""
import resource, signal, torch
from cnnlab.training import CheckpointError, save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint({str(path)!r}, {{"model": torch.zeros(1_000_000)}})
except CheckpointError as error:
    print(error)
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert "cannot write the checkpoint" in output and "untouched" in output
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["c.ckpt"]


def test_every_generator_is_restored():
    import random

    generator = torch.Generator().manual_seed(1)
    loader = torch.utils.data.DataLoader([0, 1], shuffle=True, generator=generator)

    def draw():
        return (
            random.random(),
            np.random.rand(),  # noqa: NPY002
            torch.rand(1).item(),
            torch.rand(1, generator=generator).item(),
        )

    state = random_state(loader)
    first = draw()
    assert draw() != first
    restore_random_state(state, loader)
    assert draw() == first
