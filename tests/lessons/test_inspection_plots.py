"""Figures of lesson 08: they show what they were given."""

from __future__ import annotations

import matplotlib
import pytest
import torch

matplotlib.use("agg")
from matplotlib import pyplot as plt

from cnnlab.lessons.filter_figures import (
    overlay,
    plot_channel,
    plot_correlations,
    plot_embeddings,
    plot_explanations,
    plot_kernel_sets,
    plot_kernel_statistics,
    plot_layers,
    plot_movement,
    plot_pointing,
    plot_responses,
)
from cnnlab.lessons.filters import kernel_statistics


@pytest.fixture(autouse=True)
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


def test_kernels_and_their_measures_have_a_row_or_panel_for_each_set():
    sets = {"trained": torch.randn(12, 3, 7, 7), "random": torch.randn(12, 3, 7, 7)}
    assert [ax.get_title() for ax in plot_kernel_sets(sets)] == ["trained", "random"]
    measured = {name: kernel_statistics(weight) for name, weight in sets.items()}
    color, *_ = plot_kernel_statistics(measured)
    assert [label.get_text() for label in color.get_yticklabels()] == ["trained", "random"]
    dots = color.lines[0].get_xdata()
    assert sorted(dots) == sorted(measured["trained"].color.tolist())


def test_each_kernel_stands_above_its_response():
    ax = plot_responses(
        torch.zeros(3, 20, 20, dtype=torch.uint8),
        torch.randn(2, 3, 7, 7),
        torch.randn(2, 20, 20),
        ["a", "b"],
    )
    assert texts(ax) == ["picture", "a", "b", "", "response", "response"]


def test_the_strongest_channels_of_each_layer_come_first():
    maps = {"one": torch.arange(4.0)[None, :, None, None].expand(1, 4, 8, 8)}
    assert texts(plot_layers(maps, columns=3)) == ["one · 3", "one · 2", "one · 1"]


def test_rows_of_explanations_are_pictures_and_columns_are_methods():
    images, maps = torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.rand(2, 16, 16)
    ax = plot_explanations(images, {"m": maps, "n": maps}, ["ant", "bee"], "why?")
    assert texts(ax) == ["ant", "m", "n", "bee", "m", "n"] and ax.get_title() == "why?"
    patches = torch.zeros(3, 3, 64, 64, dtype=torch.uint8)
    ax = plot_channel(images[0], torch.rand(4, 4), patches, "layer1, channel 5")
    assert texts(ax) == ["picture", "its map", "strongest", "strongest", "strongest"]


def test_curves_dots_bars_and_panels_hold_the_numbers():
    ax = plot_correlations({"edges": [1, 1], "saliency": [1, 0.2]}, ["none", "all"])
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[1, 1], [1, 0.2]]
    ax = plot_pointing({"the center": torch.tensor([True, False, True, True])})
    assert texts(ax) == ["75%"]
    ax = plot_movement({"conv1": 0.01, "layer1": 0.02})
    assert [bar.get_width() for bar in ax.patches] == [0.01, 0.02] and ax.yaxis_inverted()
    points, labels = torch.rand(6, 2), torch.tensor([0, 1, 0, 1, 0, 1])
    (ax,) = plot_embeddings({"PCA": points}, labels, ["ants", "bees"])
    assert [len(line.get_xdata()) for line in ax.lines] == [3, 3] and ax.get_title() == "PCA"
