"""Maps of where a network looks, on networks whose truth is known, and the tests of maps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from cnnlab import TinyResNet
from cnnlab.lessons.explanations import (
    edges,
    grad_cam,
    occlusion,
    pointing_game,
    rank_correlation,
    saliency,
    sanity_check,
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


@pytest.fixture
def picture():
    return 1 + 0.1 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", [occlusion, saliency, smooth_grad], ids=lambda m: m.__name__)
@pytest.mark.parametrize(("target", "rows"), [(1, slice(0, 16)), (0, slice(16, 32))])
def test_the_map_finds_the_quarter_that_decides(method, target, rows, picture):
    found = method(Corner().eval(), picture, torch.tensor([target]))[0]
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
    expected = nn.functional.interpolate(expected, (8, 8), mode="bilinear")[:, 0]
    cam = grad_cam(model, X, torch.tensor([0, 1]), layer="0")
    torch.testing.assert_close(cam, expected.detach())


@pytest.mark.parametrize("name", ["resnet18", "alexnet"])
def test_every_method_runs_on_torchvisions_networks(name):
    torch.manual_seed(0)
    model, X = models.get_model(name).eval().requires_grad_(False), torch.randn(2, 3, 64, 64)
    for method in METHODS:
        maps = method(model, X)
        assert maps.shape == (2, 64, 64) and maps.isfinite().all(), method.__name__
        assert not maps.requires_grad and maps.amax(dim=(1, 2)).ge(0).all()
    assert X.grad is None and not X.requires_grad


def test_the_predicted_class_is_explained_unless_another_is_asked_for(picture):
    model = Corner().eval()
    answer = model(picture).argmax(dim=1)
    for method in (occlusion, saliency):
        torch.testing.assert_close(method(model, picture), method(model, picture, answer))
        assert not torch.equal(method(model, picture), method(model, picture, 1 - answer))


def test_smooth_grad_is_repeatable_and_without_noise_it_is_saliency(picture):
    model = TinyResNet(widths=(4, 4, 8, 8)).eval()
    again = [smooth_grad(model, picture, samples=3) for _ in range(2)]
    assert torch.equal(*again)
    torch.testing.assert_close(
        smooth_grad(model, picture, samples=2, noise=0.0), saliency(model, picture)
    )


def test_pictures_that_are_not_preprocessed_and_models_in_training_are_refused(picture):
    with pytest.raises(ValueError, match="must be preprocessed floats"):
        saliency(Corner().eval(), torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        saliency(Corner().train(), picture)


def test_grad_cam_needs_a_map():
    with pytest.raises(ValueError, match="Grad-CAM needs maps"):
        grad_cam(TinyResNet().eval(), torch.rand(1, 3, 32, 32), layer="fc")


def test_edges_do_not_ask_the_model(picture):
    class Unasked(nn.Module):
        def forward(self, x):
            raise AssertionError("edges asked the model")

    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 1
    found = edges(Unasked(), step)[0]
    assert (found[:, 3:5] > 0).all() and (found[:, :3] == 0).all()


# ------------------------------------------------------------------------------ the tests of maps


def test_shuffling_keeps_the_numbers_and_begins_at_the_end():
    torch.manual_seed(0)
    model = TinyResNet(widths=(4, 4, 8, 8))
    head = shuffle_weights(model, 0.01)
    changed = [n for n, p in head.named_parameters() if not torch.equal(p, model.get_parameter(n))]
    assert changed == ["fc.weight", "fc.bias"]
    everything = shuffle_weights(model, 1)
    for name, parameter in everything.named_parameters():
        old = model.get_parameter(name)
        assert torch.equal(parameter.flatten().sort().values, old.flatten().sort().values)
        assert "weight" not in name or "conv" not in name or not torch.equal(parameter, old)
    nothing = shuffle_weights(model, 0)
    assert all(torch.equal(p, model.get_parameter(n)) for n, p in nothing.named_parameters())


def test_rank_correlation_knows_order_only():
    a = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rank_correlation(a, a.exp()), torch.ones(3))
    torch.testing.assert_close(rank_correlation(a, 1 - a), -torch.ones(3))
    assert rank_correlation(a, torch.zeros_like(a)).tolist() == [0, 0, 0]


def test_the_check_convicts_a_map_that_does_not_depend_on_the_network():
    torch.manual_seed(0)
    model, X = TinyResNet(num_classes=3, widths=(4, 4, 8, 8)).eval(), torch.rand(2, 3, 32, 32)
    table = sanity_check({"edges": edges, "saliency": saliency}, model, X, [0, 1])
    assert table["edges"] == pytest.approx([1, 1])
    assert table["saliency"][0] == pytest.approx(1) and table["saliency"][1] < 0.9


def test_the_pointing_game_counts_near_misses_only_if_it_is_told_to():
    masks = torch.zeros(1, 9, 9, dtype=torch.bool)
    masks[0, 4, 4] = True
    near = torch.zeros(1, 9, 9)
    near[0, 4, 6] = 1
    assert [pointing_game(near, masks, tolerance=t).item() for t in (0, 1, 2)] == [0, 0, 1]
    with pytest.raises(ValueError, match=r"maps are \(1, 8, 9\)"):
        pointing_game(near[:, 1:], masks)
