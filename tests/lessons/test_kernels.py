"""What is measured in kernels, on kernels whose answer is known."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from cnnlab import TinyResNet, load_backbone
from cnnlab.lessons.filters import kernel_responses, kernel_statistics, movement, sample_photographs


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


def test_a_kernel_answers_at_edges_across_its_wave():
    edge = torch.zeros(3, 32, 32)
    edge[:, 16:] = 1  # the horizon: brightness changes downwards, at 90°
    convolution = nn.Conv2d(3, 2, 11)
    convolution.weight.data = torch.cat([wave(90, 0.1).roll(2, 2), wave(0, 0.1).roll(2, 3)])
    weight = convolution.weight.data
    convolution.weight.data = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
    down, right = kernel_responses(convolution, edge).abs().amax(dim=(1, 2))
    assert down > 3 * right


def test_movement_is_relative_and_complete():
    before = TinyResNet(widths=(4, 4, 8, 8))
    after = copy.deepcopy(before)
    after.layer2[0].conv1.weight.data *= 0.9
    moved = movement(before, after)
    convolutions = [n for n, m in before.named_modules() if isinstance(m, nn.Conv2d)]
    assert list(moved) == convolutions
    assert moved.pop("layer2.0.conv1") == pytest.approx(0.1) and not any(moved.values())


def test_movement_between_different_networks_is_refused():
    with pytest.raises(ValueError, match="no convolution 'conv1'"):
        movement(TinyResNet(), TinyResNet(widths=(4, 4, 8, 8)))


def test_the_photographs_are_upright_squares_in_color():
    temple, flower = sample_photographs(96)
    assert temple.shape == (3, 96, 96) and temple.dtype == torch.uint8
    assert temple[2, :10].float().mean() > temple[2, -10:].float().mean()  # the sky is above
    assert flower[0, 30:60, 30:60].float().mean() > flower[1, 30:60, 30:60].float().mean()
