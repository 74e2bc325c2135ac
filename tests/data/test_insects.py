"""The drawn ants and bees: repeatable, well masked, and neither too easy nor too hard."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from cnnlab.data.insects import CLASSES, Insects, draw_insect, draw_insects


def fingerprint(insects: Insects) -> str:
    arrays = (insects.images, insects.labels, insects.masks)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_shapes_types_and_balance() -> None:
    insects = draw_insects(20, size=48)
    assert insects.images.shape == (20, 3, 48, 48) and insects.images.dtype == np.uint8
    assert insects.labels.shape == (20,) and insects.labels.dtype == np.int64
    assert insects.masks.shape == (20, 48, 48) and insects.masks.dtype == np.bool_
    assert np.bincount(insects.labels).tolist() == [10, 10]
    assert insects.labels.tolist() not in ([0, 1] * 10, [1, 0] * 10)  # no fixed order


def test_no_insects_are_an_empty_data_set() -> None:
    assert draw_insects(0, size=32).images.shape == (0, 3, 32, 32)


def test_another_process_draws_the_same_pixels() -> None:
    code = """
import sys
from cnnlab.data.insects import draw_insects
insects = draw_insects(6, size=40, seed=3)
for array in (insects.images, insects.labels, insects.masks):
    sys.stdout.buffer.write(array.tobytes())
"""
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    here = draw_insects(6, size=40, seed=3)
    assert hashlib.sha256(other.stdout).hexdigest() == fingerprint(here)


def test_a_larger_data_set_begins_with_the_smaller_one() -> None:
    small, large = draw_insects(5, size=32, seed=4), draw_insects(12, size=32, seed=4)
    first = Insects(large.images[:5], large.labels[:5], large.masks[:5])
    assert fingerprint(small) == fingerprint(first)


def test_a_seed_keeps_its_drawings_from_version_to_version() -> None:
    """Every number in the lessons hangs on them; Pillow may round a gray level otherwise."""
    insects = draw_insects(6, size=64, seed=1)
    assert insects.labels.tolist() == [0, 1, 0, 1, 1, 0]
    brightness = insects.images.mean(axis=(1, 2, 3))
    assert brightness == pytest.approx([89.9, 161.2, 73.48, 102.19, 93.35, 105.55], abs=0.05)
    pixels = insects.masks.sum(axis=(1, 2))
    assert pixels == pytest.approx([732, 364, 549, 930, 619, 610], abs=2)


def test_another_seed_shares_no_picture() -> None:
    pictures = [image.tobytes() for seed in (0, 1) for image in draw_insects(20, 32, seed).images]
    assert len(set(pictures)) == 40


def test_less_litter_shows_the_same_insects_on_a_tidier_ground() -> None:
    usual, tidy = draw_insects(6, 32, seed=5), draw_insects(6, 32, seed=5, litter=0)
    assert (usual.masks == tidy.masks).all()
    assert np.array_equal(usual.images, draw_insects(6, 32, seed=5, litter=9).images)
    changed = (usual.images != tidy.images).any(axis=1)  # (6, 32, 32)
    assert changed[~usual.masks].mean() > 0.1


def test_drawing_leaves_the_global_random_numbers_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_insects(2, size=32)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_masks_cover_a_few_per_cent_to_a_half() -> None:
    covered = draw_insects(200).masks.mean(axis=(1, 2))
    assert covered.min() > 0.01 and covered.max() < 0.5
    assert 0.08 < covered.mean() < 0.25


@pytest.mark.parametrize("kind", CLASSES)
def test_the_picture_changes_under_the_mask_and_hardly_elsewhere(kind: str) -> None:
    for seed in range(10):
        image, mask = draw_insect(kind, 128, np.random.default_rng(seed))
        scene, nothing = draw_insect(None, 128, np.random.default_rng(seed))
        change = np.abs(image.astype(int) - scene).mean(axis=0)  # (H, W)
        assert not nothing.any()
        assert change[mask].mean() > 5
        # Blur and shadow reach a little way; further out, nothing changes at all.
        assert change[~mask].mean() < 0.25 * change[mask].mean()
        assert (change[~mask] == 0).mean() > 0.5


def test_masks_are_more_than_hairlines_at_64_pixels() -> None:
    masks = np.pad(draw_insects(100).masks, [(0, 0), (1, 1), (1, 1)])
    inner = masks[:, 1:-1, 1:-1].copy()
    for rows, columns in ((slice(2, None), slice(1, -1)), (slice(None, -2), slice(1, -1))):
        inner &= masks[:, rows, columns] & masks[:, columns, rows]
    assert inner.sum() > 0.5 * masks.sum()  # most pixels have all four neighbors


@pytest.mark.parametrize("size", [32, 64, 112])
def test_the_scene_is_the_same_at_every_size(size: int) -> None:
    overlaps, correlations = [], []
    for seed in range(12):
        kind = CLASSES[seed % 2]
        image, mask = draw_insect(kind, size, np.random.default_rng(seed))
        large_image, large_mask = draw_insect(kind, 4 * size, np.random.default_rng(seed))
        coarse = large_mask.reshape(size, 4, size, 4).mean(axis=(1, 3)) > 0.5
        overlaps.append((mask & coarse).sum() / (mask | coarse).sum())
        averaged = large_image.reshape(3, size, 4, size, 4).mean(axis=(2, 4))
        correlations.append(np.corrcoef(image.ravel(), averaged.ravel())[0, 1])
    assert np.mean(overlaps) > 0.8
    assert np.mean(correlations) > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": -1}, "must not be negative: count=-1"),
        ({"count": 2, "seed": -5}, "seed=-5"),
        ({"count": 2, "size": 8}, "at least 16 pixels, got 8"),
        ({"count": 0, "size": 0}, "at least 16 pixels, got 0"),
    ],
)
def test_bad_numbers_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_insects(**arguments)


def test_an_unknown_insect_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown kind 'wasps': choose 'ants' or 'bees'"):
        draw_insect("wasps", 64, np.random.default_rng(0))


def small_cnn() -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width in ((3, 16), (16, 32), (32, 64), (64, 64)):
        convolution = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2))


def normalize(images: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(images).float() / 255 - 0.45) / 0.25


def cnn_accuracy(train: Insects, test: Insects, epochs: int, seed: int) -> float:
    X, y = normalize(train.images), torch.from_numpy(train.labels)
    steps = len(X) // 32
    torch.manual_seed(seed)
    model = small_cnn()
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * steps)
    for _ in range(epochs):
        order = torch.randperm(len(X))
        for batch in order[: steps * 32].split(32):
            flips = [axis for axis in (-1, -2) if torch.rand(()) < 0.5]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X[batch].flip(flips)), y[batch]).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        guesses = torch.cat([model(part).argmax(1) for part in normalize(test.images).split(200)])
    return (guesses.numpy() == test.labels).mean().item()


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_too_hard_for_a_linear_classifier_but_not_for_a_small_cnn() -> None:
    test = draw_insects(600, seed=902)
    data = draw_insects(3 * 244, seed=901)
    linear, cnn = [], []
    for k in range(3):
        part = slice(244 * k, 244 * (k + 1))
        train = Insects(data.images[part], data.labels[part], data.masks[part])
        classifier = LogisticRegression(max_iter=100)
        classifier.fit(train.images.reshape(244, -1) / 255.0, train.labels)
        linear.append(classifier.score(test.images.reshape(600, -1) / 255.0, test.labels))
        cnn.append(cnn_accuracy(train, test, epochs=30, seed=k))
    print(f"linear {np.round(linear, 3)}, CNN {np.round(cnn, 3)}, mean {np.mean(cnn):.3f}")
    assert max(linear) < 0.65
    assert 0.60 < np.mean(cnn) < 0.85
    assert np.mean(cnn) > np.mean(linear) + 0.05


@pytest.mark.benchmark
def test_two_thousand_pictures_teach_a_small_cnn_clearly_more() -> None:
    accuracy = cnn_accuracy(draw_insects(2000, seed=903), draw_insects(600, seed=902), 15, seed=0)
    print(f"2,000 training pictures: {accuracy:.3f}")
    assert accuracy > 0.88


@pytest.mark.benchmark
def test_at_least_200_pictures_a_second() -> None:
    draw_insects(10)
    start = time.process_time()
    draw_insects(400)
    rate = 400 / (time.process_time() - start)
    print(f"{rate:.0f} pictures a second at 64 x 64, with masks, on one core")
    assert rate > 200
