"""Looking into networks: stages, recordings, peaks and the patches behind them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from cnnlab import TinyResNet, load_backbone
from cnnlab.fields import receptive_field
from cnnlab.lessons.explanations import maximize_activation
from cnnlab.lessons.filters import (
    activations,
    cut_patches,
    features_of,
    find_peaks,
    first_convolution,
    kernel_statistics,
    movement,
    rank_channels,
    recording,
    stages,
    top_patches,
)
from cnnlab.models.backbones import find_head

ALEXNET = ["features.1", "features.4", "features.7", "features.9", "features.11"]
RESNET = ["relu", "layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize(
    ("name", "first", "found"),
    [("alexnet", "features.0", ALEXNET), ("resnet18", "conv1", RESNET)],
)
def test_the_same_code_finds_the_stages_of_other_networks(name, first, found):
    with torch.device("meta"):
        model = models.get_model(name)
    assert first_convolution(model)[0] == first
    assert stages(model) == found


def test_a_network_without_convolution_has_nothing_to_show():
    with pytest.raises(ValueError, match="no convolution"):
        stages(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))


def test_an_activation_in_place_does_not_overwrite_what_was_recorded():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True))
    maps = activations(model, ["0", "1"], torch.randn(2, 1, 8, 8))
    assert (maps["0"] < 0).any()
    assert torch.equal(maps["0"].relu(), maps["1"])


def test_recording_leaves_the_model_as_it_was():
    model = TinyResNet(widths=(4, 4, 4, 4)).train()
    mean = model.bn1.running_mean.clone()
    with pytest.raises(RuntimeError), recording(model, ["layer1"]):
        model(torch.zeros(1, 5, 32, 32))  # fails inside of the block
    activations(model, ["layer1"], torch.rand(2, 3, 32, 32))
    assert model.training and torch.equal(model.bn1.running_mean, mean)
    assert not any(module._forward_hooks for module in model.modules())


def test_an_unknown_layer_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match=r"no layer is called layer9; try one of \['relu'"):
        activations(TinyResNet(), ["layer9"], torch.rand(1, 3, 32, 32))


def test_channels_are_ranked_over_a_whole_batch():
    maps = torch.zeros(2, 3, 4, 4)
    maps[0, 2], maps[1, 1], maps[:, 0] = 5, 9, 1
    assert rank_channels(maps).tolist() == [1, 2, 0]
    assert rank_channels(maps[0]).tolist() == [2, 0, 1]


def test_a_peak_is_where_the_dot_is_and_its_patch_holds_the_dot():
    model = nn.Sequential(nn.Conv2d(3, 1, 3, stride=2, padding=1, bias=False), nn.ReLU())
    nn.init.ones_(model[0].weight)
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    places = [(0, 0), (8, 20), (30, 30), (17, 4)]
    for image, (row, column) in zip(images, places, strict=True):
        image[:, row, column] = 255
    peaks = find_peaks(model, ["1"], images.float().split(3))["1"]
    assert peaks.values.shape == (4, 1)
    field = receptive_field(model, (3, 32, 32))["1"]
    for i, (row, column) in enumerate(places):
        box = field.at(int(peaks.rows[i, 0]), int(peaks.columns[i, 0]))
        assert box.top <= row < box.bottom and box.left <= column < box.right
    patches = top_patches(images, peaks, field, 0, count=4)
    assert (patches.flatten(1) == 255).any(dim=1).all()


def test_the_strongest_patch_comes_first():
    model = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False))
    nn.init.ones_(model[0].weight)
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 8, 8) * 40
    peaks = find_peaks(model, ["0"], [images.float()])["0"]
    field = receptive_field(model, (3, 8, 8))["0"]
    assert top_patches(images, peaks, field, 0, 3)[:, 0, 0, 0].tolist() == [160, 120, 80]


@pytest.mark.parametrize("box", [(0, 0, 0, 4), (-1, 0, 4, 4), (0, 0, 4, 17)])
def test_a_box_outside_of_the_picture_is_refused(box):
    with pytest.raises(ValueError, match="does not lie in a picture of 16 × 16"):
        cut_patches(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), [box])


def test_what_a_channel_saw_is_all_it_needs():
    """The patch behind a peak, put alone on a black picture, gives the same response there."""
    backbone = load_backbone("tiny_resnet")
    X = torch.randn(1, 3, 64, 64)
    peaks = find_peaks(backbone.model, ["layer1"], [X])["layer1"]
    field = receptive_field(backbone.model, (3, 64, 64))["layer1"]
    for channel in (0, 7, 19):
        row, column = int(peaks.rows[0, channel]), int(peaks.columns[0, channel])
        rows, columns = field.at(row, column).slices
        alone = torch.zeros_like(X)
        alone[:, :, rows, columns] = X[:, :, rows, columns]
        response = activations(backbone.model, ["layer1"], alone)["layer1"][0, channel, row, column]
        torch.testing.assert_close(response, peaks.values[0, channel], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_the_lesson_runs_on_torchvisions_networks(name):
    torch.manual_seed(0)
    model, images = models.get_model(name).eval(), torch.zeros(9, 3, 64, 64, dtype=torch.uint8)
    layers, X = stages(model), torch.randn(9, 3, 64, 64)
    assert kernel_statistics(first_convolution(model)[1].weight).angle.isfinite().all()
    peaks, fields = find_peaks(model, layers, [X]), receptive_field(model, (3, 64, 64))
    for layer in layers:
        assert top_patches(images, peaks[layer], fields[layer], 1).shape == (8, 3, 64, 64)
    pictures, _ = maximize_activation(model, layers[-1], [0], steps=1)
    assert pictures.shape == (1, 3, 64, 64)
    assert features_of(model, X[:2]).shape == (2, find_head(model)[1].in_features)
    assert not any(movement(model, model).values())
