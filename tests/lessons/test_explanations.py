"""Lesson 08: images made for a channel, maps of where a network looks, and the tests of maps.

captum (Kokhlikyan et al. 2020) is the independent judge of the four maps.
"""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam, NoiseTunnel, Occlusion, Saliency
from taught import taught
from torch import nn
from torch.nn import functional as F
from torchvision import models

from cnnlab import TinyResNet
from cnnlab.lessons.explanations import (
    grad_cam,
    maximize_activation,
    occlusion,
    overlay,
    plot_correlations,
    plot_explanations,
    rank_correlation,
    saliency,
    shuffle_weights,
    smooth_grad,
)

METHODS = [occlusion, saliency, smooth_grad, grad_cam]


class Corner(nn.Module):
    """Class 1 is brightness in the upper left quarter, class 0 in the lower right one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1, bias=False)
        self.pool = nn.AvgPool2d(8)
        self.fc = nn.Linear(16, 2, bias=False)
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.fc.weight)
        self.fc.weight.data[1, [0, 1, 4, 5]] = 1
        self.fc.weight.data[0, [10, 11, 14, 15]] = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.conv(x)).flatten(1))


class Blocks(nn.Module):
    """Blocks in a list, which itself never runs, with additions that are no modules."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2)
        block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.blocks = nn.ModuleList([block])
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))


@pytest.fixture
def image():
    return 1 + 0.1 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def small():
    torch.manual_seed(0)
    return TinyResNet(num_classes=5, widths=(4, 4, 8, 8)).eval()


# ----------------------------------------------------------------- against captum and by hand


def test_saliency_is_captums_and_so_is_the_lessons(small):
    X, targets = torch.randn(3, 3, 32, 32), torch.tensor([0, 4, 2])
    wanted = Saliency(small).attribute(X.clone().requires_grad_(), targets).amax(dim=1)
    torch.testing.assert_close(saliency(small, X, targets), wanted, rtol=1e-5, atol=1e-6)
    by_hand = taught("08", "saliency", torch=torch, device="cpu")
    torch.testing.assert_close(by_hand(small, X, targets), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(by_hand(small, X), saliency(small, X))


def test_grad_cam_is_captums(small):
    X, targets = torch.randn(3, 3, 64, 64), torch.tensor([0, 4, 2])
    judge = LayerGradCam(small, small.layer3)
    maps = judge.attribute(X, targets, relu_attributions=True).detach()
    wanted = LayerAttribution.interpolate(maps, (64, 64), "bilinear")[:, 0]
    torch.testing.assert_close(grad_cam(small, X, targets, layer="layer3"), wanted)
    assert wanted.max() > 0


def test_occlusion_is_captums(small):
    """captum's window starts at the border; ours half a window before it, hence the frame."""
    X, target = torch.randn(2, 3, 16, 16), 3
    framed = F.pad(X, (1, 0, 1, 0))
    judge = Occlusion(lambda padded: small(padded[..., 1:, 1:]))
    wanted = judge.attribute(framed, (3, 2, 2), strides=(3, 1, 1), target=target)[:, 0]
    drops = occlusion(small, X, target, steps=16)  # one for each window of 2 × 2 pixels
    means = F.avg_pool2d(drops[:, None], 2, stride=1, padding=1, count_include_pad=False)[:, 0]
    torch.testing.assert_close(means, wanted.float(), rtol=1e-4, atol=1e-5)


def test_smooth_grad_is_captums_up_to_the_luck_of_the_noise():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Softplus(), nn.Flatten(), nn.Linear(8 * 36, 2))
    X = torch.rand(2, 1, 8, 8)  # one channel: the largest of the colors is its only one
    deviation = 0.5 * (X.amax((1, 2, 3)) - X.amin((1, 2, 3)))
    ours = smooth_grad(model.eval(), X, 1, samples=400, noise=0.5)
    for i, sigma in enumerate(deviation.tolist()):
        wanted = NoiseTunnel(Saliency(model)).attribute(
            X[i : i + 1].requires_grad_(), nt_samples=400, stdevs=sigma, target=1
        )
        assert (ours[i] - wanted[0, 0]).abs().max() < 0.05 * wanted.max()


@pytest.mark.parametrize("method", [occlusion, saliency, smooth_grad], ids=lambda m: m.__name__)
@pytest.mark.parametrize(("target", "rows"), [(1, slice(0, 16)), (0, slice(16, 32))])
def test_the_map_finds_the_quarter_that_decides(method, target, rows, image):
    found = method(Corner().eval(), image, torch.tensor([target]))[0]
    inside = found[rows, rows].clone()
    found[rows, rows] = 0
    assert inside.mean() > 5 * found.sum() / (32 * 32 * 3 / 4)


def test_grad_cam_is_the_weighted_sum_of_the_maps():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.AvgPool2d(6), nn.Flatten())
    model.append(nn.Linear(4, 2, bias=False)).eval()
    X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    maps = model[0](X)  # (2, 4, 6, 6); the gradient of a mean is 1/36 everywhere
    weights = model[3].weight[[0, 1]][:, :, None, None] / 36
    expected = (weights * maps).sum(dim=1, keepdim=True).relu()
    expected = F.interpolate(expected, (8, 8), mode="bilinear")[:, 0]
    cam = grad_cam(model, X, torch.tensor([0, 1]), layer="0")
    torch.testing.assert_close(cam, expected.detach())


# --------------------------------------------------------------------------------- robustness


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_switched_off(method, context, small, image):
    wanted = method(small, image)
    with context():
        found = method(small, image.clone())  # in inference mode, an inference tensor
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_one_class_for_all_images_may_be_a_number(method, small):
    X = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(method(small, X, 1), method(small, X, torch.tensor([1, 1])))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_nothing_is_left_behind(method, small, image):
    before = image.clone()
    method(small, image)
    assert torch.equal(image, before) and image.grad is None and not image.requires_grad
    assert all(parameter.grad is None for parameter in small.parameters())
    assert not any(module._forward_hooks for module in small.modules())


@pytest.mark.parametrize(
    "name",
    ["resnet18", "alexnet", "densenet121", "mobilenet_v3_small", "convnext_tiny", "squeezenet1_1"],
)
def test_the_default_layer_has_a_map_that_is_not_flat(name):
    torch.manual_seed(0)
    model = models.get_model(name).eval().requires_grad_(False)
    cam = grad_cam(model, torch.randn(2, 3, 96, 96))
    assert cam.shape == (2, 96, 96) and cam.isfinite().all() and (cam >= 0).all()
    spread = cam.amax((1, 2)) - cam.amin((1, 2))
    assert ((spread > 1e-4 * cam.amax((1, 2))) | (cam.amax((1, 2)) == 0)).all()


def test_the_default_layer_is_one_that_runs():
    assert grad_cam(Blocks().eval(), torch.rand(1, 3, 48, 48)).shape == (1, 48, 48)


@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_every_method_runs_on_torchvisions_networks(name):
    torch.manual_seed(0)
    model, X = models.get_model(name).eval().requires_grad_(False), torch.randn(2, 3, 64, 64)
    for method in METHODS:
        maps = method(model, X)
        assert maps.shape == (2, 64, 64) and maps.isfinite().all(), method.__name__
        assert not maps.requires_grad and maps.amax(dim=(1, 2)).ge(0).all()


def test_the_predicted_class_is_explained_unless_another_is_asked_for(image):
    model = Corner().eval()
    answer = model(image).argmax(dim=1)
    for method in (occlusion, saliency):
        torch.testing.assert_close(method(model, image), method(model, image, answer))
        assert not torch.equal(method(model, image), method(model, image, 1 - answer))


def test_smooth_grad_is_repeatable_and_without_noise_it_is_saliency(small, image):
    again = [smooth_grad(small, image, samples=3) for _ in range(2)]
    assert torch.equal(*again)
    torch.testing.assert_close(
        smooth_grad(small, image, samples=2, noise=0.0), saliency(small, image)
    )


def test_images_that_are_not_preprocessed_and_models_in_training_are_refused(image):
    with pytest.raises(ValueError, match="must be preprocessed floats"):
        saliency(Corner().eval(), torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        saliency(Corner().train(), image)


@pytest.mark.parametrize("layer", ["head", "blocks"])
def test_grad_cam_needs_a_layer_with_maps(layer):
    model = Blocks().eval()
    with pytest.raises(ValueError, match="no maps, which Grad-CAM needs; try one of stem"):
        grad_cam(model, torch.rand(1, 3, 48, 48), layer=layer)


# ------------------------------------------------------------------------------ the tests of maps


def test_edges_do_not_ask_the_model(image):
    class Unasked(nn.Module):
        def forward(self, x):
            raise AssertionError("edges asked the model")

    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 1
    found = taught("08", "edges", torch=torch)(Unasked(), step)[0]
    assert (found[:, 3:5] > 0).all() and (found[:, :3] == 0).all()


def test_shuffling_keeps_the_numbers_and_begins_at_the_end(small):
    head = shuffle_weights(small, 0.01)
    changed = [n for n, p in head.named_parameters() if not torch.equal(p, small.get_parameter(n))]
    assert changed == ["fc.weight", "fc.bias"]
    everything = shuffle_weights(small, 1)
    for name, parameter in everything.named_parameters():
        old = small.get_parameter(name)
        assert torch.equal(parameter.flatten().sort().values, old.flatten().sort().values)
        assert "weight" not in name or "conv" not in name or not torch.equal(parameter, old)
    nothing = shuffle_weights(small, 0)
    assert all(torch.equal(p, small.get_parameter(n)) for n, p in nothing.named_parameters())


def test_a_map_of_a_network_does_not_survive_the_shuffling(small):
    X = torch.rand(2, 3, 32, 32)
    again = saliency(shuffle_weights(small, 1), X, 0)
    assert rank_correlation(saliency(small, X, 0), again).mean() < 0.9


def test_rank_correlation_knows_order_only():
    a = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rank_correlation(a, a.exp()), torch.ones(3))
    torch.testing.assert_close(rank_correlation(a, 1 - a), -torch.ones(3))
    assert rank_correlation(a, torch.zeros_like(a)).tolist() == [0, 0, 0]


# -------------------------------------------------------------------- images made for a channel


@pytest.fixture
def stripes():
    """A network with one channel, which answers to upright stripes eight pixels wide."""
    wave = torch.cos(torch.arange(16) * 2 * math.pi / 8).expand(1, 3, 16, 16)
    model = nn.Sequential(nn.Conv2d(3, 1, 16, bias=False), nn.ReLU())
    model[0].weight.data = wave / 100
    return model


@pytest.mark.parametrize("fourier", [True, False])
def test_the_image_becomes_what_the_filter_looks_for(stripes, fourier):
    images, reached = maximize_activation(
        stripes, "1", [0], size=32, steps=80, jitter=0, fourier=fourier
    )
    _, start = maximize_activation(stripes, "1", [0], size=32, steps=0, jitter=0, fourier=fourier)
    assert reached > 2 * start
    spectrum = torch.fft.rfft2(images[0].mean(dim=0) - images[0].mean()).abs()
    row, column = divmod(int(spectrum.argmax()), spectrum.shape[1])
    assert (row, column) == (0, 4)  # four upright waves on 32 pixels


def test_it_is_repeatable_and_leaves_the_model_alone(small):
    before = {name: value.clone() for name, value in small.state_dict().items()}
    one, other = (maximize_activation(small, "layer2", [0, 3], size=32, steps=3)[0] for _ in "ab")
    assert torch.equal(one, other)
    assert one.min() >= 0 and one.max() <= 1
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    assert all(parameter.grad is None for parameter in small.parameters())


def test_every_image_is_made_for_its_own_channel(small):
    both, reached = maximize_activation(small, "layer1", [1, 3], size=32, steps=0, jitter=0)
    with torch.no_grad():
        means = small.layer1(small.relu(small.bn1(small.conv1(both)))).mean(dim=(2, 3))
    torch.testing.assert_close(reached, torch.stack([means[0, 1], means[1, 3]]))


def test_waves_start_smoother_than_pixels(stripes):
    def grain(fourier):
        images, _ = maximize_activation(stripes, "1", [0, 0], steps=0, fourier=fourier)
        blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
        return ((images - blurred).var() / images.var()).item()

    assert grain(fourier=True) < 0.3 < 0.7 < grain(fourier=False)


# -------------------------------------------------------------------------------------- figures


@pytest.fixture
def _close_figures():
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_highest_point_of_a_map_is_the_brightest_of_its_overlay():
    maps = torch.zeros(1, 8, 8)
    maps[0, 2, 5] = 3
    shown = overlay(torch.full((1, 3, 8, 8), 100, dtype=torch.uint8), maps).sum(dim=1)
    assert divmod(int(shown.argmax()), 8) == (2, 5)
    assert overlay(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.ones(1, 8, 8)).isfinite().all()


@pytest.mark.usefixtures("_close_figures")
def test_rows_of_explanations_are_images_and_columns_are_methods():
    images, maps = torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.rand(2, 16, 16)
    ax = plot_explanations(images, {"m": maps, "n": maps}, ["ant", "bee"], "why?")
    assert texts(ax) == ["ant", "m", "n", "bee", "m", "n"] and ax.get_title() == "why?"


@pytest.mark.usefixtures("_close_figures")
def test_curves_of_correlations_hold_the_numbers():
    ax = plot_correlations({"edges": [1, 1], "saliency": [1, 0.2]}, ["none", "all"])
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[1, 1], [1, 0.2]]
