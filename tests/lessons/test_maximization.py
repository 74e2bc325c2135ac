"""Pictures made for a channel, on filters whose favorite picture is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cnnlab.lessons.explanations import high_frequency_share, maximize_activation
from cnnlab.lessons.filters import coherence, features_of, neighbor_agreement
from cnnlab.models.small import LeNet5, TinyResNet


@pytest.fixture
def stripes():
    """A network with one channel, which answers to upright stripes eight pixels wide."""
    wave = torch.cos(torch.arange(16) * 2 * math.pi / 8).expand(1, 3, 16, 16)
    model = nn.Sequential(nn.Conv2d(3, 1, 16, bias=False), nn.ReLU())
    model[0].weight.data = wave / 100
    return model


@pytest.mark.parametrize("fourier", [True, False])
def test_the_picture_becomes_what_the_filter_looks_for(stripes, fourier):
    pictures, reached = maximize_activation(
        stripes, "1", [0], size=32, steps=80, jitter=0, fourier=fourier
    )
    _, start = maximize_activation(stripes, "1", [0], size=32, steps=0, jitter=0, fourier=fourier)
    assert reached > 2 * start
    spectrum = torch.fft.rfft2(pictures[0].mean(dim=0) - pictures[0].mean()).abs()
    row, column = divmod(int(spectrum.argmax()), spectrum.shape[1])
    assert (row, column) == (0, 4)  # four upright waves on 32 pixels


def test_it_is_repeatable_and_leaves_the_model_alone():
    torch.manual_seed(0)
    model = TinyResNet(widths=(4, 4, 8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, other = (maximize_activation(model, "layer2", [0, 3], size=32, steps=3)[0] for _ in "ab")
    assert torch.equal(one, other)
    assert one.min() >= 0 and one.max() <= 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_waves_start_smoother_than_pixels(stripes):
    smooth, rough = (
        maximize_activation(stripes, "1", [0, 0], size=64, steps=0, fourier=fourier)[0]
        for fourier in (True, False)
    )
    assert high_frequency_share(smooth).mean() < 0.3 < 0.7 < high_frequency_share(rough).mean()


# ------------------------------------------------------------------------------- feature spaces


@pytest.mark.parametrize(("model", "shape"), [(LeNet5(), (1, 28, 28)), (TinyResNet(), (3, 32, 32))])
def test_features_are_what_the_head_receives(model, shape):
    X = torch.rand(3, *shape)
    features = features_of(model, X)
    head = list(model.modules())[-1]
    model.eval()
    torch.testing.assert_close(head(features), model(X))
    assert not head._forward_pre_hooks


def test_neighbors_of_clusters_agree_and_those_of_noise_do_not():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    noise = torch.randn(60, 8, generator=generator)
    assert neighbor_agreement(noise + 20 * labels[:, None], labels) == 1
    assert abs(neighbor_agreement(noise, labels) - 0.5) < 0.15


def test_coherence_is_high_only_along_the_direction_of_a_cluster():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(100, 32, generator=generator)
    features[:12, 0] += 30
    alike = coherence(features, torch.eye(32))
    assert alike[0] > 0.8 and alike[1:].mean() < 0.3
    mixtures = torch.linalg.qr(torch.randn(32, 32, generator=generator))[0]
    torch.testing.assert_close(  # turning space and directions together changes nothing
        coherence(features @ mixtures, mixtures.T), alike, rtol=1e-3, atol=1e-3
    )
