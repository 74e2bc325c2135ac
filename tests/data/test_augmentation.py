"""Random views: repeatable, bounded, and each picture its own."""

from __future__ import annotations

import torch

from cnnlab import augment
from cnnlab.data.augmentation import Views, cut_views, draw_views


def test_the_same_seed_gives_the_same_views():
    images = torch.randint(0, 256, (6, 3, 24, 24), dtype=torch.uint8)
    first, second, third = (
        augment(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second) and not torch.equal(first, third)
    assert first.dtype == torch.float32 and first.min() >= 0 and first.max() <= 1


def test_views_of_a_part_are_a_part_of_the_views():
    images = torch.rand(8, 3, 16, 16)
    views = draw_views(8, torch.Generator().manual_seed(0))
    whole = cut_views(images, views)
    odd = Views(views.crops[1::2], views.colors[1::2])
    assert torch.equal(whole[1::2], cut_views(images[1::2], odd))


def test_crops_stay_inside_the_picture():
    crops = draw_views(1000, torch.Generator().manual_seed(0)).crops
    for row in (0, 1):
        assert (crops[:, row, row].abs() + crops[:, row, 2].abs()).max() <= 1 + 1e-6


def test_the_whole_picture_with_plain_colors_is_the_picture():
    images = torch.rand(3, 3, 20, 20)
    whole = torch.eye(2, 3).expand(3, 2, 3)
    assert torch.allclose(cut_views(images, Views(whole, torch.ones(3, 3))), images, atol=1e-5)


def test_a_flip_is_a_flip():
    images = torch.rand(1, 3, 9, 9)
    mirrored = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
    assert torch.allclose(
        cut_views(images, Views(mirrored, torch.ones(1, 3))), images.flip(-1), atol=1e-5
    )


def test_about_half_are_flipped_and_crops_keep_the_smallest_area():
    crops = draw_views(4000, torch.Generator().manual_seed(0), min_area=0.35).crops
    assert 0.45 < (crops[:, 0, 0] < 0).float().mean() < 0.55
    area = crops[:, 0, 0].abs() * crops[:, 1, 1]
    assert area.min() > 0.3 and area.max() <= 1
