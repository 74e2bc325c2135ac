"""Figures: what they show is what they were given."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("agg")
from matplotlib import pyplot as plt

from cnnlab import (
    Evaluation,
    History,
    describe,
    plot_confusion,
    plot_filters,
    plot_history,
    plot_intervals,
    show_images,
    show_source,
)
from cnnlab.plotting import COLORS, plot_feature_maps


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def evaluation():
    y = torch.tensor([0, 0, 0, 1, 1])
    y_hat = torch.tensor([0, 0, 1, 1, 1])
    return Evaluation(0.3, y, y_hat, torch.eye(2)[y_hat], ["ants", "bees"])


def luminance(color):
    rgb = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_a_mosaic_holds_every_picture_unchanged():
    images = torch.randint(0, 256, (5, 3, 10, 10), dtype=torch.uint8)
    picture = show_images(images, columns=3).images[0].get_array()
    assert np.allclose(picture[:10, :10], images[0].permute(1, 2, 0) / 255)
    gap = (picture.shape[1] - 3 * 10) // 2
    second_row = 10 + gap
    fifth = picture[second_row : second_row + 10, 10 + gap : 20 + gap]
    assert np.allclose(fifth, images[4].permute(1, 2, 0) / 255)


def test_grayscale_works_and_odd_shapes_are_refused():
    show_images(torch.rand(4, 1, 8, 8))
    with pytest.raises(ValueError, match="must have shape"):
        show_images(torch.rand(4, 5, 8, 8))
    with pytest.raises(ValueError, match="2 titles for 4 pictures"):
        show_images(torch.rand(4, 3, 8, 8), ["a", "b"])


def test_titles_do_not_overlap_the_next_row():
    ax = show_images(torch.rand(12, 3, 64, 64), [f"ant, said\nbee {i}" for i in range(12)])
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    first_row, second_row = boxes[0], boxes[8]
    height = ax.images[0].get_array().shape[0]
    top_of_second = ax.transData.transform([(0, height / 2)])[0][1]
    assert first_row.y0 > second_row.y1
    assert first_row.y0 >= top_of_second - 2


def test_history_shows_both_curves_and_the_kept_epoch():
    records = [
        {"loss": 1 / (i + 1), "accuracy": 0.5 + i / 10, "val_loss": 0.7, "val_accuracy": 0.6}
        for i in range(4)
    ]
    left, right = plot_history(History(records, best_epoch=2))
    assert [line.get_label() for line in right.lines] == ["training", "validation", "weights kept"]
    assert np.allclose(left.lines[0].get_ydata(), [1, 1 / 2, 1 / 3, 1 / 4])
    assert right.lines[2].get_xdata()[0] == 3
    assert left.get_xlabel() == "epoch" and "nats" in left.get_ylabel()


def test_confusion_shows_counts_and_shares(evaluation):
    ax = plot_confusion(evaluation)
    assert [text.get_text() for text in ax.texts] == ["2\n67%", "1\n33%", "0\n0%", "2\n100%"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ants", "bees"]


def test_intervals_are_wilsons(evaluation):
    ax = plot_intervals({"one": evaluation}, baseline=0.6)
    assert np.allclose(ax.lines[0].get_xdata(), evaluation.confidence_interval())


def test_filters_and_maps_are_scaled_each_to_its_own_range():
    weights = torch.randn(4, 3, 7, 7) * torch.tensor([1, 10, 100, 1e-3])[:, None, None, None]
    picture = plot_filters(weights).images[0].get_array()
    assert picture.min() >= 0 and picture.max() <= 1
    plot_feature_maps(torch.randn(6, 5, 5))
    with pytest.raises(ValueError, match="kernels must have shape"):
        plot_filters(torch.rand(4, 64, 3, 3))
    with pytest.raises(ValueError, match="feature maps must have shape"):
        plot_feature_maps(torch.rand(1, 4, 5, 5))


def test_a_function_draws_into_the_axes_it_is_given(evaluation):
    _, ax = plt.subplots()
    assert plot_confusion(evaluation, ax=ax) is ax


def test_matplotlibs_settings_stay_as_they_were(evaluation):
    before = dict(matplotlib.rcParams)
    plot_confusion(evaluation)
    assert dict(matplotlib.rcParams) == before


def test_colors_differ_in_brightness_or_hue_also_for_the_color_blind():
    """Simulated deuteranopia (Viénot et al. 1999): the first four must stay apart."""
    to_deuteranope = np.array(
        [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]
    )
    seen = [to_deuteranope @ matplotlib.colors.to_rgb(c) for c in COLORS[:4]]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 0.15
    for color in COLORS[:3]:  # used for lines and text on white
        assert 1.05 / (luminance(color) + 0.05) >= 3


def test_no_text_is_small(evaluation):
    for ax in (plot_confusion(evaluation), plot_intervals({"a": evaluation}, 0.5)):
        texts = ax.findobj(matplotlib.text.Text)
        assert min(t.get_fontsize() for t in texts if t.get_text()) >= 11


def test_describe_needs_a_sentence(evaluation):
    with pytest.raises(ValueError, match="empty"):
        describe(plot_confusion(evaluation), " ")


def test_show_source_leaves_out_the_docstring(capsys):
    show_source(plot_history)
    out = capsys.readouterr().out
    assert "def plot_history" in out and "Parameters" not in out and "axes[1].legend" in out
