"""Lesson 05: zero-shot, probe, features of every stage, fine-tuning, small draws, intervals."""

from __future__ import annotations

import copy
import dataclasses

import matplotlib.pyplot as plt
import pytest
import torch
from scipy.stats import ttest_1samp
from sklearn.linear_model import LogisticRegression
from taught import taught
from torch import nn

import cnnlab
from cnnlab import ImageData
from cnnlab.data.splits import Split
from cnnlab.lessons.transfer_learning import (
    LearningCurve,
    draw_few,
    linear_probe,
    plot_learning_curves,
    reinitialize,
    stage_features,
)
from cnnlab.models.backbones import Backbone, find_head


class Colors(nn.Module):
    """Logits are the mean red, green and blue of the image, made sharp."""

    def __init__(self):
        super().__init__()
        self.maps = nn.AvgPool2d(2)
        self.dark = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.eye_(self.dark.weight.data.view(3, 3))
        self.dark.weight.data.neg_()

    def forward(self, x):
        return -self.dark(self.maps(x)).mean((2, 3)) * 20


@pytest.fixture
def backbone():
    return Backbone(Colors(), nn.Identity(), ["red", "green", "blue"], "colors", 3, 4)


@pytest.fixture
def colors():
    images = torch.eye(3)[[0, 1, 2, 1]][:, :, None, None].expand(-1, -1, 4, 4).contiguous()
    return Split(images, torch.tensor([0, 1, 1, 0]), classes=["warm", "cold"])


# -------------------------------------------------------------------- what stands in the lesson


def zero_shot(backbone, split, columns):
    names = {"backbone": backbone, "columns": columns}
    return taught("05", "zero_shot", torch=torch, nn=nn, cnnlab=cnnlab, **names)(split)


def test_zero_shot_asks_the_old_classes(backbone, colors):
    result = zero_shot(backbone, colors, [0, 2])
    assert result.predictions.tolist() == [0, 0, 1, 0] and result.accuracy == 0.75
    assert torch.allclose(result.probabilities.sum(1), torch.ones(4))


def test_zero_shot_compares_two_classes_and_no_others(backbone):
    gray = Split(torch.full((1, 3, 4, 4), 0.5), torch.tensor([0]), classes=["warm", "cold"])
    result = zero_shot(backbone, gray, [0, 1])
    assert torch.allclose(result.probabilities, torch.full((1, 2), 0.5))


@pytest.fixture(scope="module")
def pretrained():
    return cnnlab.load_backbone("tiny_resnet")


@pytest.fixture(scope="module")
def drawn():
    return cnnlab.load_ants_and_bees("drawn", image_size=32)


def with_head(backbone, head):
    names = {"copy": copy, "find_head": find_head, "device": "cpu", "backbone": backbone}
    return taught("05", "with_head", torch=torch, cnnlab=cnnlab, **names)(head)


def tuned(backbone, data, lr=1e-3, batch_size=16, **settings):
    torch.manual_seed(0)
    model = with_head(backbone, nn.Linear(backbone.num_features, 2))
    cnnlab.freeze(model, ["layer4", "fc"], norms=False)
    names = {"find_head": find_head, "HEAD_RATE": 1e-2, "BATCH_SIZE": batch_size}
    names |= {"torch": torch, "cnnlab": cnnlab, "backbone": backbone}
    return taught("05", "fine_tune", **names)(model, draw_few(data, 8), lr, 1, **settings)


def test_the_copy_answers_by_the_new_head_and_the_backbone_stays(pretrained, drawn):
    head = nn.Linear(pretrained.num_features, 2)
    features = cnnlab.extract_features(pretrained, drawn, precision="float32")
    X = pretrained.preprocess(drawn.val.inputs[:4])
    with torch.inference_mode():
        got = with_head(pretrained, head)(X)
        assert torch.allclose(got, head(features.val.inputs[:4]), atol=1e-4)
    assert pretrained.model.fc.out_features == len(pretrained.categories)


def test_only_what_is_not_frozen_changes(pretrained, drawn):
    new, old = tuned(pretrained, drawn).state_dict(), pretrained.model.state_dict()
    changed = {name for name in old if "fc" not in name and not torch.equal(old[name], new[name])}
    assert changed and all(name.startswith("layer4.") for name in changed)
    assert not [name for name in changed if "bn" in name or "running" in name]


def test_the_two_learning_rates_go_where_they_belong(pretrained, drawn):
    new, old = tuned(pretrained, drawn, lr=0.0).state_dict(), pretrained.model.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old if "fc" not in name)
    torch.manual_seed(0)
    start = nn.Linear(pretrained.num_features, 2)
    assert not torch.equal(new["fc.weight"], start.weight)


def test_the_same_seed_gives_the_same_weights(pretrained, drawn):
    first, second, other = (
        tuned(pretrained, drawn, seed=seed, batch_size=8).fc.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_a_probe_on_trained_features_beats_one_on_random_guesses(pretrained, drawn):
    features = cnnlab.extract_features(pretrained, drawn)
    names = {"cnnlab": cnnlab, "transfer_learning": cnnlab.lessons.transfer_learning}
    accuracy = taught("05", "probe_accuracy", **names)
    assert sum(accuracy(features, 60, seed) for seed in range(5)) / 5 > 0.55


# ------------------------------------------------------------------------ probes and features


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_probe_gives_the_probabilities_of_logistic_regression(num_classes):
    torch.manual_seed(0)
    X = torch.randn(60, 5) * torch.tensor([1.0, 10, 0.1, 1, 1]) + 3
    y = torch.arange(60) % num_classes
    X[:, 0] += y
    standard = (X - X.mean(0)) / X.std(0)
    wanted = LogisticRegression(C=0.5).fit(standard.numpy(), y.numpy())
    probe = linear_probe(Split(X, y), strength=0.5)
    got = probe(X).softmax(1).detach()
    assert torch.allclose(got, torch.from_numpy(wanted.predict_proba(standard)).float(), atol=1e-3)
    assert probe.weight.shape == (num_classes, 5)


def test_a_feature_that_never_changes_does_no_harm():
    X = torch.cat([torch.ones(20, 1), torch.arange(20.0)[:, None]], dim=1)
    probe = linear_probe(Split(X, (torch.arange(20) > 9).long()), strength=1.0)
    assert probe.weight.isfinite().all() and probe.bias.isfinite().all()
    assert (probe(X).argmax(1) == (torch.arange(20) > 9)).all()


def test_the_probe_needs_a_sample_of_every_class():
    with pytest.raises(ValueError, match="2 classes, but samples of 1 only"):
        linear_probe(Split(torch.rand(3, 2), torch.zeros(3, dtype=torch.int64), classes=["a", "b"]))


def test_stage_features_are_means_over_positions(backbone, colors):
    data = ImageData(colors, colors, colors, colors.classes, "colors")
    stages = stage_features(backbone, data, ["maps", "dark"], batch_size=3)
    wanted = colors.inputs.mean((2, 3))
    assert torch.allclose(stages["maps"].train.inputs, wanted)
    assert torch.allclose(stages["dark"].test.inputs, -wanted)
    assert stages["maps"].val.labels is colors.labels and "maps" in stages["maps"].source
    assert not backbone.model.maps._forward_hooks, "no hook is left behind"


def test_one_channel_becomes_three_and_images_are_scaled(backbone):
    digits = Split(torch.full((2, 1, 2, 2), 51, dtype=torch.uint8), torch.tensor([0, 1]))
    data = ImageData(digits, digits, digits, ["0", "1"], "digits")
    seen = []
    hook = backbone.model.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].shape))
    stages = stage_features(backbone, data, ["maps"], image_size=8)
    hook.remove()
    assert set(seen) == {torch.Size([2, 3, 8, 8])}
    assert torch.allclose(stages["maps"].train.inputs, torch.full((2, 3), 0.2))


# ------------------------------------------------------------------------- draws and curves


@pytest.fixture
def data():
    def split(first, count):
        numbers = torch.arange(first, first + count)
        return Split(numbers[:, None].float(), numbers % 2, [f"sample {i}" for i in numbers])

    return ImageData(split(0, 40), split(40, 20), split(60, 10), ["even", "odd"], "numbers")


def numbers(split):
    return set(split.inputs.flatten().tolist())


def test_a_draw_learns_from_none_of_what_it_is_measured_on(data):
    few = draw_few(data, 15, seed=3)
    assert few.train.labels.bincount().tolist() == [15, 15]
    assert not numbers(few.train) & numbers(few.val)
    assert numbers(few.train) | numbers(few.val) < set(range(60))
    assert few.test is data.test and len(few.val) == len(data.val)


def test_a_small_draw_is_part_of_a_larger_one_and_is_measured_on_the_same(data):
    small, large = draw_few(data, 5, seed=1), draw_few(data, 15, seed=1)
    assert numbers(small.train) < numbers(large.train)
    assert torch.equal(small.val.inputs, large.val.inputs)


def test_another_seed_draws_and_measures_other_samples_the_same_seed_the_same(data):
    first, second, again = (draw_few(data, 5, seed) for seed in (0, 1, 0))
    assert numbers(first.train) != numbers(second.train)
    assert numbers(first.val) != numbers(second.val)
    assert torch.equal(first.train.inputs, again.train.inputs)


def test_images_and_their_features_are_drawn_alike(data):
    parts = {
        name: dataclasses.replace(split, inputs=split.inputs * 2)
        for name, split in data.splits().items()
    }
    features = dataclasses.replace(data, **parts)
    few, few_features = draw_few(data, 7, 2), draw_few(features, 7, 2)
    assert few.train.names == few_features.train.names
    assert torch.equal(few.train.inputs * 2, few_features.train.inputs)


@pytest.mark.parametrize("count", [0, 21])
def test_a_draw_says_how_many_there_are(data, count):
    with pytest.raises(ValueError, match="1 to 20"):
        draw_few(data, count)


def test_the_interval_is_the_one_of_the_t_test():
    accuracies = torch.tensor([[0.6, 0.8], [0.7, 0.85], [0.75, 0.8], [0.65, 0.9]])
    low, high = LearningCurve("x", [5, 10], accuracies).interval(0.9)
    for k in range(2):
        wanted = ttest_1samp(accuracies[:, k].numpy(), 0).confidence_interval(0.9)
        assert (low[k].item(), high[k].item()) == pytest.approx(tuple(wanted), abs=1e-6)


def test_the_luck_that_two_curves_share_cancels_in_their_difference():
    luck = torch.tensor([[-0.2], [0.0], [0.2]])
    difference = LearningCurve("a", [5], 0.8 + luck).minus(LearningCurve("b", [5], 0.7 + luck))
    low, high = difference.interval()
    assert (low.item(), high.item()) == pytest.approx((0.1, 0.1), abs=1e-6)
    assert difference.name == "a minus b"


def test_the_figure_shows_every_curve_its_sizes_and_the_baseline():
    curves = [
        LearningCurve(name, [5, 20], torch.tensor([[0.6, 0.7], [0.65, 0.8]])) for name in "ab"
    ]
    axes = plot_learning_curves(curves, 0.5)
    axes.figure.canvas.draw()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["5", "20"]
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    assert labels == {"a", "b", "majority class"}
    assert len(axes.collections) == 2, "intervals for each curve"
    plt.close(axes.figure)


def test_reinitializing_forgets_everything_and_leaves_the_global_random_numbers():
    trained = cnnlab.load_backbone("tiny_resnet").model
    state = torch.get_rng_state()
    first, second, other = (reinitialize(copy.deepcopy(trained), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all((b == 0).all() for n, b in first.named_buffers() if "running_mean" in n)
    for name, old in trained.named_parameters():
        new = first.get_parameter(name)
        assert not torch.equal(old, new)
        assert torch.equal(new, second.get_parameter(name))
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
