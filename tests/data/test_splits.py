"""Splits and loaders: every sample once, the same order for the same seed, clear errors."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import Tensor

from cnnlab.data.splits import ImageData, Split, divide, to_float


def make_split(count: int, classes: int = 2, masks: bool = False) -> Split:
    """Samples whose first pixel is their number."""
    inputs = torch.zeros(count, 3, 4, 4, dtype=torch.uint8)
    inputs[:, 0, 0, 0] = torch.arange(count)
    labels = torch.arange(count) % classes
    return Split(inputs, labels, masks=inputs[:, 0] > 5 if masks else None)


def make_data(train: int = 20, val: int = 7, test: int = 9) -> ImageData:
    return ImageData(make_split(train), make_split(val), make_split(test), ["a", "b"], "drawn")


def numbers(loader: object) -> list[list[int]]:
    return [(X[:, 0, 0, 0] * 255).round().int().tolist() for X, _ in loader]


def test_a_split_is_indexed_many_at_a_time() -> None:
    split = make_split(10)
    for index in (slice(2, 5), [2, 3, 4], torch.tensor([2, 3, 4])):
        X, y = split[index]
        assert X[:, 0, 0, 0].tolist() == [2, 3, 4]
        assert y.tolist() == [0, 1, 0]
    X, y = split[3]
    assert X.shape == (3, 4, 4) and y == 1


def test_a_subset_keeps_names_and_masks_together() -> None:
    part = make_split(10, masks=True).subset([7, 2])
    assert part.names == ["sample 7", "sample 2"]
    assert part.masks is not None and part.masks[:, 0, 0].tolist() == [True, False]
    assert make_split(10).subset(torch.arange(10) > 7).labels.tolist() == [0, 1]


def test_parts_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Split(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="differ in length"):
        Split(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), names=["only one"])


def test_labels_are_whole_numbers() -> None:
    with pytest.raises(ValueError, match=r"int64 class numbers, got torch\.float32"):
        Split(torch.zeros(3, 2), torch.zeros(3))


@pytest.mark.parametrize("label", [-1, 2, 7])
def test_a_label_outside_the_range_names_the_sample(label: int) -> None:
    bad = make_split(6)
    bad.labels[4:] = label
    with pytest.raises(
        ValueError, match=rf"val sample 4 \(sample 4\) has the label {label}, .*0…1"
    ):
        ImageData(make_split(6), bad, make_split(6), ["a", "b"], "drawn")


def test_every_sample_comes_once_an_epoch() -> None:
    loaders = make_data().loaders(batch_size=6)
    assert sorted(chain(*numbers(loaders.train))) == list(range(20))
    assert numbers(loaders.val) == [[0, 1, 2, 3, 4, 5], [6]]
    assert numbers(loaders.test)[1] == [6, 7, 8]


def test_batches_are_float_images_and_int_labels() -> None:
    for loader in make_data().loaders(batch_size=6):
        X, y = next(iter(loader))
        assert X.shape == (6, 3, 4, 4) and X.dtype == torch.float32
        assert y.shape == (6,) and y.dtype == torch.int64
        assert X.max() <= 1


def test_the_same_seed_gives_the_same_epochs() -> None:
    first, again, other = (make_data().loaders(4, seed=seed).train for seed in (1, 1, 2))
    epochs = [numbers(first), numbers(first)]
    assert epochs == [numbers(again), numbers(again)]
    assert epochs[0] != epochs[1], "every epoch is shuffled anew"
    assert epochs[0] != numbers(other)


def test_a_checkpoint_of_the_generator_resumes_the_order() -> None:
    loader = make_data().loaders(4).train
    numbers(loader)
    state = loader.generator.get_state()
    wanted = numbers(loader)
    resumed = make_data().loaders(4).train
    resumed.generator.set_state(state)
    assert numbers(resumed) == wanted


def test_loading_leaves_global_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    for loader in make_data().loaders(4):
        list(loader)
    assert torch.equal(before, torch.get_rng_state())


def test_augmentation_is_for_training_only_and_seeded() -> None:
    def brighten(images: Tensor, generator: torch.Generator) -> Tensor:
        assert images.dtype == torch.uint8
        noise = torch.randint(100, 200, (len(images), 1, 1, 1), generator=generator)
        return (images + noise).to(torch.uint8)

    plain = make_data().loaders(5)
    augmented, again = (make_data().loaders(5, augment=brighten) for _ in range(2))
    assert numbers(augmented.val) == numbers(plain.val)
    batches = numbers(augmented.train)
    assert min(chain(*batches)) >= 100
    assert batches == numbers(again.train)


def test_transform_replaces_to_float() -> None:
    loaders = make_data().loaders(5, transform=lambda batch: batch.double() - 1)
    X, _ = next(iter(loaders.test))
    assert X.dtype == torch.float64 and X.min() == -1


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(9, 4, [4, 4]), (10, 4, [4, 4, 2]), (3, 1, [1, 1, 1]), (1, 4, [1]), (4, 4, [4])],
)
def test_only_a_last_single_sample_is_left_out(
    count: int, batch_size: int, sizes: list[int]
) -> None:
    loader = make_data(train=count).loaders(batch_size).train
    assert [len(y) for _, y in loader] == sizes
    assert len(loader) == len(sizes)


@pytest.mark.parametrize("batch_size", [0, -3, 2.5, "8", None])
def test_a_bad_batch_size_is_refused(batch_size: object) -> None:
    with pytest.raises(ValueError, match="batch_size must be a whole number ≥ 1"):
        make_data().loaders(batch_size)  # type: ignore[arg-type]


@pytest.mark.parametrize("empty", ["train", "val", "test"])
def test_an_empty_split_is_named(empty: str) -> None:
    data = make_data(**{empty: 0})
    with pytest.raises(ValueError, match=f"the {empty} split is empty"):
        data.loaders()


def test_the_summary_counts_each_class() -> None:
    assert repr(make_data(5, 2, 3)) == (
        "ImageData(drawn, 3 × 4 × 4; train 5: 3 × a, 2 × b; val 2: 1 × a, 1 × b; "
        "test 3: 2 × a, 1 × b)"
    )


def test_features_pass_through() -> None:
    features = Split(torch.randn(6, 5), torch.tensor([0, 1] * 3))
    X, _ = next(iter(ImageData(features, features, features, ["a", "b"], "x").loaders(6).val))
    assert torch.equal(X, features.inputs)
    assert to_float(features.inputs) is features.inputs


def test_dividing_keeps_the_proportions_and_loses_nothing() -> None:
    split = Split(torch.arange(100)[:, None].float(), torch.tensor([0] * 80 + [1] * 20))
    rest, held = divide(split, 0.25, seed=3)
    assert rest.labels.bincount().tolist() == [60, 15]
    assert held.labels.bincount().tolist() == [20, 5]
    assert sorted([*rest.inputs[:, 0].tolist(), *held.inputs[:, 0].tolist()]) == list(range(100))
    assert held.names == divide(split, 25, seed=3)[1].names
    assert held.names != divide(split, 25, seed=4)[1].names


@pytest.mark.parametrize("held_out", [0.0, 1.0, 1.5, 0.01, 10])
def test_a_split_that_cannot_be_divided_says_so(held_out: float) -> None:
    with pytest.raises(ValueError, match=r"hold(ing)? out .* of 10 samples"):
        divide(make_split(10), held_out)
