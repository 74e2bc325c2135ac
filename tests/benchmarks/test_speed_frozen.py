"""Frozen transfer: features once and a linear layer, or every picture through it in every epoch."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest
import timing
import torch
import torchvision
import tutorial
from parts import head_inputs, with_validation
from torch.nn import functional as F

import cnnlab
from cnnlab.data.splits import Split
from cnnlab.lessons import transfer_learning
from cnnlab.models.backbones import Backbone, Normalize

pytestmark = pytest.mark.benchmark


def transfer(folder: Path, backbone: Backbone, size: int) -> float:
    """Learn from the pictures in train/, and return the accuracy on those held out for the test."""
    data = cnnlab.load_image_folder(folder, image_size=size)
    features = cnnlab.extract_features(backbone, data)
    head = transfer_learning.linear_probe(features.train)
    return cnnlab.evaluate(head, features.loaders().test).accuracy


def test_frozen_transfer_is_forty_times_as_fast_and_as_accurate(pictures, report, tmp_path):
    """The tutorial's loop keeps the epoch that its val/ likes best; test/ is looked at once."""
    backbone, size = cnnlab.load_backbone("tiny_resnet"), 112
    seconds, accuracies = ([], []), ([], [])
    for seed in range(3):
        folder = with_validation(pictures.folder, tmp_path / str(seed), seed)
        torch.manual_seed(seed)
        start = time.perf_counter()
        accuracies[0].append(transfer(folder, backbone, size))
        seconds[0].append(time.perf_counter() - start)
        model = tutorial.frozen(backbone.model, num_classes=2)
        seconds[1].append(tutorial.train_model(model, folder, size)[-1][0])
        accuracies[1].append(tutorial.tested(model, folder, size))
    ours, theirs = map(statistics.mean, accuracies)
    report(
        f"frozen transfer, tiny_resnet at {size} px ({pictures.kind})",
        "tutorial's loop, 25 epochs",
        timing.ratios(seconds[1], seconds[0]),
        target=40,
        note=f"{statistics.median(seconds[0]):.2f} s and {statistics.median(seconds[1]):.0f} s; "
        f"test accuracy {ours:.1%} and {theirs:.1%}",
    )
    assert ours >= theirs, (accuracies, "fast, but less accurate")


def test_frozen_transfer_at_224_pixels_is_forty_times_as_fast(pictures, report):
    size, model = 224, torchvision.models.resnet18(weights=None).eval()
    backbone = Backbone(model, Normalize(), [], "random weights", 512, size)
    both_reach_the_same_features(backbone, pictures.folder, size)
    ours, one_epoch = timing.in_turn(
        lambda: transfer(pictures.folder, backbone, size),
        lambda: tutorial.train_model(tutorial.frozen(model, 2), pictures.folder, size, epochs=1),
        repetitions=3,
    )
    theirs = [tutorial.EPOCHS * seconds for seconds in one_epoch]
    report(
        f"frozen transfer, ResNet-18's shape at {size} px ({pictures.kind})",
        "tutorial's loop, 25 × one epoch (all do the same work)",
        timing.ratios(theirs, ours),
        target=40,
        note=f"{statistics.median(ours):.2f} s and {statistics.median(theirs):.0f} s",
    )


@torch.inference_mode()
def both_reach_the_same_features(backbone: Backbone, folder: Path, size: int) -> None:
    data = cnnlab.load_image_folder(folder, image_size=size)
    X = data.val.inputs[:8]
    few = cnnlab.ImageData(*[Split(X, data.val.labels[:8])] * 3, data.classes, "eight")
    ours = cnnlab.extract_features(backbone, few).train.inputs
    theirs = head_inputs(backbone.model, backbone.preprocess(X))
    assert F.cosine_similarity(ours, theirs).min() > 0.999
