"""Matrices with their numbers, and the drawings of convolution arithmetic made of them."""

from __future__ import annotations

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from cnnlab.fields import conv_transpose_size
from cnnlab.lessons.arithmetic import Grid, Kind, plot_grids, plot_recipe
from cnnlab.lessons.transposed import transposed_convolution


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def plot_grid(values, title="", marked=None, **options):
    return plot_grids([Grid(title, values, marked=marked)], **options)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def frames(ax):
    return [p for p in ax.patches if isinstance(p, Rectangle) and p.get_linewidth() == 2]


def sizes_in_inches(ax):
    """Width and height of every matrix."""
    ax.figure.canvas.draw()
    boxes = [image.get_window_extent() for image in ax.images]
    return [(box.width / ax.figure.dpi, box.height / ax.figure.dpi) for box in boxes]


@pytest.mark.parametrize(
    ("values", "decimals", "expected"),
    [
        ([[1, -2]], None, ["1", "−2"]),
        ([[1.0, 2.5]], None, ["1.00", "2.50"]),
        ([[0.04, -0.04]], 1, ["0.0", "0.0"]),  # no minus before nothing
        ([[torch.nan, 3.0]], None, ["3"]),
    ],
)
def test_the_number_stands_in_every_cell(values, decimals, expected):
    ax = plot_grid(torch.tensor(values), decimals=decimals)
    assert texts(ax)[:-1] == expected


def test_numbers_can_be_read_on_their_color():
    ax = plot_grid(torch.arange(-8.0, 8).reshape(4, 4))
    colors = ax.images[0].get_array().reshape(-1, 3)
    for text, color in zip(ax.texts, colors, strict=False):
        luminance = np.where(color <= 0.04, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
        light = luminance @ (0.2126, 0.7152, 0.0722)
        ink = 1.0 if text.get_color() == "white" else 0.0
        contrast = (max(light, ink) + 0.05) / (min(light, ink) + 0.05)
        assert contrast > 4.5, text.get_text()
    assert min(text.get_fontsize() for text in ax.texts) >= 11


def test_the_kinds_choose_the_color_and_are_explained():
    kinds = torch.tensor([[Kind.INPUT, Kind.BORDER]])
    ax = plot_grids([("x", torch.zeros(1, 2), kinds)])
    assert np.allclose(ax.images[0].get_array()[0, 1], Kind.BORDER.color)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["input", "border"]
    assert plot_grids([("x", torch.zeros(1, 2), kinds)], legend=False).get_legend() is None
    assert plot_grid(torch.zeros(1, 2)).get_legend() is None
    assert len({tuple(kind.color) for kind in Kind}) == len(Kind)


def test_marked_cells_get_a_frame():
    marked = torch.eye(3, dtype=torch.bool)
    assert len(frames(plot_grid(torch.ones(3, 3), marked=marked))) == 3


def test_all_cells_have_one_size_and_the_figure_keeps_its_width():
    grids = [
        ("a", torch.ones(2, 3)),
        ("a long title\nof two lines", torch.ones(5, 9)),
        ("", torch.ones(1, 1)),
    ]
    ax = plot_grids(grids, symbols=["→", "+"], width=6)
    cells = [
        (w / g[1].shape[1], h / g[1].shape[0])
        for (w, h), g in zip(sizes_in_inches(ax), grids, strict=True)
    ]
    assert np.allclose(cells, cells[0][0], rtol=0.02)
    assert ax.figure.get_size_inches()[0] <= 6.05
    assert [t for t in texts(ax) if t in "→+" and t] == ["→", "+"]


def test_matrices_do_not_touch_each_other():
    grids = [Grid(str(n), torch.ones(n, n)) for n in (1, 4, 2, 3, 5)]
    boxes = [image.get_extent() for image in plot_grids(grids, columns=2).images]
    for i, (left, right, bottom, top) in enumerate(boxes):
        for other in boxes[i + 1 :]:
            apart = right < other[0] or other[1] < left or bottom < other[3] or other[2] < top
            assert apart


def test_a_large_matrix_becomes_a_heat_map():
    ax = plot_grid(torch.rand(60, 80), title="C")
    assert texts(ax) == ["C"]
    assert texts(plot_grid(torch.ones(2, 2), numbers=False)) == [""]


@pytest.mark.parametrize(
    "grid",
    [("x", torch.ones(3)), ("x", torch.ones(2, 2), torch.ones(2, 3)), ("x", torch.ones(1, 2, 2))],
)
def test_parts_of_different_shapes_are_refused(grid):
    with pytest.raises(ValueError, match="the grid 'x' needs parts of one shape"):
        plot_grids([grid])


# ------------------------------------------------------------------------------------- recipes


def test_the_recipe_shows_every_number_and_says_what_it_is():
    view = transposed_convolution(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[5, 6], [7, 8]]), 2)
    ax = plot_recipe(view)
    shown = texts(ax)
    for name in ("input", "stretched: z = 1", "padded: p′ = 1", "kernel, turned", "output"):
        assert name in shown
    start = shown.index("padded: p′ = 1")
    assert shown[start + 2 : start + 6] == ["8", "7", "6", "5"]
    assert [image.get_array().shape[0] for image in ax.images] == [2, 3, 5, 2, 4]


def test_the_step_frames_what_the_kernel_sees_and_hides_what_comes_later():
    x, kernel = torch.arange(1, 10).reshape(3, 3), torch.ones(2, 2, dtype=torch.int64)
    view = transposed_convolution(x, kernel, dilation=2)
    for step in (0, 7, 24, 99):
        ax = plot_recipe(view, step)
        assert len(frames(ax)) == 4 + 1
        shown = texts(ax)
        done = shown[shown.index("=") + 1 : shown.index("output")]
        assert list(map(int, done)) == view.output.flatten()[: min(step, 24) + 1].tolist()


def test_every_position_of_the_sliders_can_be_drawn():
    for size, kernel, stride, padding in product((1, 3), (1, 4), (1, 3), (0, 2)):
        if conv_transpose_size(size, kernel, stride, padding) < 1:
            continue
        x, weight = torch.ones(size, size), torch.ones(kernel, kernel)
        ax = plot_recipe(transposed_convolution(x, weight, stride, padding), step=120)
        assert min(text.get_fontsize() for text in ax.texts) >= 11


def colors_of(ax, number):
    return ax.images[number].get_array()


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"stride": 2}, ["bbbbb", "bizib", "bzzzb", "bizib", "bbbbb"]),
        ({"stride": 2, "padding": 1}, ["izi", "zzz", "izi"]),
        (
            {"stride": 3, "padding": 1, "output_padding": 1},
            ["izzib"] + ["zzzzb"] * 2 + ["izzib", "bbbbb"],
        ),
        ({"stride": 3, "padding": 2}, ["zz", "zz"]),
    ],
)
def test_the_border_is_told_from_the_inserted_zeros(options, rows):
    view = transposed_convolution(torch.ones(2, 2), torch.ones(2, 2), **options)
    got = colors_of(plot_recipe(view), 2)
    letters = {"i": Kind.INPUT, "z": Kind.INSERTED_ZERO, "b": Kind.BORDER}
    expected = np.array([[letters[letter].color for letter in row] for row in rows])
    assert np.allclose(got, expected)


def test_only_one_channel_can_be_drawn():
    with pytest.raises(ValueError, match="only one image with one channel"):
        plot_recipe(transposed_convolution(torch.ones(2, 2, 2), torch.ones(2, 1, 2, 2)))
