"""Learning curves: honest draws, Student's interval, crossings, and the figure."""

from __future__ import annotations

import dataclasses

import matplotlib.pyplot as plt
import pytest
import torch
from scipy.stats import ttest_1samp

from cnnlab import ImageData
from cnnlab.data.datasets import Split
from cnnlab.lessons.transfer_learning import (
    LearningCurve,
    crossings,
    draw_few,
    learning_curve,
    plot_learning_curves,
)


@pytest.fixture
def data():
    def split(first, count):
        numbers = torch.arange(first, first + count)
        return Split(numbers[:, None].float(), numbers % 2, [f"picture {i}" for i in numbers])

    return ImageData(split(0, 40), split(40, 20), split(60, 10), ["even", "odd"], "numbers")


def numbers(split):
    return set(split.inputs.flatten().tolist())


def test_a_draw_learns_from_none_of_what_it_is_measured_on(data):
    few = draw_few(data, 15, seed=3)
    assert few.train.labels.bincount().tolist() == [15, 15]
    assert not numbers(few.train) & numbers(few.val)
    assert numbers(few.train) | numbers(few.val) < set(range(60))
    assert few.test is data.test and len(few.val) == len(data.val)


def test_a_small_draw_is_part_of_a_larger_one_and_is_measured_on_the_same(data):
    small, large = draw_few(data, 5, seed=1), draw_few(data, 15, seed=1)
    assert numbers(small.train) < numbers(large.train)
    assert torch.equal(small.val.inputs, large.val.inputs)


def test_another_seed_draws_and_measures_other_samples_the_same_seed_the_same(data):
    first, second, again = (draw_few(data, 5, seed) for seed in (0, 1, 0))
    assert numbers(first.train) != numbers(second.train)
    assert numbers(first.val) != numbers(second.val)
    assert torch.equal(first.train.inputs, again.train.inputs)


def test_pictures_and_their_features_are_drawn_alike(data):
    parts = {
        name: dataclasses.replace(split, inputs=split.inputs * 2)
        for name, split in data.splits().items()
    }
    features = dataclasses.replace(data, **parts)
    few, few_features = draw_few(data, 7, 2), draw_few(features, 7, 2)
    assert few.train.names == few_features.train.names
    assert torch.equal(few.train.inputs * 2, few_features.train.inputs)


@pytest.mark.parametrize("count", [0, 21])
def test_a_draw_says_how_many_there_are(data, count):
    with pytest.raises(ValueError, match="1 to 20"):
        draw_few(data, count)


def test_the_interval_is_the_one_of_the_t_test():
    accuracies = torch.tensor([[0.6, 0.8], [0.7, 0.85], [0.75, 0.8], [0.65, 0.9]])
    low, high = LearningCurve("x", [5, 10], accuracies).interval(0.9)
    for k in range(2):
        wanted = ttest_1samp(accuracies[:, k].numpy(), 0).confidence_interval(0.9)
        assert (low[k].item(), high[k].item()) == pytest.approx(tuple(wanted), abs=1e-6)


def test_the_luck_that_two_curves_share_cancels_in_their_difference():
    luck = torch.tensor([[-0.2], [0.0], [0.2]])
    difference = LearningCurve("a", [5], 0.8 + luck).minus(LearningCurve("b", [5], 0.7 + luck))
    low, high = difference.interval()
    assert (low.item(), high.item()) == pytest.approx((0.1, 0.1), abs=1e-6)
    assert difference.name == "a minus b"


def test_every_size_is_measured_once_a_seed():
    seen = []
    curve = learning_curve("x", lambda *call: seen.append(call) or 0.5, (5, 20), range(3))
    assert sorted(seen) == [(size, seed) for size in (5, 20) for seed in range(3)]
    assert curve.accuracies.shape == (3, 2) and curve.sizes == [5, 20]


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ([0.5, 0.6, 0.7], [0.6, 0.7, 0.8], []),
        ([0.5, 0.8, 0.7], [0.6, 0.7, 0.8], [(5, 20), (20, 80)]),
        ([0.5, 0.7, 0.9], [0.6, 0.7, 0.8], [(5, 80)]),  # a tie in between
        ([0.6, 0.7, 0.8], [0.6, 0.7, 0.8], []),
    ],
)
def test_crossings(first, second, wanted):
    a, b = (LearningCurve("x", [5, 20, 80], torch.tensor([y])) for y in (first, second))
    assert crossings(a, b) == wanted == crossings(b, a)


def test_the_figure_shows_every_curve_its_sizes_and_the_baseline():
    curves = [
        LearningCurve(name, [5, 20], torch.tensor([[0.6, 0.7], [0.65, 0.8]])) for name in "ab"
    ]
    axes = plot_learning_curves(curves, 0.5)
    axes.figure.canvas.draw()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["5", "20"]
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    assert labels == {"a", "b", "majority class"}
    assert len(axes.collections) == 2, "intervals for each curve"
    plt.close(axes.figure)
