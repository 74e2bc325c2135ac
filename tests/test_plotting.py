"""Figures: what they show is what they were given."""

from __future__ import annotations

from types import SimpleNamespace

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
from cnnlab.plotting import COLORS, styled


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def evaluation():
    y = torch.tensor([0, 0, 0, 1, 1])
    y_hat = torch.tensor([0, 0, 1, 1, 1])
    return Evaluation(0.3, y, y_hat, torch.eye(2)[y_hat], ["ants", "bees"])


def rows_of_text():
    return """three
    rows"""


def luminance(color):
    rgb = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_a_mosaic_holds_every_picture_unchanged():
    images = torch.randint(0, 256, (5, 3, 10, 10), dtype=torch.uint8)
    picture = show_images(images, columns=3).images[0].get_array()
    assert np.allclose(picture[:10, :10], images[0].permute(1, 2, 0) / 255)
    gap = picture.shape[1] // 3 - 10
    second_row = 10 + gap
    fifth = picture[second_row : second_row + 10, 10 + gap : 20 + gap]
    assert np.allclose(fifth, images[4].permute(1, 2, 0) / 255)


def test_grayscale_works_and_odd_shapes_are_refused():
    show_images(torch.rand(4, 1, 8, 8))
    with pytest.raises(ValueError, match="must have shape"):
        show_images(torch.rand(4, 5, 8, 8))
    with pytest.raises(ValueError, match="2 titles for 4 images"):
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
    assert "80.0%" in [text.get_text() for text in ax.texts]
    assert ax.lines[-1].get_xdata() == [0.6, 0.6]


def test_intervals_of_other_numbers_with_their_single_values():
    rows = {"with": (0.8, 0.7, 0.9), "without": (0.5, 0.4, 0.6)}
    seeds = {"with": [0.75, 0.85]}
    ax = plot_intervals(rows, dots=seeds, xlabel="Dice", number=".2f")
    drawn = [list(line.get_xdata()) for line in ax.lines]
    assert drawn == [[0.7, 0.9], [0.8], [0.75, 0.85], [0.4, 0.6], [0.5], []]
    assert [text.get_text() for text in ax.texts] == ["0.80", "0.50"]
    assert ax.get_xlabel() == "Dice"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["with", "without"]


def test_labels_of_intervals_stay_inside_the_axes(evaluation):
    ax = plot_intervals({"one": evaluation, "two": (1.0, 0.99, 1.0)}, baseline=0.1)
    ax.figure.canvas.draw()
    frame = ax.get_window_extent()
    for text in ax.texts:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1, text.get_text()


def test_each_filter_is_scaled_to_its_own_range():
    weights = torch.randn(4, 3, 7, 7) * torch.tensor([1, 10, 100, 1e-3])[:, None, None, None]
    drawn = plot_filters(weights, columns=4).images[0].get_array()
    gap = drawn.shape[1] // 4 - 7
    for i in range(4):
        kernel = drawn[:7, i * (7 + gap) : i * (7 + gap) + 7]
        assert np.abs(kernel - 0.5).max() == pytest.approx(0.5)  # gray is zero, one end is reached
    with pytest.raises(ValueError, match="kernels must have shape"):
        plot_filters(torch.rand(4, 64, 3, 3))


def test_a_function_draws_into_the_axes_it_is_given(evaluation):
    _, ax = plt.subplots()
    assert plot_confusion(evaluation, ax=ax) is ax


def test_matplotlibs_settings_stay_as_they_were(evaluation):
    before = dict(matplotlib.rcParams)
    plot_confusion(evaluation)
    assert dict(matplotlib.rcParams) == before


def test_the_style_sheet_has_the_colors_of_the_palette():
    with styled():
        cycle = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
        assert [f"#{color.lstrip('#')}" for color in cycle] == list(COLORS)


def test_no_text_is_small(evaluation):
    for ax in (plot_confusion(evaluation), plot_intervals({"a": evaluation}, 0.5)):
        texts = ax.findobj(matplotlib.text.Text)
        assert min(t.get_fontsize() for t in texts if t.get_text()) >= 11


def test_describe_needs_a_sentence(evaluation):
    with pytest.raises(ValueError, match="empty"):
        describe(plot_confusion(evaluation), " ")


@pytest.mark.parametrize("kind", ["axes", "array of axes", "figure"])
def test_a_described_figure_carries_its_text_and_is_closed(monkeypatch, evaluation, kind):
    ax = plot_confusion(evaluation)
    drawing = {"axes": ax, "array of axes": np.array([ax]), "figure": ax.figure}[kind]
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=None))
    monkeypatch.setattr(
        "IPython.display.display", lambda figure, metadata: shown.append((figure, metadata))
    )
    describe(drawing, "Two errors.")
    assert shown == [(ax.figure, {"image/png": {"alt": "Two errors."}})]
    assert ax.figure.number not in plt.get_fignums()


def test_show_source_leaves_out_the_docstring(capsys):
    show_source(plot_history)
    out = capsys.readouterr().out
    assert "def plot_history" in out and "Parameters" not in out and "axes[1].legend" in out


def test_show_source_keeps_the_code_of_classes_and_of_what_has_no_docstring(capsys):
    show_source(Evaluation.correct.fget)
    show_source(rows_of_text)
    out = capsys.readouterr().out
    assert out == (
        "@property\ndef correct(self) -> Tensor:\n    return self.targets == self.predictions\n"
        'def rows_of_text():\n    return """three\n    rows"""\n'
    )
