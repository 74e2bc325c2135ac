"""Masks: they follow their pictures, are scored like other people score them, and are learned."""

from __future__ import annotations

import matplotlib
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from sklearn.metrics import f1_score

import cnnlab
from cnnlab.lessons.segmentation import (
    HIT,
    MISSED,
    dice_scores,
    overlay,
    plot_masks,
    segment,
)
from cnnlab.plotting import COLORS

matplotlib.use("agg")


def drawings(count: int, seed: int, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    insects = cnnlab.draw_insects(count, size, seed)
    return torch.from_numpy(insects.images), torch.from_numpy(insects.masks)


# -- scores ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(0.05, 0.95))
def test_dice_is_the_f1_score_of_the_pixels(seed, share):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(2, 5, 5, generator=generator) < share for _ in range(2))
    for i, score in enumerate(dice_scores(a, b).tolist()):
        f1 = f1_score(b[i].flatten(), a[i].flatten(), zero_division=1.0)
        assert score == pytest.approx(f1)


def test_two_empty_masks_agree_and_one_empty_mask_does_not():
    empty, full = torch.zeros(1, 3, 3), torch.ones(1, 3, 3)
    assert dice_scores(empty, empty).tolist() == [1.0]
    assert dice_scores(empty, full).tolist() == [0.0]


def test_logits_in_place_of_masks_are_named():
    with pytest.raises(ValueError, match="argmax"):
        dice_scores(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3))


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
    found = dice_scores(segment(model, val[0]), val[1]).mean()
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert found > everything + 0.15


# -- any size, and pictures ------------------------------------------------------------------------


def test_a_picture_of_any_size_gets_a_mask_of_its_size():
    model = cnnlab.UNet(2, (4, 8, 16))
    images = torch.randint(0, 256, (2, 3, 21, 34), dtype=torch.uint8)
    assert segment(model, images).shape == (2, 21, 34)
    fitting = images[:, :, :20, :32]
    assert torch.equal(segment(model, fitting), model.eval()(fitting / 255).argmax(1))


def test_with_eight_views_a_turned_picture_gets_the_turned_mask():
    torch.manual_seed(0)
    model = cnnlab.UNet(widths=(4, 8)).eval()
    with torch.no_grad():  # so that about half of the pixels belong to each class
        model.head.bias -= model(torch.rand(2, 3, 16, 16)).mean(dim=(0, 2, 3))
    for images in (torch.rand(2, 3, 16, 16), torch.rand(1, 3, 12, 16)):
        mask = segment(model, images, views=8)
        turned = segment(model, images.rot90(1, (-2, -1)).flip(-1), views=8)
        assert (turned != mask.rot90(1, (-2, -1)).flip(-1)).float().mean() < 0.01  # rounding
        assert 0 < mask.float().mean() < 1


def test_the_overlay_shows_hits_false_alarms_and_misses_in_their_colors():
    images = torch.full((1, 3, 1, 4), 100, dtype=torch.uint8)
    said, true = torch.tensor([[[1, 1, 0, 0]]]), torch.tensor([[[1, 0, 1, 0]]])
    drawn = overlay(images, said, true, alpha=1.0)[0, :, 0].T  # (4, 3)
    expected = [255 * torch.tensor(to_rgb(c)) for c in (HIT, COLORS[1], MISSED)]
    assert torch.allclose(drawn[:3].float(), torch.stack(expected), atol=1.5)
    assert drawn[3].tolist() == [100, 100, 100]


def test_figures_say_what_they_show_in_text_of_11_points():
    images, masks = drawings(2, 0)
    legend = plot_masks(images, masks, masks, ["a", "b"]).get_legend()
    assert all(text.get_fontsize() >= 11 for text in legend.get_texts())
