"""Who says that a solution is right: torch, scipy, scikit-learn, brute force, numbers by hand.

No judge reads the solution or the cases of its exercise. ``JUDGES["lesson.exercise"](answer)``
raises an AssertionError unless the answer is right; any other error refuses it as well.
"""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable
from importlib import import_module
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.signal import convolve2d, correlate2d
from scipy.stats import binomtest, norm
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import cnnlab.exercises
from cnnlab.exercises.engine import Exercise

EXERCISES = {
    f"{module.name}.{name}": value
    for module in pkgutil.iter_modules(cnnlab.exercises.__path__)
    for name, value in vars(import_module(f"cnnlab.exercises.{module.name}")).items()
    if isinstance(value, Exercise)
}
JUDGES: dict[str, Callable[[Any], None]] = {}


def judge(name: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Enter the function below as the judge of an exercise, given as lesson.exercise."""

    def enter(function: Callable[[Any], None]) -> Callable[[Any], None]:
        JUDGES[name] = function
        return function

    return enter


def close(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-4, atol=1e-5)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def count(*layers: nn.Module) -> int:
    return sum(p.numel() for layer in layers for p in layer.parameters())


# --------------------------------------------------------------------------- 00, by scipy and torch


@judge("convolution.by_hand")
def four_sums(answer: Any) -> None:
    x = [[1, 0, 2], [3, 1, 0], [0, 2, 1]]
    assert answer.tolist() == correlate2d(x, [[1, 2], [0, -1]], mode="valid").tolist()


@judge("convolution.move_right")
def move_right(answer: Any) -> None:
    image = normal(1, 1, 5, 6)
    moved = F.conv2d(image, answer[None, None], padding=1)
    assert torch.equal(moved[..., 1:], image[..., :-1]) and not moved[..., 0].any()


@judge("convolution.same_padding")
def same_padding(answer: Any) -> None:
    for kernel, dilation in product([1, 3, 5, 11], [1, 2, 3]):
        layer = nn.Conv1d(1, 1, kernel, padding=int(answer(kernel, dilation)), dilation=dilation)
        assert layer(torch.zeros(1, 1, 40)).shape[2] == 40


# ------------------------------------------------------------------------------ 01, by scikit-learn


@judge("datasets.channel_statistics")
def channel_statistics(answer: Any) -> None:
    for channels in (4, 1):
        images = (
            normal(30, channels, 20, 18) * 30 + 40 * torch.arange(1, 1 + channels)[:, None, None]
        )
        train, test = images.clamp(0, 255).byte().split([21, 9])
        pixels = train.movedim(1, -1).reshape(-1, channels).numpy() / 255
        scaler = StandardScaler().fit(pixels)
        mean, std = answer(train, test.clamp(max=90))
        assert close(mean, scaler.mean_) and close(std, scaler.scale_)


@judge("datasets.leaking_splits")
def leaking_splits(answer: Any) -> None:
    """Run each procedure on numbered images and films, and see what both sides share."""
    images, films = np.random.default_rng(0).permutation(500), np.repeat(np.arange(50), 20)
    copies, frames = np.repeat(images, 4), np.random.default_rng(0).permutation(films)
    train, test = images[:400], images[400:]
    learned_from_and_tested_on = {
        "A": (train, test),
        "B": (np.random.default_rng(0).permutation(copies)[:1600], copies[-400:]),
        "C": (frames[:800], frames[800:]),
        "D": (films[films < 40], films[films >= 40]),
        "E": (images, test),  # the scaling
        "F": (np.append(train, test), test),  # the choice
    }
    shared = [key for key, sides in learned_from_and_tested_on.items() if np.isin(*sides).any()]
    assert answer == "".join(shared)


# ------------------------------------------------------------------------ 02, by torch and by hand


@judge("architectures.layer_parameters")
def layer_parameters(answer: Any) -> None:
    for kernel, c_in, c_out, groups in [(3, 4, 10, 1), (4, 6, 9, 3), (1, 5, 15, 5), (5, 21, 14, 7)]:
        layer = nn.Conv2d(c_in, c_out, kernel, groups=groups)
        assert answer(kernel, c_in, c_out, groups) == count(layer)


@judge("architectures.bottleneck_saving")
def bottleneck_saving(answer: Any) -> None:
    def cost(*layers: nn.Module) -> int:
        with FlopCounterMode(display=False) as counter:
            nn.Sequential(*layers)(torch.zeros(1, layers[0].in_channels, 5, 7))
        return counter.get_total_flops()

    for c, w in [(12, 5), (9, 16), (30, 7)]:
        convolutions = nn.Conv2d(c, w, 1), nn.Conv2d(w, w, 3, padding=1), nn.Conv2d(w, c, 1)
        assert close(answer(c, w), cost(nn.Conv2d(c, c, 3, padding=1)) / cost(*convolutions))


# --------------------------------------------------------------- 03, by torch, scikit-learn, search


@judge("upsampling.unpooled")
def unpooled(answer: Any) -> None:
    x = torch.tensor([[[3.0, 1, 0, 2], [5, 4, 6, 1], [2, 0, 1, 7], [1, 8, 3, 2]]])
    places = F.max_pool2d(x, 2, return_indices=True)[1]
    assert answer == F.max_unpool2d(torch.tensor([[[10.0, 20], [30, 40]]]), places, 2)[0].tolist()


@judge("upsampling.dice")
def dice(answer: Any) -> None:
    numbers = normal(4, 5, 7)
    masks = [*(numbers > 0), numbers[0] > 0.8, numbers[0] > 9]
    for a, b in product(masks, masks):
        assert close(answer(a, b), f1_score(b.flatten(), a.flatten(), zero_division=1.0))


# -------------------------------------------------------------------------- 04, by scipy and torch


@judge("transposed.by_hand")
def nine_sums(answer: Any) -> None:
    assert answer == [[0, 1, 5], [2, 16, 17], [6, 13, 6]]
    assert answer == convolve2d([[1, 5], [3, 2]], [[0, 1], [2, 3]]).tolist()


@judge("transposed.by_zero_insertion")
def by_zero_insertion(answer: Any) -> None:
    for b, c_in, c_out, k, s, p in [(2, 3, 1, 3, 2, 0), (1, 2, 4, 4, 3, 1), (3, 1, 2, 5, 1, 2)]:
        x, kernel = normal(b, c_in, 3, 5), normal(c_in, c_out, k, k)
        assert close(answer(x, kernel, s, p), F.conv_transpose2d(x, kernel, None, s, p))


@judge("transposed.missing_output_padding")
def missing_output_padding(answer: Any) -> None:
    for size, k, s, p in product([7, 10, 12], [2, 3, 5], [1, 2, 3, 4, 5], [0, 1, 2]):
        kernel = torch.ones(1, 1, k)
        small = F.conv1d(torch.zeros(1, 1, size), kernel, None, s, p)
        sizes = [F.conv_transpose1d(small, kernel, None, s, p, q).shape[-1] for q in range(s)]
        assert answer(size, k, s, p) == sizes.index(size)


# ---------------------------------------------------------------- 05, by one step of training


def changed(model: nn.Module) -> dict[str, int]:
    """Train one step, and return how many numbers of each parameter and buffer have changed."""
    before = {name: x.clone() for name, x in model.state_dict().items()}
    batch = normal(6, next(model.parameters()).shape[1], 3, 3)
    learning = [p for p in model.parameters() if p.requires_grad]
    loss = (model(batch) * torch.arange(1.0, 25.0).reshape(6, 4)).square().sum()
    loss.backward()
    torch.optim.SGD(learning, lr=1.0).step()
    return {name: int((x != before[name]).sum()) for name, x in model.state_dict().items()}


@judge("transfer.changed_numbers")
def changed_numbers(answer: Any) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    )
    model = nn.Sequential(*body.requires_grad_(False), nn.Flatten(), nn.Linear(8, 4)).train()
    found = changed(model)
    trained = sum(n for name, n in found.items() if name in dict(model.named_parameters()))
    assert answer == {"trained": trained, "moved": sum(found.values()) - trained}


@judge("transfer.freeze_for_good")
def freeze_for_good(answer: Any) -> None:
    def block(width: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(width, 4, 1, bias=False), nn.BatchNorm2d(4))

    for names in (["head"], ["late", "head"], ["late"]):
        torch.manual_seed(0)
        model = nn.Sequential()
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        layers = [block(3), block(4), pool, nn.Linear(4, 4), nn.Linear(4, 4)]
        for name, layer in zip(["early", "late", "pool", "head", "head2"], layers, strict=True):
            model.add_module(name, layer)
        model = answer(model.eval(), names)
        batch = normal(6, 3, 3, 3)
        assert model.training
        assert torch.equal(model.early(batch)[:1], model.early(batch[:1]))  # no batch statistics
        found = {name for name, numbers in changed(model).items() if numbers}
        assert found == {name for name in model.state_dict() if name.split(".")[0] in names}


@judge("transfer.choose_strategy")
def choose_strategy(answer: Any) -> None:
    """The table of the lesson: how many images, and whether they are photographs of things."""
    situations = {
        "moths": (60, True),
        "dogs": (20_000, True),
        "sonar": (80, False),
        "cells": (200_000, False),
    }
    table = {
        (False, True): "probe",
        (True, True): "fine-tune",
        (False, False): "early probe",
        (True, False): "fine-tune and scratch",
    }
    assert answer == {name: table[n > 1000, alike] for name, (n, alike) in situations.items()}


# ------------------------------------------------------------------------------ 06, by gradients


def pixels_seen(model: nn.Module, *shape: int) -> torch.Tensor:
    """Return where the gradient of one output with respect to the image is not zero."""
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    image = torch.zeros(1, *shape, requires_grad=True)
    output = model(image)
    output[(0, 0, *(n // 2 for n in output.shape[2:]))].backward()
    return image.grad[0].sum(dim=0) != 0


@judge("fields.field_by_hand")
def field_by_hand(answer: Any) -> None:
    layers = nn.Conv1d(1, 1, 5, 3), nn.AvgPool1d(2, 2), nn.Conv1d(1, 1, 3, dilation=2)
    for depth in (1, 2, 3):
        seen = pixels_seen(nn.Sequential(*layers[:depth]), 1, 200).nonzero()
        assert answer[depth - 1] == seen.max() - seen.min() + 1
    assert len(answer) == 3


@judge("fields.wide_network")
def wide_network(answer: Any) -> None:
    layers = [nn.Conv2d(8, 8, k, stride, dilation=d) for k, stride, d in answer]
    model = nn.Sequential(*layers)
    assert count(model) <= 2400
    seen = pixels_seen(model, 8, 80, 80)
    (top, left), (bottom, right) = seen.nonzero().min(0).values, seen.nonzero().max(0).values
    assert (bottom - top + 1, right - left + 1) == (31, 31)
    assert seen.sum() == 31**2
    assert model(torch.zeros(1, 8, 80, 80)).shape[2:] == (50, 50)


@judge("fields.first_to_see")
def first_to_see(answer: Any) -> None:
    sizes = [(1, 3), (4, 3), (4, 6), (8, 6), (8, 20), (30, 20), (31, 40)]
    fields = {f"layer{i}": SimpleNamespace(size=size) for i, size in enumerate(sizes)}
    for height, width in product([1, 3, 4, 5, 8, 9, 29, 30], [2, 3, 4, 6, 7, 20]):
        mask = torch.zeros(64, 48, dtype=torch.bool)
        mask[11 : 11 + height, 20] = mask[11, 20 : 20 + width] = True
        for i, (rows, columns) in enumerate(sizes):
            windows = F.unfold(mask[None, None].float(), (rows, columns)).sum(dim=1)
            if windows.max() == mask.sum():  # a window of this size holds the whole insect
                assert answer(mask, fields) == f"layer{i}"
                break
        else:
            raise AssertionError("no layer sees this insect")


# ------------------------------------------------------------------------------------ 07, by torch


@judge("day.encoder_sides")
def encoder_sides(answer: Any) -> None:
    for side, depth in [(1, 2), (24, 3), (33, 1), (50, 2), (75, 4), (64, 5)]:
        for padded in range(side, side + 33):
            maps = [torch.zeros(1, 1, padded)]
            while len(maps) <= depth and maps[-1].shape[2] % 2 == 0:
                maps.append(F.max_pool1d(maps[-1], 2))
            if len(maps) == depth + 1:
                break
        assert answer(side, depth) == [x.shape[2] for x in maps]


@judge("day.unet_parameters")
def unet_parameters(answer: Any) -> None:
    for c_in, c_out, k in [(1, 3, 2), (5, 2, 3), (4, 9, 5)]:
        first, second = (
            nn.Conv2d(c_in, c_out, k, bias=False),
            nn.Conv2d(c_out, c_out, k, bias=False),
        )
        expected = count(first, nn.BatchNorm2d(c_out), second, nn.BatchNorm2d(c_out))
        assert answer(c_in, c_out, k) == expected


# ------------------------------------------------------------------- 08, by geometry and by NumPy


@judge("filters.wave_angle")
def wave_angle(answer: Any) -> None:
    """A wave that was drawn at a known angle; stripes one pixel wide run across it."""
    for side, angle, length in [(12, 0, 6), (12, 90, 3), (10, 45, 10), (10, 135, 10), (9, 90, 9)]:
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        radians = math.radians(angle)
        diagonal = math.sqrt(2) if angle % 90 else 1.0
        way = (columns * math.cos(radians) + rows * math.sin(radians)) * diagonal
        kernel = torch.sin(2 * math.pi * way / length + 0.5) + 3
        assert math.isclose(answer(kernel), angle, abs_tol=1e-3)
    stripes = torch.tensor([1.0, 5.0]).repeat(4)
    assert math.isclose(answer(stripes.expand(8, 8)), 0, abs_tol=1e-3)
    assert math.isclose(answer(stripes.expand(8, 8).T), 90, abs_tol=1e-3)


@judge("filters.grad_cam_map")
def grad_cam_map(answer: Any) -> None:
    maps = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]])
    gradients = torch.tensor([[[3.0, 1.0]], [[-1.0, -3.0]]])  # means 2 and −2
    assert answer(maps, gradients).tolist() == [[0.0, 4.0]]
    for shape in [(3, 4, 5), (5, 2, 3)]:
        maps, gradients = normal(*shape).abs(), normal(*shape[::-1]).permute(2, 1, 0)
        weighted = np.einsum("cij,c->ij", maps, gradients.numpy().mean(axis=(1, 2)))
        assert close(answer(maps, gradients), weighted.clip(min=0))


# ------------------------------------------------------------- 09, by scikit-learn, torch, scipy


@judge("ants_and_bees.majority_baseline")
def majority_baseline(answer: Any) -> None:
    for train, test in [
        ([2, 2, 1, 0], [0, 0, 2]),
        ([0] * 5 + [1] * 4, [1] * 6 + [0] * 2),
        ([1], [1]),
    ]:
        model = DummyClassifier(strategy="most_frequent").fit(train, train)
        assert close(answer(torch.tensor(train), torch.tensor(test)), model.score(test, test))


@judge("ants_and_bees.parameter_groups")
def parameter_groups(answer: Any) -> None:
    """One step of SGD along gradients of one moves each parameter by its learning rate."""
    for lr, more in [(0.5, ()), (0.5, (0.25,)), (0.125, (2.0,))]:
        model = nn.ModuleDict(
            {name: nn.Linear(3, 2) for name in ("stem", "body", "out_proj", "out")}
        )
        model["stem"].requires_grad_(False)
        for parameter in model.parameters():
            nn.init.zeros_(parameter).grad = torch.ones_like(parameter)
        groups = answer(model, "out", lr, *more)
        assert len(groups) == 2
        torch.optim.SGD(groups).step()
        slow = lr * (more[0] if more else 0.1)
        for name, rate in {"stem": 0, "body": slow, "out_proj": slow, "out": lr}.items():
            assert all(close(-p.detach(), np.full(p.shape, rate)) for p in model[name].parameters())


@judge("ants_and_bees.wilson_interval")
def wilson_interval(answer: Any) -> None:
    low, high = answer(143, 153)
    assert (round(low, 3), round(high, 3)) == (0.884, 0.964)
    for correct, total, *z in [(0, 12), (7, 12), (12, 12), (30, 41, 1.0), (3, 200, 2.576)]:
        confidence = 2 * norm.cdf(z[0] if z else 1.96) - 1
        expected = binomtest(correct, total).proportion_ci(confidence, method="wilson")
        assert np.allclose(answer(correct, total, *z), expected, atol=1e-6)
