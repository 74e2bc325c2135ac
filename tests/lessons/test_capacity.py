"""Capacity against data: what is trained, and what the lesson says about it."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
import torch

from cnnlab.data.datasets import load_mnist
from cnnlab.lessons.datasets import (
    capacity_grid,
    plot_capacity,
    plot_errors,
    shift_turn_scale,
    small_convnet,
    train_small,
)


@pytest.fixture(scope="module")
def digits():
    return load_mnist("digits")


@pytest.fixture(scope="module")
def grid(digits):
    return capacity_grid(digits, (1, 8), (30, 300), (0, 1), steps=100)


@pytest.mark.parametrize("width", [1, 8, 32])
def test_parameters_grow_with_the_width(width):
    expected = 26 * width + (25 * width + 1) * width + 490 * width + 10
    assert sum(p.numel() for p in small_convnet(width).parameters()) == expected


def test_the_grid_holds_both_errors_of_every_training(grid):
    assert grid.train_error.shape == grid.val_error.shape == (2, 2, 2)  # seeds, widths, sizes
    assert grid.parameters == [552, 5746]
    assert grid.train_error.min() >= 0 and grid.val_error.max() <= 1


def test_few_images_are_learned_by_heart_and_more_close_the_gap(grid):
    train, val = grid.train_error.mean(dim=0), grid.val_error.mean(dim=0)
    assert train[1, 0] == 0 and val[1, 0] > 0.1
    gap = val - train
    assert (gap[:, 1] < gap[:, 0] - 0.05).all()


def test_the_grid_is_the_same_twice_and_says_nothing(digits, grid, capsys):
    again = capacity_grid(digits, (1,), (30,), (0,), steps=100)
    assert again.val_error[0, 0, 0] == grid.val_error[0, 0, 0]
    assert capsys.readouterr().out == ""


def test_the_whole_data_stay_as_they_are(digits):
    before = len(digits.train)
    capacity_grid(digits, (1,), (30,), (0,), steps=4)
    assert len(digits.train) == before


def test_shifting_does_not_mirror_and_keeps_shape_and_range():
    left = torch.zeros(200, 1, 28, 28, dtype=torch.uint8)
    left[..., 4:9] = 255  # a bar at the left
    out = shift_turn_scale(left, torch.Generator().manual_seed(0))
    assert out.shape == left.shape and out.min() >= 0 and out.max() <= 1
    bright = (out * torch.arange(28.0)).sum(dim=(1, 2, 3)) / out.sum(dim=(1, 2, 3))
    assert bright.max() < 14 and bright.std() > 0.5  # moved, but never to the other side


def test_a_training_can_be_repeated(digits):
    few = replace(digits, train=digits.train.subset(slice(60)))
    first, second = (train_small(few, 2, epochs=2, dropout=0.5, seed=3)[1] for _ in range(2))
    assert first.loss == second.loss


def test_weight_decay_and_augmentation_reach_the_training(digits):
    few = replace(digits, train=digits.train.subset(slice(60)))
    plain = train_small(few, 2, epochs=40)[0]
    for how in ({"weight_decay": 20.0}, {"augment": shift_turn_scale}):
        assert train_small(few, 2, epochs=40, **how)[0].loss > plain.loss


def test_the_figures_name_their_axes_and_show_every_error(grid):
    ax = plot_errors(grid)
    assert len(ax.lines) == 4 and ax.get_xlabel() == "training images"
    axes = plot_capacity(grid)
    shown = [text.get_text() for axis in axes for text in axis.texts]
    assert shown[4:] == [f"{value:.1%}" for value in grid.val_error.mean(dim=0).flatten()]
    assert min(text.get_size() for axis in axes for text in axis.texts) >= 11
    plt.close("all")
