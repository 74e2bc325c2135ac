"""Probes: zero-shot by old classes, a linear layer that is exact, features of every stage."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from cnnlab import ImageData
from cnnlab.data.datasets import Split
from cnnlab.lessons.transfer_learning import linear_probe, stage_features, zero_shot
from cnnlab.models.backbones import Backbone


class Colors(nn.Module):
    """Logits are the mean red, green and blue of the picture, made sharp."""

    def __init__(self):
        super().__init__()
        self.maps = nn.AvgPool2d(2)
        self.dark = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.eye_(self.dark.weight.data.view(3, 3))
        self.dark.weight.data.neg_()

    def forward(self, x):
        return -self.dark(self.maps(x)).mean((2, 3)) * 20


@pytest.fixture
def backbone():
    return Backbone(Colors(), nn.Identity(), ["red", "green", "blue"], "colors", 3, 4)


@pytest.fixture
def colors():
    pictures = torch.eye(3)[[0, 1, 2, 1]][:, :, None, None].expand(-1, -1, 4, 4).contiguous()
    return Split(pictures, torch.tensor([0, 1, 1, 0]), classes=["warm", "cold"])


def test_zero_shot_asks_the_old_classes(backbone, colors):
    result = zero_shot(backbone, colors, {"warm": ["red"], "cold": ["green", "blue"]})
    assert result.predictions.tolist() == [0, 1, 1, 1] and result.accuracy == 0.75
    assert torch.allclose(result.probabilities.sum(1), torch.ones(4))
    assert result.classes == ["warm", "cold"]


def test_zero_shot_takes_the_mean_so_that_a_long_list_is_no_advantage(backbone):
    gray = Split(torch.full((1, 3, 4, 4), 0.5), torch.tensor([0]), classes=["warm", "cold"])
    result = zero_shot(backbone, gray, {"warm": ["red"], "cold": ["green", "blue"]})
    assert torch.allclose(result.probabilities, torch.full((1, 2), 0.5))


def test_zero_shot_passes_over_unknown_names_and_says_when_none_is_left(backbone, colors):
    same = zero_shot(backbone, colors, {"warm": ["red", "pink"], "cold": ["blue"]})
    assert len(same.targets) == 4
    with pytest.raises(ValueError, match="stands for 'cold'"):
        zero_shot(backbone, colors, {"warm": ["red"], "cold": ["violet"]})


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_probe_gives_the_probabilities_of_logistic_regression(num_classes):
    torch.manual_seed(0)
    X = torch.randn(60, 5) * torch.tensor([1.0, 10, 0.1, 1, 1]) + 3
    y = torch.arange(60) % num_classes
    X[:, 0] += y
    standard = (X - X.mean(0)) / X.std(0)
    wanted = LogisticRegression(C=0.5).fit(standard.numpy(), y.numpy())
    probe = linear_probe(Split(X, y), strength=0.5)
    got = probe(X).softmax(1).detach()
    assert torch.allclose(got, torch.from_numpy(wanted.predict_proba(standard)).float(), atol=1e-3)
    assert probe.weight.shape == (num_classes, 5)


def test_a_feature_that_never_changes_does_no_harm():
    X = torch.cat([torch.ones(20, 1), torch.arange(20.0)[:, None]], dim=1)
    probe = linear_probe(Split(X, (torch.arange(20) > 9).long()), strength=1.0)
    assert probe.weight.isfinite().all() and probe.bias.isfinite().all()
    assert (probe(X).argmax(1) == (torch.arange(20) > 9)).all()


def test_the_probe_needs_a_sample_of_every_class():
    with pytest.raises(ValueError, match="2 classes, but samples of 1 only"):
        linear_probe(Split(torch.rand(3, 2), torch.zeros(3, dtype=torch.int64), classes=["a", "b"]))


def test_stage_features_are_means_over_positions(backbone, colors):
    data = ImageData(colors, colors, colors, colors.classes, "colors")
    stages = stage_features(backbone, data, ["maps", "dark"], batch_size=3)
    wanted = colors.inputs.mean((2, 3))
    assert torch.allclose(stages["maps"].train.inputs, wanted)
    assert torch.allclose(stages["dark"].test.inputs, -wanted)
    assert stages["maps"].val.labels is colors.labels and "maps" in stages["maps"].source
    assert not backbone.model.maps._forward_hooks, "the hooks stay on the copy"


def test_one_channel_becomes_three_and_pictures_are_scaled(backbone):
    digits = Split(torch.full((2, 1, 2, 2), 51, dtype=torch.uint8), torch.tensor([0, 1]))
    data = ImageData(digits, digits, digits, ["0", "1"], "digits")
    seen = []
    hook = backbone.model.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].shape))
    stages = stage_features(backbone, data, ["maps"], image_size=8)
    hook.remove()
    assert set(seen) <= {torch.Size([2, 3, 8, 8])}
    assert torch.allclose(stages["maps"].train.inputs, torch.full((2, 3), 0.2))
