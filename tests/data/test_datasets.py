"""Which data are used, what is said about it, and how they are split."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from misbehaving_server import MisbehavingServer

from cnnlab import load_ants_and_bees, load_mnist
from cnnlab.data import datasets, downloads
from cnnlab.data.splits import ImageData

SMALL = 24  # pixels; drawing is quick then


@pytest.fixture
def offline(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")


@pytest.fixture(scope="module")
def drawn() -> ImageData:
    return load_ants_and_bees("drawn", SMALL)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw 60 pictures instead of 844."""
    monkeypatch.setattr(datasets, "DRAWN_TRAIN", 40)
    monkeypatch.setattr(datasets, "DRAWN_TEST", 20)


# ----------------------------------------------------------------------------------- ants and bees


def test_offline_ants_and_bees_are_drawn_and_say_so(
    offline: None, few: None, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_ants_and_bees(image_size=SMALL)
    assert data.source == "drawn"
    assert capsys.readouterr().out == (
        "Data: 60 drawn ants and bees (offline). For 397 photographs of ants and bees: "
        "`cnnlab fetch ants_and_bees`, or set CNNLAB_MIRROR.\n"
    )


@pytest.mark.parametrize("behavior", ["silence", "missing", "login", "trickle", "half"])
def test_a_bad_network_does_not_stop_the_class(
    own_cache: Path,
    server: MisbehavingServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    behavior: str,
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", 0.3)
    monkeypatch.setenv("CNNLAB_OFFLINE", "")
    monkeypatch.setenv("CNNLAB_MIRROR", server.url(behavior))
    key = next(iter(downloads.checksums("mnist")))
    server.files = {key: bytes(100_000)}
    table = downloads.resources()
    table["mnist"]["urls"] = {key: server.url(behavior, key)}
    monkeypatch.setattr(downloads, "resources", lambda: table)
    assert load_mnist().source == "digits"
    out = capsys.readouterr().out
    assert out.startswith("Data: scikit-learn's 1,797 handwritten digits (")
    assert out.count("\n") == 1
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_a_mistyped_mirror_is_mentioned(
    offline: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CNNLAB_MIRROR", "/no/such/folder")
    load_mnist()
    assert re.search(r"\(.*No such file.*; offline\)", capsys.readouterr().out)


def test_photographs_that_cannot_be_had_are_an_error(offline: None) -> None:
    with pytest.raises(downloads.DownloadError, match="set CNNLAB_MIRROR"):
        load_ants_and_bees("photos")


@pytest.mark.parametrize("load", [load_ants_and_bees, load_mnist])
def test_an_unknown_source_lists_the_known_ones(load: object) -> None:
    with pytest.raises(ValueError, match=r"source must be one of auto, .*; got 'cats'"):
        load("cats")  # type: ignore[operator]


def test_drawings_have_masks_and_the_sizes_of_the_photographs(drawn: ImageData) -> None:
    assert [len(split) for split in drawn.splits().values()] == [195, 49, 600]
    for split in drawn.splits().values():
        assert split.inputs.shape[1:] == (3, SMALL, SMALL)
        assert split.masks is not None and split.masks.shape[1:] == (SMALL, SMALL)
        balance = split.labels.float().mean()
        assert 0.45 < balance < 0.55


def test_no_drawing_is_in_two_splits(drawn: ImageData) -> None:
    images = torch.cat([split.inputs for split in drawn.splits().values()]).flatten(1)
    assert len(np.unique(images.numpy(), axis=0)) == 844


def test_the_seed_moves_only_the_validation_set(few: None) -> None:
    first, again, other = (load_ants_and_bees("drawn", SMALL, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(other.test.inputs, first.test.inputs)
    assert again.val.names == first.val.names != other.val.names


def test_the_share_for_validation_can_be_chosen(few: None) -> None:
    assert len(load_ants_and_bees("drawn", SMALL, val_fraction=0.5).val) == 20
    with pytest.raises(ValueError, match=r"hold out 1\.5"):
        load_ants_and_bees("drawn", SMALL, val_fraction=1.5)


@pytest.mark.photos
def test_photographs_original_val_is_the_test_set(photos: Path) -> None:
    data = load_ants_and_bees("photos", 32)
    counts = [split.labels.bincount().tolist() for split in data.splits().values()]
    assert counts == [[98, 97], [25, 24], [70, 83]]
    assert all("/val/" in name for name in data.test.names)
    assert all("/train/" in name for name in data.train.names + data.val.names)
    assert set(data.train.names).isdisjoint(data.val.names)
    assert data.source == "photos"


@pytest.mark.photos
def test_photographs_labels_are_their_folders(photos: Path) -> None:
    data = load_ants_and_bees("photos", 32)
    for split in data.splits().values():
        folders = [name.split("/")[-2] for name in split.names]
        assert folders == [data.classes[label] for label in split.labels]


@pytest.mark.photos
def test_the_stray_file_is_reported(photos: Path) -> None:
    assert load_ants_and_bees("auto", 32).skipped == [
        "train/ants/imageNotFound.gif: not one of the 397 photographs"
    ]


# ------------------------------------------------------------------------------------------ digits


def test_digits_look_like_mnist() -> None:
    data = load_mnist("digits")
    assert [len(split) for split in data.splits().values()] == [1150, 287, 360]
    images = data.train.inputs
    assert images.shape == (1150, 1, 28, 28) and images.dtype == torch.uint8
    assert images[:, :, :4].max() == 0 and images[:, :, :, -4:].max() == 0, "a frame of 4 pixels"
    assert images.max() > 200
    assert data.classes == list("0123456789")
    for split in data.splits().values():
        assert len(split.labels.unique()) == 10


def test_digits_are_upright_and_match_their_labels() -> None:
    data = load_mnist("digits")
    zeros = data.train.inputs[data.train.labels == 0, 0].float().mean(dim=0)
    assert zeros[14, 14] < 30 < 150 < zeros[14, 7:21].max(), "a zero is hollow"


def test_a_limit_keeps_the_proportions() -> None:
    data = load_mnist("digits", limit=200)
    assert len(data.train) == 200
    assert data.train.labels.bincount().min() >= 18
    assert len(load_mnist("digits", limit=10**6).train) == 1150


@pytest.mark.parametrize("limit", [0, -5, 3])
def test_a_limit_that_loses_digits_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match=f"hold out {limit} of 1150"):
        load_mnist("digits", limit=limit)


def test_mnist_is_split_off_stratified(mnist: Path) -> None:
    data = load_mnist("mnist", limit=1000)
    assert [len(split) for split in data.splits().values()] == [1000, 5000, 10_000]
    assert data.train.inputs.shape == (1000, 1, 28, 28)
    assert data.source == "mnist"
