"""The cards of well-known datasets: complete, sourced, and drawn so that they can be read."""

from __future__ import annotations

import re
from itertools import combinations

import matplotlib.pyplot as plt
import pytest

from cnnlab.lessons.datasets import dataset_cards, plot_datasets

CARDS = dataset_cards()
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
    assert full.size == "unknown" and "not split" in str(full)


def test_sizes_are_in_powers_of_ten():
    assert CARDS["MNIST"].size == "11.6 MB"
    assert CARDS["COCO"].size == "26.8 GB"
    assert CARDS["Open Images"].size == "561 GB"


def test_a_size_that_varies_is_not_stated_as_exact():
    assert "about 256 × 256" in str(CARDS["ImageNet (full)"])
    assert "pixels    32 × 32, color" in str(CARDS["CIFAR-10"])


def test_cifar_cards_carry_the_shares_of_duplicates():
    assert "3.25 %" in CARDS["CIFAR-10"].note and "10 %" in CARDS["CIFAR-100"].note


def test_the_names_in_the_picture_do_not_overlap():
    ax = plot_datasets(CARDS)
    names = [text for text in ax.texts if "pixels" not in text.get_text()]
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in names]
    assert len(names) == 8  # MNIST and CIFAR are pairs of one size
    assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
    assert min(text.get_size() for text in ax.texts) >= 11
    plt.close(ax.figure)
