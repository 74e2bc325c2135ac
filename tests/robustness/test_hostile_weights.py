"""Weights that are cut, altered, of something else, or that carry code."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnlab import load_backbone
from cnnlab.models.backbones import WeightsError

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
