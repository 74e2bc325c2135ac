"""Weights and checkpoints that are cut, altered, of something else, or that carry code."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnnlab import fit, load_backbone
from cnnlab.models.backbones import WeightsError
from cnnlab.training import CheckpointError, load_checkpoint, save_checkpoint

NAME = "squeezenet1_1"  # the smallest of torchvision's


class Canary:
    """Something that, unpickled without care, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def offer(own_cache, tmp_path, monkeypatch):
    """Offer a file as weights of SqueezeNet, with the checksum that torchvision publishes for it.

    Eight digits of a checksum are not many: who has a day can make a file that has them, too.
    """
    from torchvision.models import SqueezeNet1_1_Weights

    def offer(content: bytes) -> None:
        name = f"{NAME}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        (tmp_path / "mirror" / "weights").mkdir(parents=True)
        (tmp_path / "mirror" / "weights" / name).write_bytes(content)
        monkeypatch.setenv("CNNLAB_MIRROR", str(tmp_path / "mirror"))
        monkeypatch.setenv("CNNLAB_OFFLINE", "1")
        url = property(lambda self: f"https://example.invalid/{name}")
        monkeypatch.setattr(type(SqueezeNet1_1_Weights.DEFAULT), "url", url, raising=False)

    return offer


def saved(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "bare pickle"])
def test_code_in_weights_is_not_executed_even_if_the_checksum_is_right(offer, tmp_path, kind):
    canary = Canary(tmp_path / "canary")
    offer(saved({"features": canary}) if kind == "zip" else pickle.dumps({"features": canary}))
    with pytest.raises(WeightsError, match="not those of squeezenet1_1") as caught:
        load_backbone(NAME)
    assert not canary.path.exists()
    assert "weights_only=False" not in str(caught.value), "torch's advice would execute it"
    torch.load(io.BytesIO(saved({"features": canary})), weights_only=False)["features"].close()
    assert canary.path.exists(), "a canary that cannot sing proves nothing"


@pytest.mark.parametrize(
    "content",
    [
        saved(nn.Linear(2, 3).state_dict()),
        saved([1, 2]),
        saved(nn.Linear(2, 3).state_dict())[:700],
        b"hello, these are no weights",
    ],
    ids=["another network", "no network", "cut", "text"],
)
def test_weights_of_something_else_are_a_clear_error(offer, content):
    offer(content)
    with pytest.raises(WeightsError, match=r"cannot be used: they are not those.*Delete the file"):
        load_backbone(NAME)


# ------------------------------------------------------------------------------------- checkpoints


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))


def points(count: int = 16) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(count, 2, generator=generator), torch.arange(count) % 2)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A checkpoint after two epochs, made by `fit`."""
    path = tmp_path_factory.mktemp("checkpoint") / "a.ckpt"
    fit(network(), points(), points(), epochs=2, checkpoint=path)
    return path


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
        assert "Delete it to start afresh" in str(error) or "another model" in str(error)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    else:
        assert len(history) == 2
        assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_another_optimizer_is_named(checkpoint):
    model = network()
    with pytest.raises(CheckpointError, match="its optimizer is AdamW, now it is SGD"):
        fit(model, points(), epochs=3, checkpoint=checkpoint,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1))  # fmt: skip


def test_other_frozen_layers_are_told(checkpoint):
    model = network()
    model[0].requires_grad_(False)
    with pytest.raises(CheckpointError, match="same layers frozen"):
        fit(model, points(), epochs=3, checkpoint=checkpoint)


def test_a_file_with_a_model_and_nothing_else_is_no_training(tmp_path):
    save_checkpoint(tmp_path / "a.ckpt", {"model": network().state_dict()})
    with pytest.raises(CheckpointError, match=r"another training.*Delete it to start afresh"):
        fit(network(), points(), epochs=3, checkpoint=tmp_path / "a.ckpt")


def test_code_beside_a_good_model_is_not_executed(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    canary = Canary(tmp_path / "canary")
    torch.save(state | {"extra": canary}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        load_checkpoint(tmp_path / "evil.ckpt", network())
    assert not canary.path.exists()


def test_files_that_killed_processes_left_are_swept(tmp_path):
    (tmp_path / ".a.ckpt.999999999.part").write_bytes(b"half")  # no such process
    (tmp_path / ".a.ckpt.1.part").write_bytes(b"half")  # alive, and perhaps writing
    (tmp_path / ".a.ckpt.mine.part").write_bytes(b"not one of ours")
    save_checkpoint(tmp_path / "a.ckpt", {"model": {}})
    left = {".a.ckpt.mine.part", "a.ckpt"} | (
        {".a.ckpt.1.part"} if sys.platform != "win32" else set()
    )
    assert {path.name for path in tmp_path.iterdir()} == left


def test_loading_says_nothing_of_its_own(checkpoint):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_checkpoint(checkpoint, network())
