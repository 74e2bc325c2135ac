"""The strategies: what may change does, what may not does not, and pretraining shows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cnnlab import extract_features, freeze, load_ants_and_bees, load_backbone
from cnnlab.lessons.transfer_learning import (
    draw_few,
    fine_tune,
    probe_accuracy,
    stage_curve,
    with_head,
)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny_resnet")


@pytest.fixture(scope="module")
def data():
    return load_ants_and_bees("drawn", image_size=32)


def tuned(backbone, data, lr=1e-3, **settings):
    torch.manual_seed(0)
    model = with_head(backbone, nn.Linear(backbone.num_features, 2))
    freeze(model, ["layer4", "fc"], norms=False)
    few, options = draw_few(data, 8), {"head_lr": 1e-2, "epochs": 1, **settings}
    return fine_tune(model, few, backbone.preprocess, lr=lr, **options)


def test_the_copy_answers_by_the_new_head_and_the_backbone_stays(backbone, data):
    head = nn.Linear(backbone.num_features, 2)
    features = extract_features(backbone, data, fast=False)
    X = backbone.preprocess(data.val.inputs[:4])
    with torch.inference_mode():
        got = with_head(backbone, head)(X)
        assert torch.allclose(got, head(features.val.inputs[:4]), atol=1e-4)
    assert backbone.model.fc.out_features == len(backbone.categories)


def test_only_what_is_not_frozen_changes(backbone, data):
    new, old = tuned(backbone, data).state_dict(), backbone.model.state_dict()
    changed = {name for name in old if "fc" not in name and not torch.equal(old[name], new[name])}
    assert changed and all(name.startswith("layer4.") for name in changed)
    assert not [name for name in changed if "bn" in name or "running" in name]


def test_the_two_learning_rates_go_where_they_belong(backbone, data):
    new, old = tuned(backbone, data, lr=0.0).state_dict(), backbone.model.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old if "fc" not in name)
    torch.manual_seed(0)
    start = nn.Linear(backbone.num_features, 2)
    assert not torch.equal(new["fc.weight"], start.weight)


def test_the_same_seed_gives_the_same_weights(backbone, data):
    first, second, other = (
        tuned(backbone, data, seed=seed, batch_size=8).fc.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_a_loss_that_is_not_a_number_stops_it(backbone, data):
    with pytest.raises(ValueError, match="smaller lr"):
        tuned(backbone, data, lr=1e18, head_lr=1e30, epochs=3)


def test_a_probe_on_trained_features_beats_one_on_random_guesses(backbone, data):
    features = extract_features(backbone, data)
    assert sum(probe_accuracy(features, 60, seed) for seed in range(5)) / 5 > 0.55


def test_the_curve_over_the_stages_has_a_place_for_each(backbone, data):
    curve = stage_curve("x", backbone, data, ["relu", "layer4"], per_class=20, seeds=range(2))
    assert curve.accuracies.shape == (2, 2) and curve.sizes == [0, 1]
    assert (curve.accuracies >= 0).all() and (curve.accuracies <= 1).all()
