"""Exercises of lesson 05: what a step changes, freezing for good, which strategy when."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from cnnlab.exercises.engine import Cases, ExerciseError, Mistakes, exercise

__all__ = ["changed_numbers", "choose_strategy", "freeze_for_good"]


def mistaken_counts() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    return {
        "the optimizer leaves the buffers alone, but the forward pass does not: look at moved": {
            "trained": 36, "moved": 0,
        },
        "nearly: BatchNorm has a third buffer, which counts the batches": {
            "trained": 36, "moved": 16,
        },
        "the head has a bias too: one number for each of its outputs": {
            "trained": 32, "moved": 17,
        },
        "BatchNorm's weight and bias are parameters, and these are frozen": {
            "trained": 52, "moved": 17,
        },
        "a frozen convolution is not trained: leave its 216 weights out": {
            "trained": 252, "moved": 17,
        },
    }  # fmt: skip


@exercise(
    mistakes=mistaken_counts,
    hints=[
        "A linear layer holds inputs × outputs weights, and a bias for each output.",
        "state_dict() of a BatchNorm2d(8) lists five names. Which of them are parameters?",
        "In training mode, running_mean, running_var and num_batches_tracked change with a batch.",
    ],
    takeaway="17 numbers of a frozen network have changed: two of them for each channel, and one",
)
def changed_numbers() -> dict[str, int]:
    """Return how many numbers the optimizer changes, and how many the forward pass changes."""
    head = 8 * 4 + 4  # weights and biases
    statistics = 8 + 8 + 1  # running means, running variances, and the count of batches
    return {"trained": head, "moved": statistics}


def small_networks(generator: torch.Generator) -> Cases:
    """Yield (model, names): one name is almost another's; one BatchNorm is part of what learns."""

    def block() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU())

    layers: dict[str, nn.Module] = {"layer1": block(), "layer2": block(), "flat": nn.Flatten()}
    model = nn.Sequential()
    for name, module in {**layers, "fc": nn.Linear(2, 2), "fc2": nn.Linear(2, 2)}.items():
        model.add_module(name, module)
    yield model, ["fc"]
    yield copy.deepcopy(model), ["layer2", "fc", "fc2"]
    yield copy.deepcopy(model).eval(), ["fc2"]


def what_it_does(result: Any, *inputs: Any) -> dict[str, list[str]]:
    """Return what may learn, and which BatchNorm statistics one training batch moves."""
    if not isinstance(result, nn.Module):
        raise ExerciseError("return the model")
    model = copy.deepcopy(result)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    batch = torch.linspace(-1, 3, 8).reshape(4, 2, 1, 1)
    model(batch)
    return {
        "may learn": [name for name, p in model.named_parameters() if p.requires_grad],
        "statistics moved": [n for n, b in model.named_buffers() if not torch.equal(b, before[n])],
        "in training mode": [
            name
            for name, m in model.named_modules()
            if isinstance(m, nn.Linear) and m.training and m.weight.requires_grad
        ],
    }


def frozen_copy(model: nn.Module, names: list[str], exact: bool = True) -> nn.Module:
    """Return a copy in training mode in which only the named modules may learn."""
    model = copy.deepcopy(model).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(name.startswith(f"{n}." if exact else n) for n in names))
    return model


def still(model: nn.Module, names: list[str] | None = None) -> nn.Module:
    """Put the BatchNorm layers into eval mode, but for those in the named modules."""
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and name.split(".")[0] not in (names or []):
            module.eval()
    return model


def mistaken_freezing(model: nn.Module, names: list[str]) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    weightless = still(copy.deepcopy(model).train(), names)
    opposite = still(frozen_copy(model, names))
    for parameter in opposite.parameters():
        parameter.requires_grad_(not parameter.requires_grad)
    return {
        "the weights are frozen, but the statistics of the frozen BatchNorm layers still move: "
        "put these layers into eval mode": frozen_copy(model, names),
        "every BatchNorm layer is still, those in the named modules too: these learn, "
        "so leave them in training mode": still(frozen_copy(model, names)),
        "the whole model is in eval mode; what learns belongs in training mode": frozen_copy(
            model, names
        ).eval(),
        "the statistics are still, but no weight is frozen: requires_grad": weightless,
        "the named modules are those that go on learning; you froze them": opposite,
        "fc2 is no part of fc: compare with 'fc.'": still(frozen_copy(model, names, False), names),
    }


@exercise(
    cases=small_networks,
    normalize=what_it_does,
    mistakes=mistaken_freezing,
    hints=[
        "First freeze everything: model.requires_grad_(False). Then model.get_submodule(name).",
        "model.train() first; then eval() for each nn.BatchNorm2d whose own weight is frozen.",
        "isinstance(layer, nn.BatchNorm2d) and not layer.weight.requires_grad, for each layer "
        "of model.modules().",
    ],
    takeaway="model.train() at the next epoch would undo it, so cnnlab.training_mode does it again",
)
def freeze_for_good(model: torch.nn.Module, names: list[str]) -> torch.nn.Module:
    """Let only the named modules learn, and keep the statistics of the frozen part still."""
    model.requires_grad_(False)
    for name in names:
        model.get_submodule(name).requires_grad_(True)
    model.train()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d) and not layer.weight.requires_grad:
            layer.eval()
    return model


SITUATIONS = ("moths", "dogs", "sonar", "cells")
STRATEGIES = ("probe", "early probe", "fine-tune", "fine-tune and scratch")


def strategies_by_name(result: Any) -> dict[str, str]:
    """Return the answer with plain spelling; refuse words that are no strategy."""
    if not isinstance(result, dict) or set(result) != set(SITUATIONS):
        raise ExerciseError(f"a dict with the keys {', '.join(SITUATIONS)} is asked for")
    answers = {key: str(result[key]).strip().lower() for key in SITUATIONS}
    for key, answer in answers.items():
        if answer not in STRATEGIES:
            raise ExerciseError(f"{key}: {answer!r} is not one of {', '.join(STRATEGIES)}")
    return answers


def mistaken_strategies() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""

    def answer(*strategies: str) -> dict[str, str]:
        return dict(zip(SITUATIONS, strategies, strict=True))

    probe, early, tune, both = STRATEGIES
    return {
        "fine-tuning everything, always: 60 pictures cannot steer millions of weights": answer(
            tune, tune, tune, tune
        ),
        "a probe, always: with thousands of pictures the body may learn too": answer(
            probe, probe, probe, probe
        ),
        "you looked at the number of pictures only; sonar is not like photographs: its late "
        "features say little, the early ones more": answer(probe, tune, probe, tune),
        "you looked at similarity only; how many pictures are there to learn from?": answer(
            probe, probe, early, early
        ),
        "sonar and dogs are swapped: few and different, or many and similar?": answer(
            probe, early, tune, both
        ),
        "cells have many pictures and are different: the old weights may not help. Measure "
        "against a network from scratch": answer(probe, tune, early, tune),
    }


@exercise(
    mistakes=mistaken_strategies,
    normalize=strategies_by_name,
    hints=[
        "Two questions each: are there enough pictures to move millions of weights? Do the new "
        "pictures look like the old ones?",
        "Few and similar: keep all features. Few and different: keep those that are general.",
        "Many: let the whole network learn. Many and different: is the start worth anything?",
    ],
    takeaway="a map is where to start; the validation set has the last word",
)
def choose_strategy() -> dict[str, str]:
    """Return the strategy to try first in each of the four situations."""
    return {
        "moths": "probe",  # few, similar
        "dogs": "fine-tune",  # many, similar
        "sonar": "early probe",  # few, different
        "cells": "fine-tune and scratch",  # many, different
    }
