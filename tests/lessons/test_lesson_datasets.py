"""Lesson 01: cards that are complete and sourced, and figures that can be read."""

from __future__ import annotations

import re
from itertools import combinations

import matplotlib.pyplot as plt
import pytest
import torch
from torchvision import datasets as torchvision_datasets

from cnnlab.data.splits import ImageData, Split
from cnnlab.lessons.datasets import plot_classes, plot_datasets, read_cards

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


def test_a_class_is_shown_by_one_of_its_images_and_named():
    images = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    images[2:4] = 255
    split = Split(images, torch.tensor([0, 0, 2, 2, 1, 1]))
    ax = plot_classes(ImageData(split, split, split, ["ant", "bee", "wild_cat"], "test"))
    assert [text.get_text() for text in ax.texts] == ["ant", "bee", "wild\ncat"]
    mosaic = ax.images[0].get_array()[:8]  # the rows of the images, above their names
    assert mosaic[:, :8].max() == 0 and mosaic[:, -10:-4].min() == 1
    plt.close(ax.figure)
