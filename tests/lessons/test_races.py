"""Gradients by depth, and a race in which everything but the block is equal."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from cnnlab import load_mnist
from cnnlab.lessons.architectures import (
    FAMILIES,
    DeepStack,
    assemble,
    first_steps,
    plot_gradient_norms,
    plot_race,
    race,
    shrink,
    width_for,
)


@pytest.fixture(scope="module")
def digits():
    return shrink(load_mnist("digits", limit=100), side=16)


def gradients(*kind: bool) -> list[float]:
    torch.manual_seed(0)
    X, y = torch.rand(16, 1, 28, 28), torch.arange(16) % 10
    return first_steps(DeepStack(*kind), [(X, y)])[1]


def test_without_help_the_gradient_dies_on_its_way_to_the_input():
    plain, helped, shortcuts = gradients(False), gradients(False, False, True), gradients(True)
    normalized = gradients(False, True)
    assert len(plain) == len(helped) == len(shortcuts) == 20
    assert plain[0] < 1e-4 * plain[-1]
    assert helped[0] > 1e3 * plain[0] and helped[-1] == pytest.approx(plain[-1])
    assert shortcuts[0] > 0.05 * shortcuts[-1] and normalized[0] > 0.05 * normalized[-1]


def test_the_helper_is_gone_in_eval_mode():
    model = DeepStack(False, helped=True)
    assert len(model(torch.zeros(2, 1, 28, 28))) == 2
    assert model.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_have_the_same_size_and_differ_in_nothing_but_the_block(family):
    block = FAMILIES[family]
    model = assemble(block, width_for(block, 250_000))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(250_000, rel=0.09)
    assert [type(m) for m in model][0::2] == [
        nn.Sequential, nn.MaxPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Linear,
    ]  # fmt: skip
    assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 10)


def test_a_race_repeats_itself_and_leaves_the_test_split_alone(digits):
    digits.test.inputs.fill_(0)  # whoever looks at it sees nothing
    digits.test.labels.fill_(-1)  # and training on it would fail
    first, second = (race(digits, budget=5_000, epochs=2, seeds=[0, 1]) for _ in range(2))
    assert len(first) == 2 * len(FAMILIES)
    for a, b in zip(first, second, strict=True):
        assert a.family == b.family and a.result.accuracy == b.result.accuracy
        assert len(a.result.targets) == len(digits.val)


def test_shrinking_keeps_labels_types_and_brightness():
    digits = load_mnist("digits", limit=50)
    small = shrink(digits, side=14)
    assert small.train.inputs.shape == (50, 1, 14, 14) and small.train.inputs.dtype == torch.uint8
    assert torch.equal(small.train.labels, digits.train.labels)
    mean = digits.train.inputs.float().mean()
    assert small.train.inputs.float().mean() == pytest.approx(float(mean), abs=1)


def test_pictures_name_every_family_and_every_network(digits):
    laps = race(digits, budget=5_000, epochs=1, seeds=[0])
    ax = plot_race(laps)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(FAMILIES)
    ax = plot_gradient_norms({"plain": [1e-3, 1.0], "shortcuts": [0.5, 1.0]})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["plain", "shortcuts"]
    assert ax.get_yscale() == "log"
    plt.close("all")
