"""Answers as students write them: right ones in other words, wrong ones and what they are told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score

import cnnlab
from cnnlab.exercises import (
    ants_and_bees,
    architectures,
    datasets,
    day,
    fields,
    filters,
    transfer,
    transposed,
    upsampling,
)
from cnnlab.exercises.engine import Exercise


def statistics_in_numpy(train: Any, test: Any) -> Any:
    x = train.transpose(0, 1).flatten(1).double().numpy() / 255
    return [x.mean(axis=1), x.std(axis=1)]  # the variance divided by n


def grad_cam_in_numpy(maps: Any, gradients: Any) -> Any:
    weights = gradients.double().numpy().mean(axis=(1, 2), keepdims=True)
    return np.maximum((weights * maps.numpy()).sum(axis=0), 0)


def groups_by_identity(model: Any, head_name: str, lr: float, backbone_factor: float = 0.1) -> Any:
    head = list(model.get_submodule(head_name).parameters())
    body = (p for p in model.parameters() if p.requires_grad and all(p is not q for q in head))
    return [{"lr": lr, "params": head}, {"lr": lr * backbone_factor, "params": body}]


def stamps_by_fold(x: Any, kernel: Any, stride: int, padding: int) -> Any:
    k = kernel.shape[2]
    size = [(n - 1) * stride + k - 2 * padding for n in x.shape[2:]]
    stamps = kernel.flatten(1).T @ x.flatten(2)  # (B, C_out·k·k, H·W)
    return F.fold(stamps, size, k, padding=padding, stride=stride)


def zeros_without_swap(x: Any, kernel: Any, stride: int, padding: int) -> Any:
    stretched = cnnlab.bed_of_nails(x, stride)[..., : 1 - stride or None, : 1 - stride or None]
    return F.conv2d(stretched, kernel.flip(2, 3), padding=kernel.shape[2] - 1 - padding)


def frozen_containers(model: Any, names: list[str]) -> Any:
    model.train().requires_grad_(False)
    for name, child in model.named_children():
        child.train(name in names).requires_grad_(name in names)
    return model


def wilson(*arguments: Any) -> Any:
    return ants_and_bees.wilson_interval.reference(*arguments)


RIGHT = [
    (datasets.channel_statistics, statistics_in_numpy),
    *[
        (datasets.leaking_splits, letters)
        for letters in ("b, c, e, f", "B, C, E and F", {"B", "C", "E", "F"}, ["f", "e", "c", "b"])
    ],
    (architectures.bottleneck_saving, lambda c, w: np.float32(9 * c * c / (2 * c * w + 9 * w * w))),
    (architectures.layer_parameters, lambda k, i, o, g: torch.tensor([o * (k * k * (i // g) + 1)])),
    (upsampling.unpooled, np.array(upsampling.unpooled.reference)),
    (upsampling.unpooled, torch.tensor(upsampling.unpooled.reference)[None, None].float()),
    (upsampling.dice, lambda a, b: f1_score(b.flatten(), a.flatten(), zero_division=1.0)),
    (upsampling.dice, lambda a, b: torch.tensor([upsampling.dice.reference(a, b)])),
    (transposed.by_hand, torch.tensor([[transposed.by_hand.reference]]).double()),
    (transposed.by_zero_insertion, stamps_by_fold),
    (transposed.by_zero_insertion, lambda *x: stamps_by_fold(*x).double().numpy()),
    (transposed.missing_output_padding, lambda n, k, s, p: np.int64((n + 2 * p - k) % s)),
    (transfer.changed_numbers, {"moved": torch.tensor(17), "trained": np.array([36])}),
    (transfer.freeze_for_good, frozen_containers),
    *[(fields.field_by_hand, kind([5, 8, 32])) for kind in (tuple, np.array, torch.tensor)],
    (fields.field_by_hand, torch.tensor([5.0, 8.0, 32.0])),
    (fields.wide_network, np.array(fields.wide_network.reference)),
    (fields.wide_network, torch.tensor(fields.wide_network.reference)),
    (fields.wide_network, [[3, 1, 1], [3, 1, 1], [3, 1, 4], [3, 1, 9]]),
    (day.encoder_sides, lambda *x: np.array(day.encoder_sides.reference(*x))),
    (filters.grad_cam_map, grad_cam_in_numpy),
    (filters.grad_cam_map, lambda *x: grad_cam_in_numpy(*x).tolist()),
    (ants_and_bees.majority_baseline, lambda a, b: (b == a.mode().values).double().mean()),
    (ants_and_bees.parameter_groups, groups_by_identity),
    (ants_and_bees.wilson_interval, lambda *x: np.array(wilson(*x))),
    (ants_and_bees.wilson_interval, lambda *x: torch.tensor(wilson(*x))),
]


@pytest.mark.parametrize(("task", "answer"), RIGHT)
def test_other_ways_to_write_the_right_answer_pass(task: Exercise, answer: Any, said: Any) -> None:
    assert said(task, answer).startswith("✓ correct")


def without_statistics(model: Any, names: list[str]) -> Any:
    model = transfer.freeze_for_good.reference(model, names)
    for layer in model.train().modules():
        if isinstance(layer, torch.nn.BatchNorm2d) and not layer.weight.requires_grad:
            layer.track_running_stats = False
    return model


def requires_grad_of_a_module(model: Any, names: list[str]) -> Any:
    model.requires_grad_(False)
    model.get_submodule(names[0]).requires_grad = True
    return model


def seen_by(mask: Any, fields: Any, large: Callable[..., bool]) -> str:
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    sides = [int(x.max() - x.min()) + 1 for x in (rows, columns)]
    return next((name for name, field in fields.items() if large(*field.size, *sides)), "none")


def angle_with_sign(kernel: Any) -> float:
    energy = torch.fft.fft2(kernel - kernel.mean()).abs()
    place = divmod(int(energy.argmax()), len(kernel))
    down, right = torch.fft.fftfreq(len(kernel))[list(place)]
    return math.degrees(math.atan2(down, right))


def groups_from_a_used_up_generator(
    model: Any, head_name: str, lr: float, backbone_factor: float = 0.1
) -> list[dict]:
    named = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
    body = [p for name, p in named if not name.startswith(f"{head_name}.")]
    head = [p for name, p in named if name.startswith(f"{head_name}.")]
    return [{"params": body, "lr": lr * backbone_factor}, {"params": head, "lr": lr}]


def padding_with(signs: tuple[int, int]) -> Callable[..., int]:
    return lambda n, k, s, p: (n + signs[0] * 2 * p + signs[1] * k) % s


WRONG = [
    (datasets.channel_statistics, lambda a, b: a.float().mean(dim=(0, 2, 3)), "at [0]: expected"),
    (datasets.leaking_splits, "BC", "at ['E']: 'clean' is wrong\n    your answer: 'BC'\n"),
    *[
        (datasets.leaking_splits, letters, 'letters from A to F, such as "AC"')
        for letters in ("", "XY", 4, ["B", "G"])
    ],
    (architectures.bottleneck_saving, lambda c, w: 9 * c * c / (c * w + 9 * w * w), "two 1×1"),
    (architectures.bottleneck_saving, lambda c, w: (c / w) ** 2, "cost something as well"),
    (architectures.layer_parameters, lambda k, i, o, g: k * k * i // g * o, "biases are missing"),
    (architectures.layer_parameters, lambda k, i, o, g: o * (k * k * i + 1), "sees only in_chan"),
    (upsampling.unpooled, [[0, 0, 0, 0]] * 4, "at [1][0]: 0 is too small"),
    (upsampling.unpooled, [[10, 20], [30, 40]], "yours has 2 of 2"),
    (
        upsampling.dice,
        lambda a, b: upsampling.dice.reference(a, b) if a.any() else 1.0,
        "dice(a tensor of shape (4, 5), a tensor of shape (4, 5))\n    expected 0, got 1",
    ),
    (upsampling.unpooled, [[0, 0, 0, 0], [10]], "write the answer as rows of numbers"),
    (transposed.by_hand, [0, 1, 5, 2, 16, 17, 6, 13, 6], "write the answer as rows of numbers"),
    (transposed.by_hand, [[0, 0, 5], [0, 0, 2], [6, 4, 6]], "add them: you kept the last one"),
    (transposed.by_zero_insertion, zeros_without_swap, "swap the first two dimensions of yours"),
    (
        transposed.by_zero_insertion,
        lambda x, kernel, s, p: F.conv_transpose2d(x, kernel, None, s, p),
        "RuntimeError: do it without conv_transpose2d: that is the exercise",
    ),
    (transposed.missing_output_padding, padding_with((-1, -1)), "padding makes the image larger"),
    (transposed.missing_output_padding, padding_with((1, 1)), "the last step must fit inside"),
    (transposed.missing_output_padding, padding_with((-1, 1)), "both signs are wrong"),
    (transfer.changed_numbers, {"trained": 36, "moved": 8}, "at ['moved']: 8 is too small"),
    (transfer.changed_numbers, {"trained": 36}, "at ['moved']: a value is missing"),
    (transfer.freeze_for_good, without_statistics, "still normalizes by the batch in hand"),
    (transfer.freeze_for_good, requires_grad_of_a_module, "fc.requires_grad = … is a new attri"),
    (transfer.freeze_for_good, lambda model, names: model, "at ['layer1.0.weight']: expected 'fr"),
    (transfer.choose_strategy, "probe", "a dict with the keys moths, dogs, sonar, cells"),
    (
        transfer.choose_strategy,
        {"moths": "probe", "dogs": "finetune", "sonar": "probe", "cells": "probe"},
        "dogs: 'finetune' is not one of probe, early probe",
    ),
    (
        transfer.choose_strategy,
        {"moths": "probe", "dogs": "Fine-tune", "sonar": "fine-tune", "cells": "probe"},
        "at ['sonar']: 'fine-tune' is wrong",
    ),
    (fields.field_by_hand, [5, 9, 33], "at [1]: 9 is too large"),
    (fields.field_by_hand, [5, 8, 31], "at [2]: 31 is too small"),
    (fields.field_by_hand, 32, "write three numbers, the field after each layer"),
    (fields.field_by_hand, [5, 8], "write three numbers, the field after each layer"),
    (fields.field_by_hand, [7, 16, 52], "padding moves a field"),
    (fields.wide_network, [(3, 1, 1), (3, 1, 1), (3, 1, 2), (3, 1, 11)], "pixels left out"),
    (fields.wide_network, [(3, 1, 1), (29, 1, 1)], "more than 2400"),
    (fields.wide_network, [(3, 1, 15), (3, 2, 1)], "at ['field']: 33 is too large"),
    (fields.wide_network, [(3, 1, 1), (29, 1)], "this cannot be the answer"),
    (fields.wide_network, [(3, 1, 0)], "give a list of (kernel, stride, dilation)"),
    (
        fields.first_to_see,
        lambda mask, f: seen_by(mask, f, lambda a, b, h, w: a >= w and b >= h),
        "the sides are swapped",
    ),
    (
        fields.first_to_see,
        lambda mask, f: seen_by(mask, f, lambda a, b, h, w: a >= h),
        "the height alone does not do",
    ),
    (
        fields.first_to_see,
        lambda mask, f: seen_by(mask, f, lambda a, b, h, w: b >= w),
        "the width alone does not do",
    ),
    (
        fields.first_to_see,
        lambda mask, f: seen_by(mask, f, lambda a, b, h, w: min(a, b) >= math.hypot(h, w)),
        "the diagonal is longer than needed",
    ),
    (
        fields.first_to_see,
        lambda mask, f: seen_by(mask, f, lambda a, b, h, w: a * b >= h * w),
        "of 8 examples differ from the solution",
    ),
    (day.encoder_sides, lambda n, d: [-(-n // 2**i) for i in range(d + 1)], "round up at each"),
    (day.encoder_sides, lambda n, d: [n], "at [1]: expected 16, got nothing"),
    (filters.wave_angle, angle_with_sign, "a wave has no front"),
    (
        ants_and_bees.majority_baseline,
        lambda a, b: (b == torch.cat([a, b]).mode().values).float().mean(),
        "not in both sets together",
    ),
    (
        ants_and_bees.majority_baseline,
        lambda a, b: (torch.cat([a, b]) == a.mode().values).float().mean(),
        "you measured on all labels",
    ),
    (
        ants_and_bees.majority_baseline,
        lambda a, b: (b.zero_() == a.zero_()[0]).float().mean(),
        "not",
    ),
    (ants_and_bees.parameter_groups, groups_from_a_used_up_generator, "empty after the first loop"),
    (
        ants_and_bees.parameter_groups,
        lambda model, head, lr, factor=0.1: [{"params": model.conv.parameters(), "lr": lr}],
        "at ['conv.weight']: expected 0.01, got 0.1 (one of 4 differences)",
    ),
    (
        ants_and_bees.wilson_interval,
        lambda k, n, z=1.96: tuple(x * (1 + z**2 / n) for x in wilson(k, n, z)),
        "divide center and half width",
    ),
    (ants_and_bees.wilson_interval, lambda k, n: (0, 1), "must begin with `def wilson_interval("),
    (ants_and_bees.wilson_interval, lambda k, n, z=1.96: k + "1", "stopped with an error in line"),
    (ants_and_bees.wilson_interval, lambda *x: None, "returns None: is its return missing?"),
    (ants_and_bees.wilson_interval, 0.5, "must be the function itself, not its result; this is"),
]


@pytest.mark.parametrize(("task", "answer", "words"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(
    task: Exercise, answer: Any, words: str, said: Any
) -> None:
    report = said(task, answer)
    assert report.startswith("✗ not yet — ") and words in report
