"""Masks: the cells of lesson 03 agree with other people's code; pixels are learned and drawn."""

from __future__ import annotations

import matplotlib
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from sklearn.metrics import f1_score, jaccard_score
from taught import taught

import cnnlab
from cnnlab.lessons.segmentation import PARTS, plot_masks

matplotlib.use("agg")

NAMES = {"torch": torch, "F": torch.nn.functional}
dice_scores, iou, mask_loss = (
    taught("03", name, **NAMES) for name in ("dice_scores", "iou", "mask_loss")
)


def drawings(count: int, seed: int, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    insects = cnnlab.draw_insects(count, size, seed)
    return torch.from_numpy(insects.images), torch.from_numpy(insects.masks)


# -- scores ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(0.2, 0.95))
def test_scores_of_the_lesson_are_those_of_scikit_learn(seed, share):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(2, 5, 7, generator=generator) < share for _ in range(2))
    for found, true, score in zip(a, b, dice_scores(a, b).tolist(), strict=True):
        assert score == pytest.approx(f1_score(true.flatten(), found.flatten()))
        assert iou(found, true) == pytest.approx(jaccard_score(true.flatten(), found.flatten()))


def test_the_loss_is_cross_entropy_and_what_dice_lacks():
    even, classes = torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 0, 1]]])  # p = 1/2 everywhere
    assert mask_loss(even, classes).item() == pytest.approx(0.6931 + 1 - 2 / 4, abs=1e-4)


def test_the_bootstrap_agrees_with_the_normal_formula_on_many_scores():
    scores = torch.rand(400, generator=torch.Generator().manual_seed(0))
    low, high = cnnlab.bootstrap_interval(scores)
    half = 1.96 * scores.std().item() / 20
    assert low == pytest.approx(scores.mean().item() - half, abs=0.004)
    assert high == pytest.approx(scores.mean().item() + half, abs=0.004)


# -- labels of pixels ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (torch.zeros(2, 4, 5).long(), r"shape \(2, 4, 4\)"),
        (torch.zeros(2, 4, 4).int(), "int64"),
        (torch.full((2, 4, 4), 255), "labels run from 255 to 255"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(targets, words):
    with pytest.raises(ValueError, match=words):
        cnnlab.fit(torch.nn.Conv2d(3, 2, 1), [(torch.rand(2, 3, 4, 4), targets)], epochs=1)


def test_labels_for_a_network_that_answers_for_pixels():
    batch = (torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="logits must be"):
        cnnlab.fit(torch.nn.Conv2d(3, 2, 1), [batch], epochs=1)


# -- training --------------------------------------------------------------------------------------


def test_accuracy_counts_pixels_and_refuses_an_interval():
    X, y = torch.rand(6, 3, 8, 8), (torch.rand(6, 8, 8) < 0.3).long()
    model = torch.nn.Conv2d(3, 2, 1)
    right = (model(X).argmax(1) == y).double().mean().item()
    batches = [(X[:4], y[:4]), (X[4:], y[4:])]

    def doubled(logits, targets):
        return 2 * torch.nn.functional.cross_entropy(logits, targets)

    result = cnnlab.evaluate(model, batches, criterion=doubled)
    assert result.accuracy == pytest.approx(right)
    assert result.loss == pytest.approx(doubled(model(X), y).item(), abs=1e-6)
    assert "of the pixels" in repr(result) and result.confusion_matrix().to_array().sum() == 384
    with pytest.raises(ValueError, match="no independent samples"):
        result.confidence_interval()
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    assert cnnlab.train_epoch(model, batches, still)[1] == pytest.approx(right)


def test_a_small_u_net_learns_to_find_insects():
    cnnlab.set_seed(0)
    (X, y), val = drawings(160, 1), drawings(40, 2)
    train = list(zip((X / 255).split(16), y.long().split(16), strict=True))
    model = cnnlab.UNet(2, (8, 16, 32))
    history = cnnlab.fit(model, train, [(val[0] / 255, val[1].long())], epochs=8, lr=1e-2)
    everything = dice_scores(torch.ones_like(val[1]), val[1]).mean()
    found = dice_scores(model.eval()(val[0] / 255).argmax(1) > 0, val[1]).mean()
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert found > everything + 0.15


# -- figures ---------------------------------------------------------------------------------------


def test_hits_false_alarms_and_misses_have_the_colors_of_the_legend():
    images = torch.full((1, 3, 1, 4), 100, dtype=torch.uint8)
    said, true = torch.tensor([[[1, 1, 0, 0]]]), torch.tensor([[[1, 0, 1, 0]]])
    ax = plot_masks(images, said, true)
    pixels = torch.tensor(ax.images[0].get_array())[0, :4]  # (4, 3) in [0, 1]
    plain = torch.tensor([100 / 255] * 3)
    for pixel, color in zip(pixels, PARTS.values(), strict=False):
        assert torch.allclose(pixel, 0.35 * plain + 0.65 * torch.tensor(to_rgb(color)), atol=0.01)
    assert torch.allclose(pixels[3], plain)
    handles = ax.get_legend().legend_handles
    assert [to_rgb(patch.get_facecolor()) for patch in handles] == [
        to_rgb(c) for c in PARTS.values()
    ]


def test_figures_say_what_they_show_in_text_of_11_points():
    images, masks = drawings(2, 0)
    legend = plot_masks(images, masks, masks, ["a", "b"]).get_legend()
    assert all(text.get_fontsize() >= 11 for text in legend.get_texts())
