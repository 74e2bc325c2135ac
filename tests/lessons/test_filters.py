"""Lesson 08: kernels whose measures are known, stages, peaks and the patches behind them."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pytest
import timm
import torch
from torch import nn
from torchvision import models

from cnnlab import TinyResNet, load_backbone, receptive_field
from cnnlab.lessons.explanations import maximize_activation
from cnnlab.lessons.filters import (
    colorize,
    find_peaks,
    kernel_statistics,
    plot_distances,
    plot_embeddings,
    plot_kernel_statistics,
    plot_layers,
    plot_responses,
    sample_photographs,
    stages,
    top_patches,
)
from cnnlab.models.layers import record_outputs

# --------------------------------------------------------------------------- what is in a kernel


def wave(degrees: float, frequency: float, side: int = 11) -> torch.Tensor:
    steps = torch.arange(side) - side // 2
    angle = math.radians(degrees)
    along = steps[:, None] * math.sin(angle) + steps[None] * math.cos(angle)
    bell = torch.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / 18)
    return (torch.cos(2 * math.pi * frequency * along) * bell).expand(1, 3, side, side)


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 120, 160])
def test_angle_and_frequency_of_a_wave_are_found(degrees):
    found = kernel_statistics(wave(degrees, 0.2))
    apart = abs(found.angle.item() - degrees)
    assert min(apart, 180 - apart) < 10
    assert found.frequency.item() == pytest.approx(0.2, abs=0.04)
    assert found.orientation.item() > 0.8 and found.color.item() == pytest.approx(0, abs=1e-6)


def test_a_red_kernel_is_two_thirds_color_and_red_against_green_is_all_color():
    red, opponent = torch.zeros(2, 1, 3, 5, 5)
    red[:, 0, 2, 2] = 1
    opponent[:, 0, 2, 2], opponent[:, 1, 2, 2] = 1, -1
    color = kernel_statistics(torch.cat([red, opponent])).color
    torch.testing.assert_close(color, torch.tensor([2 / 3, 1.0], dtype=torch.float64))


def test_a_spot_has_no_direction():
    steps = torch.arange(11) - 5
    spot = torch.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / 4.0).expand(1, 3, 11, 11)
    assert kernel_statistics(spot).orientation.item() == pytest.approx(0.25, abs=0.07)


def test_brightness_and_contrast_change_nothing_but_color():
    kernels = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    one, other = kernel_statistics(kernels), kernel_statistics(5 * kernels + 3)
    for field in ("orientation", "angle", "frequency"):
        torch.testing.assert_close(getattr(one, field), getattr(other, field))


def test_trained_kernels_differ_from_random_ones_as_the_lesson_says():
    trained = kernel_statistics(load_backbone("tiny_resnet").model.conv1.weight)
    torch.manual_seed(0)
    random = kernel_statistics(TinyResNet().conv1.weight)
    assert abs(random.color.median() - 2 / 3) < 0.05
    assert trained.color.std() > 2 * random.color.std()
    assert trained.orientation.median() > random.orientation.median()
    assert trained.frequency.median() < random.frequency.median()


def test_the_photographs_are_upright_squares_in_color():
    temple, flower = sample_photographs(96)
    assert temple.shape == (3, 96, 96) and temple.dtype == torch.uint8
    assert temple[2, :10].float().mean() > temple[2, -10:].float().mean()  # the sky is above
    assert flower[0, 30:60, 30:60].float().mean() > flower[1, 30:60, 30:60].float().mean()


# -------------------------------------------------------------------------------------- stages

RESNET = ["relu", "layer1", "layer2", "layer3", "layer4"]
STAGES = {
    "resnet18": RESNET,
    "resnet50": RESNET,
    "alexnet": ["features.1", "features.4", "features.11"],
    "vgg11": ["features.1", "features.4", "features.9", "features.14", "features.19"],
    "googlenet": ["conv1", "conv3", "inception3b", "inception4e", "inception5b"],
    "convnext_tiny": ["features.0", "features.1", "features.3", "features.5", "features"],
}


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize(("name", "expected"), STAGES.items())
def test_a_stage_ends_before_the_maps_become_smaller(name, expected):
    with torch.device("meta"):
        model, X = models.get_model(name).eval(), torch.zeros(1, 3, 224, 224)
        assert stages(model, X) == expected


def test_the_stages_of_timms_networks_are_found_too():
    with torch.device("meta"):
        model, X = timm.create_model("tf_efficientnet_lite0").eval(), torch.zeros(1, 3, 160, 160)
        assert stages(model, X) == ["bn1", "blocks.1", "blocks.2", "blocks.4", "bn2"]


def test_maps_of_one_position_are_no_stage():
    assert stages(TinyResNet(), torch.zeros(1, 3, 16, 16)) == ["relu", "layer1", "layer2", "layer3"]


def test_a_network_without_convolution_has_no_stages():
    with pytest.raises(ValueError, match="no convolution of Sequential"):
        stages(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2))


# ------------------------------------------------------------------------------ peaks and patches


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


def test_a_patch_that_is_not_square_is_centered_on_white():
    model = nn.Sequential(nn.Conv2d(3, 1, (4, 8)))
    black = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    peaks = find_peaks(model, ["0"], [black.float()])["0"]
    field = receptive_field(model, (3, 16, 16))["0"]
    column = top_patches(black, peaks, field, 0, count=1, size=32)[0, 0, :, 5]
    assert column.tolist() == [255] * 8 + [0] * 16 + [255] * 8


def test_what_a_channel_saw_is_all_it_needs():
    """The patch behind a peak, put alone on a black image, gives the same response there."""
    backbone = load_backbone("tiny_resnet")
    X = torch.randn(1, 3, 64, 64)
    peaks = find_peaks(backbone.model, ["layer1"], [X])["layer1"]
    field = receptive_field(backbone.model, (3, 64, 64))["layer1"]
    for channel in (0, 7, 19):
        row, column = int(peaks.rows[0, channel]), int(peaks.columns[0, channel])
        rows, columns = field.at(row, column).slices
        alone = torch.zeros_like(X)
        alone[:, :, rows, columns] = X[:, :, rows, columns]
        with torch.no_grad(), record_outputs(backbone.model, ["layer1"]) as outputs:
            backbone.model(alone)
        response = outputs["layer1"][0][0, channel, row, column]
        torch.testing.assert_close(response, peaks.values[0, channel], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_the_lesson_runs_on_torchvisions_networks(name):
    torch.manual_seed(0)
    model, images = models.get_model(name).eval(), torch.zeros(9, 3, 64, 64, dtype=torch.uint8)
    X = torch.randn(9, 3, 64, 64)
    layers, fields = stages(model, X), receptive_field(model, (3, 64, 64))
    peaks = find_peaks(model, layers, [X])
    for layer in layers:
        assert top_patches(images, peaks[layer], fields[layer], 1).shape == (8, 3, 64, 64)
    made, _ = maximize_activation(model, layers[-1], [0], steps=1)
    assert made.shape == (1, 3, 64, 64)


# ------------------------------------------------------------------------------------- figures


@pytest.fixture
def _close_figures():
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_each_map_is_colored_over_its_own_range():
    maps = torch.stack([torch.eye(4), 100 * torch.eye(4)])
    colored = colorize(maps)
    assert colored.shape == (2, 3, 4, 4) and torch.equal(colored[0], colored[1])
    assert colorize(torch.ones(1, 4, 4)).isfinite().all()


@pytest.mark.usefixtures("_close_figures")
def test_measures_have_a_panel_each_and_kernels_a_dot():
    sets = {"trained": torch.randn(12, 3, 7, 7), "random": torch.randn(12, 3, 7, 7)}
    measured = {name: kernel_statistics(weight) for name, weight in sets.items()}
    color, *_ = plot_kernel_statistics(measured)
    assert [label.get_text() for label in color.get_yticklabels()] == ["trained", "random"]
    assert color.lines[0].get_xdata().tolist() == measured["trained"].color.tolist()


@pytest.mark.usefixtures("_close_figures")
def test_each_kernel_stands_above_its_response():
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    ax = plot_responses(image, torch.randn(2, 3, 7, 7), torch.randn(2, 20, 20), ["a", "b"])
    assert texts(ax) == ["image", "a", "b", "", "response", "response"]


@pytest.mark.usefixtures("_close_figures")
def test_the_strongest_channels_of_each_layer_come_first():
    maps = {"one": torch.arange(4.0)[None, :, None, None].expand(1, 4, 8, 8)}
    assert texts(plot_layers(maps, columns=3)) == ["one · 3", "one · 2", "one · 1"]


@pytest.mark.usefixtures("_close_figures")
def test_bars_and_panels_hold_the_numbers():
    ax = plot_distances({"conv1": 0.01, "layer1": 0.02})
    assert [bar.get_width() for bar in ax.patches] == [0.01, 0.02] and ax.yaxis_inverted()
    points, labels = torch.rand(6, 2), torch.tensor([0, 1, 0, 1, 0, 1])
    (ax,) = plot_embeddings({"PCA": points}, labels, ["ants", "bees"])
    assert [len(line.get_xdata()) for line in ax.lines] == [3, 3] and ax.get_title() == "PCA"
