"""Perceptual hash and search: what they find, what they miss, and how that is counted."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch

from cnnlab.data.insects import draw_insects
from cnnlab.data.splits import Split
from cnnlab.lessons.datasets import (
    ALTERATIONS,
    Matches,
    dhash,
    find_matches,
    hash_distances,
    plant_duplicates,
    plot_search,
    search_quality,
)

THRESHOLD = 8


@pytest.fixture(scope="module")
def splits():
    drawn = draw_insects(80, size=64, seed=1)
    whole = Split(torch.from_numpy(drawn.images), torch.from_numpy(drawn.labels))
    return whole.subset(slice(40)), whole.subset(slice(40, 80))


@pytest.fixture(scope="module")
def planted(splits):
    return plant_duplicates(*splits, each=5)


def test_distances_count_the_bits_that_differ():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(n, 64, generator=generator) < 0.5 for n in (5, 7))
    assert torch.equal(hash_distances(a, b), (a[:, None] != b).sum(dim=-1).int())


def test_the_hash_has_64_bits_and_ignores_brightness_and_contrast():
    pictures = torch.rand(4, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    assert dhash(pictures).shape == (4, 64) and dhash(pictures).dtype == torch.bool
    assert torch.equal(dhash(pictures), dhash(0.3 * pictures + 0.5))


@pytest.mark.parametrize("kind", [kind for kind in ALTERATIONS if kind != "cropped"])
def test_altered_copies_are_found_with_their_partner(kind, splits):
    train, _ = splits
    copies = torch.stack([ALTERATIONS[kind](picture) for picture in train.inputs])
    assert copies.dtype == torch.uint8 and copies.shape == train.inputs.shape
    matches = find_matches(train.inputs, copies)
    found = (matches.distance <= THRESHOLD) & (matches.partner == torch.arange(len(train)))
    assert found.float().mean() >= 0.9


def test_cropped_copies_escape(splits):
    train, _ = splits
    copies = torch.stack([ALTERATIONS["cropped"](picture) for picture in train.inputs])
    assert (find_matches(train.inputs, copies).distance <= THRESHOLD).float().mean() < 0.5


@pytest.mark.parametrize("kind", [kind for kind in ALTERATIONS if kind != "copied"])
def test_an_alteration_changes_the_picture(kind, splits):
    picture = splits[0].inputs[0]
    before = picture.clone()
    assert not torch.equal(ALTERATIONS[kind](picture), picture)
    assert torch.equal(picture, before)


def test_planted_pictures_keep_their_labels_and_come_after_the_new_ones(splits, planted):
    train, test = splits
    count = 5 * len(ALTERATIONS)
    assert len(planted.split) == len(test) + count == len(planted.kinds)
    assert torch.equal(planted.split.inputs[: len(test)], test.inputs)
    sources = planted.source[len(test) :]
    assert (planted.source[: len(test)] == -1).all() and len(sources.unique()) == count
    assert torch.equal(planted.split.labels[len(test) :], train.labels[sources])
    assert torch.equal(planted.split.inputs[len(test)], train.inputs[sources[0]])  # copied


def test_planting_is_the_same_with_the_same_seed(splits, planted):
    again = plant_duplicates(*splits, each=5)
    assert torch.equal(again.split.inputs, planted.split.inputs)
    other = plant_duplicates(*splits, each=5, seed=1)
    assert not torch.equal(other.source, planted.source)


def test_more_duplicates_than_pictures_are_refused(splits):
    with pytest.raises(ValueError, match="42 duplicates asked for, but only 40"):
        plant_duplicates(*splits, each=7)


def test_the_search_is_precise_and_its_recall_lacks_the_cropped(splits, planted):
    matches = find_matches(splits[0].inputs, planted.split.inputs)
    precision, recall = search_quality(matches, planted.source, THRESHOLD)
    assert precision > 0.95 and 0.7 < recall < 0.95
    low, high = (search_quality(matches, planted.source, bits) for bits in (0, 20))
    assert low[1] < recall <= high[1] and high[0] < precision  # the trade-off


def test_the_right_number_of_bits_with_the_wrong_partner_is_no_hit():
    matches = Matches(torch.tensor([0, 0]), torch.tensor([3, 4]))
    assert search_quality(matches, torch.tensor([3, 5]), 0) == (0.5, 0.5)


def test_finding_nothing_is_precise_but_useless():
    matches = Matches(torch.tensor([9, 9]), torch.tensor([0, 1]))
    assert search_quality(matches, torch.tensor([0, -1]), 3) == (1.0, 0.0)
    assert search_quality(matches, torch.tensor([-1, -1]), 3) == (1.0, 0.0)


def test_the_figure_shows_every_picture_once(splits, planted):
    matches = find_matches(splits[0].inputs, planted.split.inputs)
    ax = plot_search(matches, planted.source, THRESHOLD)
    assert sum(bar.get_height() for bar in ax.patches) == len(planted.split)
    assert ax.get_xlabel() and ax.get_ylabel()
    plt.close(ax.figure)
