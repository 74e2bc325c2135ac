"""Checkpoints: complete or not there, for the right training, and never executed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cnnlab import fit
from cnnlab.training import CheckpointError


def network(outputs: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, outputs))


def points(count: int = 16) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(count, 2, generator=generator), torch.arange(count) % 2)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A checkpoint after two epochs."""
    path = tmp_path_factory.mktemp("checkpoint") / "a.ckpt"
    fit(network(), points(), points(), epochs=2, checkpoint=path)
    return path


def resume(path: Path, model: nn.Module | None = None, **options):
    """Go on to a third epoch; the checkpoint itself stays as it is."""
    copied = path.with_name("copy.ckpt")
    copied.write_bytes(path.read_bytes())
    return fit(model or network(), points(), points(), epochs=3, checkpoint=copied, **options)


# -- what belongs together -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (network(5), "size mismatch for 2.weight"),
        (nn.Sequential(network()), r'Missing key.*"0\.0\.weight"'),
        (nn.Linear(2, 2), "Unexpected key"),
    ],
    ids=["another shape", "other names", "fewer layers"],
)
def test_a_checkpoint_of_another_model_says_what_differs(checkpoint, model, words):
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(CheckpointError, match=f"(?s)another model or training .*{words}"):
        resume(checkpoint, model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_another_optimizer_is_named(checkpoint):
    model = network()
    with pytest.raises(CheckpointError, match="its optimizer is AdamW, now it is SGD"):
        resume(checkpoint, model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


def test_other_frozen_layers_are_told(checkpoint):
    model = network()
    model[0].requires_grad_(False)
    with pytest.raises(CheckpointError, match="frozen layers and optimizer as they were"):
        resume(checkpoint, model)


@pytest.mark.parametrize("content", [{"model": network().state_dict()}, [1, 2]])
def test_a_file_of_torch_that_is_no_training_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="delete the file to start afresh"):
        resume(tmp_path / "a.ckpt")


def test_a_checkpoint_of_a_scheduled_training_needs_its_schedule(checkpoint):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(CheckpointError, match="'scheduler'"):
        resume(checkpoint, model, optimizer=optimizer, scheduler=schedule)


# -- damage and malice -----------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_or_complete(checkpoint, data):
    """Wherever it is cut or altered: never a crash of another kind, never half a state."""
    whole = checkpoint.read_bytes()
    content = bytearray(whole)
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    damaged = checkpoint.with_name("damaged.ckpt")
    damaged.write_bytes(content)
    model = network()
    before = [p.clone() for p in model.parameters()]
    try:
        history = fit(model, points(), points(), epochs=2, checkpoint=damaged)
    except CheckpointError as error:
        assert "elete" in str(error) and "to start afresh" in str(error)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    else:
        assert len(history) == 2
        assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("content", [b"", b"hello"], ids=["empty", "text"])
def test_a_file_of_something_else_is_no_checkpoint(tmp_path, content):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"no readable checkpoint \(BadZipFile\)"):
        resume(tmp_path / "a.ckpt")


class Canary:
    """Something that, unpickled without care, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_beside_a_good_state_is_not_executed(checkpoint, tmp_path):
    state, canary = torch.load(checkpoint, weights_only=True), tmp_path / "canary"
    torch.save(state | {"extra": Canary(canary)}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        resume(tmp_path / "evil.ckpt")
    assert not canary.exists()
    torch.load(tmp_path / "evil.ckpt", weights_only=False)["extra"].close()
    assert canary.exists(), "a canary that cannot sing proves nothing"


def test_resuming_says_nothing_of_its_own(checkpoint):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume(checkpoint)


# -- writing ---------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        fit(network(), points(), epochs=1, checkpoint=tmp_path / "file" / "a.ckpt")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_leaves_the_older_checkpoint_as_it_was(checkpoint, tmp_path):
    """The kernel refuses to write more than a kilobyte: as on a full disk, the write fails."""
    path = tmp_path / "c.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_checkpoints import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    fit(network(), points(), points(), epochs=3, checkpoint={str(path)!r})
except CheckpointError as error:
    print(error)
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert "cannot write the checkpoint" in output and "untouched" in output
    assert path.read_bytes() == checkpoint.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["c.ckpt"]


# -- the same numbers ------------------------------------------------------------------------------


class Drawing(nn.Module):
    """A model that draws from every generator there is, and notes what it drew."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drawn = nn.Linear(1, 2), []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        numpy = np.random.rand()  # noqa: NPY002
        self.drawn.append((random.random(), numpy, torch.rand(1).item(), x.flatten().tolist()))
        return self.layer(x)


@pytest.mark.parametrize("owner", ["loader", "sampler"])
def test_every_generator_goes_on_where_it_was(tmp_path, owner):
    def train(epochs: int) -> list[tuple]:
        generator = torch.Generator().manual_seed(1)
        data = TensorDataset(torch.arange(12.0)[:, None], torch.arange(12) % 2)
        if owner == "loader":
            loader = DataLoader(data, 6, shuffle=True, generator=generator)
        else:
            order = torch.utils.data.RandomSampler(data, generator=generator)
            loader = DataLoader(data, 6, sampler=order)
        model = Drawing()
        fit(model, loader, epochs=epochs, checkpoint=tmp_path / f"{name}.ckpt")
        return model.drawn

    def reseed(seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)

    name = "straight"
    reseed(3)
    straight = train(3)
    name = "stopped"
    reseed(3)
    first = train(1)
    reseed(99)  # another process would start anywhere
    assert first + train(3) == straight


def test_files_that_killed_processes_left_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".a.ckpt.{ended.pid}.7.part").write_bytes(b"half")
    alive = tmp_path / f".a.ckpt.{os.getppid()}.7.part"
    alive.write_bytes(b"half")
    fit(network(), points(), epochs=1, checkpoint=tmp_path / "a.ckpt")
    assert {path.name for path in tmp_path.iterdir()} == {"a.ckpt", alive.name}
