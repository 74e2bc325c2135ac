"""Lesson 01: cards that are complete and sourced, and figures that can be read."""

from __future__ import annotations

import re
from itertools import combinations

import matplotlib.pyplot as plt
import pytest
import torch
from torchvision import datasets as torchvision_datasets

from cnnlab.lessons.datasets import (
    plot_datasets,
    plot_distances,
    plot_errors,
    read_cards,
    shift_turn_scale,
)

CARDS = read_cards()
every_card = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS.keys())


def test_the_ten_datasets_of_the_lesson_have_a_card():
    assert list(CARDS) == [
        "MNIST", "Fashion-MNIST", "CIFAR-10", "CIFAR-100", "SVHN", "Tiny-ImageNet",
        "ImageNet (competition)", "ImageNet (full)", "COCO", "Open Images",
    ]  # fmt: skip


@every_card
def test_every_card_names_its_source_with_a_year(card):
    assert re.search(r"\((19|20)\d\d\)", card.source)
    assert card.license and card.note and card.task
    assert 1998 <= card.year <= 2026


@every_card
def test_a_card_shows_all_that_was_asked_for(card):
    text = str(card)
    for value in (card.name, f"{card.train:,}", f"{card.classes:,}", card.license, card.source):
        assert value in text
    assert max(map(len, text.splitlines())) <= 90


def test_the_two_imagenets_are_told_apart():
    part, full = CARDS["ImageNet (competition)"], CARDS["ImageNet (full)"]
    assert (part.train, part.classes) == (1_281_167, 1_000)
    assert (full.images, full.classes) == (14_197_122, 21_841)
    assert "size unknown" in str(full) and "not split" in str(full)


@pytest.mark.parametrize(
    ("name", "size"), [("MNIST", "11.6 MB"), ("COCO", "26.8 GB"), ("Open Images", "561.0 GB")]
)
def test_sizes_are_in_powers_of_ten(name, size):
    assert f"download  {size}" in str(CARDS[name])


@every_card
def test_the_class_that_reads_a_dataset_is_torchvisions(card):
    if card.torchvision:
        assert card.torchvision in torchvision_datasets.__all__
        assert f"torchvision.datasets.{card.torchvision}" in str(card)


def test_a_size_that_varies_is_not_stated_as_exact():
    assert "about 256 × 256" in str(CARDS["ImageNet (full)"])
    assert "pixels    32 × 32, color" in str(CARDS["CIFAR-10"])


def test_cifar_cards_carry_the_shares_of_duplicates():
    """Counted in ciFAIR's lists: 286 and 891 of 10,000 have their double in the training set."""
    assert "2.86 %" in CARDS["CIFAR-10"].note and "8.91 %" in CARDS["CIFAR-100"].note


def test_the_names_in_the_picture_do_not_overlap():
    ax = plot_datasets(CARDS)
    names = [text for text in ax.texts if "pixels" not in text.get_text()]
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in names]
    assert len(names) == 8  # MNIST and CIFAR are pairs of one size
    assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
    assert min(text.get_size() for text in ax.texts) >= 11
    plt.close(ax.figure)


def test_shifting_does_not_mirror_and_keeps_shape_and_range():
    left = torch.zeros(200, 1, 28, 28, dtype=torch.uint8)
    left[..., 4:9] = 255  # a bar at the left
    out = shift_turn_scale(left, torch.Generator().manual_seed(0))
    assert out.shape == left.shape and out.min() >= 0 and out.max() <= 1
    bright = (out * torch.arange(28.0)).sum(dim=(1, 2, 3)) / out.sum(dim=(1, 2, 3))
    assert bright.max() < 14 and bright.std() > 0.5  # moved, but never to the other side


def test_errors_are_drawn_as_they_are_and_the_axes_are_named():
    train, val = torch.tensor([0.0, 0.1]), torch.tensor([0.4, 0.2])
    ax = plot_errors([30, 300], {"narrow": (train, val), "wide": (train, val / 2)})
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_xdata())]
    expected = [val, train, val / 2, train]
    assert all(
        torch.equal(a, b) for a, b in zip(map(torch.as_tensor, drawn), expected, strict=True)
    )
    assert ax.get_xlabel() == "training images" and ax.get_ylabel() == "error"
    plt.close(ax.figure)


def test_every_image_stands_in_the_histogram_once():
    bits = torch.tensor([0, 3, 20, 25, 25])
    ax = plot_distances(bits, bits < 5, threshold=8)
    assert sum(bar.get_height() for bar in ax.patches) == 5
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {
        "planted duplicates", "new images", "threshold",
    }  # fmt: skip
    plt.close(ax.figure)
