"""Receptive fields: all layers from one run, or a gradient for each of them."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
import torchvision

import cnnlab
from cnnlab.fields import gradient_support

pytestmark = [pytest.mark.benchmark, pytest.mark.usefixtures("one_thread")]

SIZE = (3, 224, 224)


def box_of(mask: torch.Tensor) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of the pixels that are true."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    ends = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    return tuple(int(end) for end in ends)


def test_all_fields_of_a_resnet_50_take_a_hundredth_of_the_gradients(report):
    model = torchvision.models.resnet50()
    fields = cnnlab.receptive_field(model, SIZE)
    layers = [name for name, _ in model.named_modules() if name in fields]
    layers = [name for name in layers if fields[name].shape[1:] == fields[name].positions]
    gradients, engine = 0.0, []
    for i, name in enumerate(layers):
        middle = tuple(count // 2 for count in fields[name].positions)
        start = time.process_time()
        seen = gradient_support(model, SIZE, name, middle)
        gradients += time.process_time() - start
        assert box_of(seen) == tuple(fields[name].at(*middle)), name
        if i % 20 == 0:
            start = time.process_time()
            cnnlab.receptive_field(model, SIZE)
            engine.append(time.process_time() - start)
    report(
        f"receptive fields of ResNet-50, {len(layers)} layers",
        "gradient support of each layer",
        [gradients / seconds for seconds in engine],
        target=100,
        note=f"{np.median(engine):.2f} s and {gradients:.0f} s of CPU time",
    )


def test_the_cost_of_fields_grows_with_the_number_of_layers(report):
    models = [torchvision.models.get_model(f"resnet{n}") for n in (18, 34, 50, 101, 152)]
    layers = [len(cnnlab.receptive_field(model, SIZE)) for model in models]
    exponents, last = [], []
    for _ in range(5):
        last = []
        for model in models:
            start = time.process_time()
            cnnlab.receptive_field(model, SIZE)
            last.append(time.process_time() - start)
        exponents.append(float(np.polyfit(np.log(layers), np.log(last), 1)[0]))
    pairs = ", ".join(f"{n} in {s:.2f} s" for n, s in zip(layers, last, strict=True))
    report(
        "fields: exponent of the cost in the number of layers",
        "1 is proportional",
        exponents,
        target=1.3,
        unit="",
        at_most=True,
        note=pairs,
    )
