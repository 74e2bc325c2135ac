"""How much of the machine's own multiplication rate `extract_features` reaches (roofline)."""

from __future__ import annotations

import time

import pytest
import timing
import torch
import torchvision
from parts import head_inputs
from torch.nn import functional as F

import cnnlab
from cnnlab.complexity import count_macs
from cnnlab.data.splits import Split
from cnnlab.models.backbones import Backbone, Normalize
from cnnlab.runtime import fast_dtype

pytestmark = [pytest.mark.benchmark, pytest.mark.usefixtures("one_thread")]

SIDE, COUNT = 2048, 64
DTYPE = fast_dtype(torch.device("cpu")) or torch.float32


def test_features_reach_sixty_per_cent_of_the_matmul_rate(report):
    model, size = torchvision.models.resnet18().eval(), 224
    backbone = Backbone(model, Normalize(), [], "random weights", 512, size)
    pixels = torch.randint(256, (COUNT, 3, size, size), dtype=torch.uint8)
    labels, one = torch.arange(COUNT) % 2, torch.zeros(1, 3, size, size, dtype=torch.uint8)
    single = Split(one, torch.tensor([0]))
    data = cnnlab.ImageData(Split(pixels, labels), single, single, ["a", "b"], "noise")
    ours = cnnlab.extract_features(backbone, data).train.inputs[:8]
    plain = head_inputs(model, Normalize()(pixels[:8]))
    assert F.cosine_similarity(ours, plain).min() > 0.999

    left, right = torch.randn(2, SIDE, SIDE).to(DTYPE)
    matmul, features = timing.in_turn(
        lambda: left @ right,
        lambda: cnnlab.extract_features(backbone, data),
        repetitions=9,
        clock=time.process_time,
    )
    rates = [2 * SIDE**3 / seconds for seconds in matmul]
    work = 2 * count_macs(model, (3, size, size)) * (COUNT + 2)
    reached = [work / seconds for seconds in features]
    report(
        f"forward pass of extract_features, ResNet-18's shape at {size} px",
        f"matmul of {SIDE} × {SIDE} in {str(DTYPE).removeprefix('torch.')}",
        [100 * a / b for a, b in zip(reached, rates, strict=True)],
        target=60,
        unit=" %",
        note=f"one core, up to {max(rates) / 1e9:.0f} and {max(reached) / 1e9:.0f} GFLOP/s",
    )
