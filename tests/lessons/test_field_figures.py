"""Figures of receptive fields, and the published fields they are compared with."""

from __future__ import annotations

import csv

import matplotlib
import pytest
import torch
from torch import nn
from torchvision import models

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from cnnlab import receptive_field
from cnnlab.data.downloads import packaged
from cnnlab.lessons.field_figures import (
    plot_field_tree,
    trace,
)
from cnnlab.plotting import COLORS

CHAINS = [
    [(3, 1, 1), (3, 2, 1), (3, 1, 2)],
    [(5, 3, 1), (2, 2, 1), (3, 1, 2)],
    [(1, 1, 1), (4, 3, 2)],
    [(2, 3, 1), (3, 1, 1)],  # a stride beyond the kernel leaves pixels out
]
PUBLISHED = list(
    csv.DictReader(packaged("published", "receptive_fields.csv").open(encoding="utf-8"))
)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def width(field: list[int]) -> int:
    return field[-1] + 1 - field[0]


def by_formula(chain: list[tuple[int, int, int]]) -> tuple[int, int]:
    size, step = 1, 1
    for kernel, stride, dilation in chain:
        size, step = size + dilation * (kernel - 1) * step, step * stride
    return size, step


@pytest.mark.parametrize("chain", CHAINS)
def test_the_tree_has_the_size_and_step_of_the_formula_and_of_the_engine(chain):
    first, second = trace(chain, 0)[0], trace(chain, 1)[0]
    layers = [nn.Conv2d(1, 1, k, stride=s, dilation=d) for k, s, d in chain]
    *_, field = receptive_field(nn.Sequential(*layers), (1, 64, 64)).values()
    assert (width(first), second[0] - first[0]) == by_formula(chain)
    assert (field.size[0], field.stride[0]) == by_formula(chain)


@pytest.mark.parametrize("chain", CHAINS)
def test_the_tree_holds_exactly_the_inputs_with_a_gradient(chain):
    network = nn.Sequential(*[nn.Conv1d(1, 1, k, stride=s, dilation=d) for k, s, d in chain])
    x = torch.zeros(1, 1, 40, requires_grad=True)
    network(x)[0, 0, 1].backward()
    assert x.grad[0, 0].nonzero()[:, 0].tolist() == trace(chain, 1)[0]


def test_every_input_is_drawn_in_the_colors_of_the_outputs_that_read_it():
    ax = plot_field_tree(CHAINS[0], inputs=22)
    dots = [line for line in ax.lines if line.get_marker() == "o" and set(line.get_ydata()) == {0}]
    drawn = [(to_hex(line.get_color()), line.get_xdata().tolist()) for line in dots]
    blue, orange = (trace(CHAINS[0], unit)[0] for unit in (1, 2))
    in_both = [pixel for pixel in blue if pixel in orange]
    colors = [COLORS[i].lower() for i in (0, 1, 0)]
    assert drawn[1:] == list(zip(colors, [blue, orange, in_both], strict=True))
    assert dots[3].get_markersize() == dots[2].get_markersize() / 2  # a core, which hides nothing


def test_every_line_leads_from_a_unit_to_an_input_of_it():
    chain = [(2, 3, 1)]
    ax = plot_field_tree(chain)
    ends = [segment.tolist() for lines in ax.collections for segment in lines.get_segments()]
    assert ends == [[[0.5, 1], [0, 0]], [[0.5, 1], [1, 0]], [[3.5, 1], [3, 0]], [[3.5, 1], [4, 0]]]


def test_the_bars_are_as_long_as_their_words_say():
    ax = plot_field_tree(CHAINS[0])
    bars = [line.get_xdata() for line in ax.lines if line.get_marker() != "o"]
    words = [text.get_text() for text in ax.texts if "px" in text.get_text()]
    lengths = [round(right - left + 0.2) for left, right in bars]
    assert lengths == [3, 5, 13, 13]
    assert {text.get_color() for text in ax.texts} == {"black"}  # orange words would be too pale
    assert words == [
        "layer 1 sees 3 px",
        "layer 2 sees 5 px",
        "layer 3 sees 13 px",
        "its neighbor, 2 px further",
    ]


def test_an_input_too_short_for_the_outputs_is_refused():
    with pytest.raises(ValueError, match="5 inputs leave 1 of 2 outputs"):
        plot_field_tree([(5, 1, 1)], inputs=5)


# ------------------------------------------------------------------------ the published fields


def field_of(row: dict[str, str], model: nn.Module) -> tuple[str, str]:
    side = int(row["input"])
    field = receptive_field(model, (3, side, side))[row["layer"]]
    assert field.size[0] == field.size[1]
    return str(field.size[0]), str(field.stride[0])


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["torchvision"])
def test_our_field_is_the_published_one_or_differs_for_the_reason_given(row):
    with torch.device("meta"):
        model = models.get_model(row["torchvision"])
    published = (row["published"], row["step"])
    assert (field_of(row, model) != published) == bool(row["reason"])
    for block in model.modules():
        if isinstance(block, models.resnet.Bottleneck):  # the paper's strides
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    assert field_of(row, model) == published


@pytest.mark.parametrize(
    ("blocks", "published"),
    [((3, 4, 6, 3), 483), ((3, 4, 23, 3), 1027), ((3, 8, 36, 3), 1507)],
)
def test_strides_in_the_last_block_of_a_stage_give_the_published_fields_too(blocks, published):
    chain = [(7, 2, 1), (3, 2, 1)]
    for stage, count in enumerate(blocks):
        chain += [(3, 1, 1)] * (count - 1) + [(3, 1 if stage == 3 else 2, 1)]
    assert by_formula(chain) == (published, 32)


def test_every_row_says_where_it_comes_from():
    assert all("Araujo, Norris, Sim (2019)" in row["source"] for row in PUBLISHED)
