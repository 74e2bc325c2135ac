"""Exercises of lesson 05: what a step changes, freezing for good, which strategy when."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from cnnlab.exercises.engine import Cases, ExerciseError, Mistakes, exercise

__all__ = ["changed_numbers", "choose_strategy", "freeze_for_good"]


def mistaken_counts() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""

    def counts(trained: int = 36, moved: int = 17) -> dict[str, int]:
        return {"trained": trained, "moved": moved}

    return {
        "look at moved: the forward pass changes buffers, frozen or not": counts(moved=0),
        "nearly: BatchNorm has a third buffer, which counts the batches": counts(moved=16),
        "the head has a bias too: one number for each of its outputs": counts(trained=32),
        "BatchNorm's weight and bias are parameters, and these are frozen": counts(trained=52),
        "a frozen convolution is not trained: leave its 216 weights out": counts(trained=252),
    }


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

    for names, training in [(["fc"], True), (["layer2", "fc", "fc2"], True), (["fc2"], False)]:
        blocks = OrderedDict[str, nn.Module](layer1=block(), layer2=block(), flat=nn.Flatten())
        heads = OrderedDict[str, nn.Module](fc=nn.Linear(2, 2), fc2=nn.Linear(2, 2))
        yield nn.Sequential(blocks | heads).train(training), names


def states(result: Any, *_: Any) -> dict[str, str]:
    """Return what learns and what is frozen, and the mode of the model and of each BatchNorm."""
    if not isinstance(result, nn.Module):
        raise ExerciseError("return the model")
    found = {
        name: "learns" if p.requires_grad else "frozen" for name, p in result.named_parameters()
    }
    for name, module in result.named_modules():
        if "requires_grad" in vars(module):
            raise ExerciseError(
                f"{name}.requires_grad = … is a new attribute, which nobody reads: a module has "
                "the method requires_grad_(True), with an underscore"
            )
        if isinstance(module, nn.BatchNorm2d) and not module.track_running_stats:
            raise ExerciseError(
                f"without track_running_stats, {name} still normalizes by the batch in hand: "
                "put the layer into eval mode"
            )
        if isinstance(module, nn.BatchNorm2d) or module is result:
            found[name or "model"] = "training mode" if module.training else "eval mode"
    return found


def mistaken_freezing(model: nn.Module, names: list[str]) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    layers = {name for name, _ in model.named_children()}
    named, others = set(names), layers - set(names)
    alike = {layer for layer in layers if layer.startswith(tuple(names))}

    def variant(learning: set[str], still: set[str]) -> nn.Module:
        changed = copy.deepcopy(model).train()
        for name, parameter in changed.named_parameters():
            parameter.requires_grad_(name.split(".")[0] in learning)
        for name, module in changed.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(name.split(".")[0] not in still)
        return changed

    return {
        "the weights are frozen, but the statistics of the frozen BatchNorm layers still move: "
        "put these layers into eval mode": variant(named, set()),
        "every BatchNorm layer is still, those in the named modules too: these learn, "
        "so leave them in training mode": variant(named, layers),
        "eval mode is for what is frozen, not for the whole model": variant(named, layers).eval(),
        "the statistics are still, but no weight is frozen: requires_grad": variant(layers, others),
        "the named modules are those that go on learning; you froze them": variant(others, others),
        "fc2 is no part of fc: compare with 'fc.'": variant(alike, others),
    }


@exercise(
    cases=small_networks,
    normalize=states,
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
        "60 images cannot steer millions of weights": answer(tune, tune, tune, tune),
        "with thousands of images the body may learn, too": answer(probe, probe, probe, probe),
        "you looked at the number of images only; sonar is not like photographs: its late "
        "features say little, the early ones more": answer(probe, tune, probe, tune),
        "how many images are there to learn from?": answer(probe, probe, early, early),
        "sonar and dogs are swapped: few or many?": answer(probe, early, tune, both),
        "cells have many images and are different: the old weights may not help. Measure "
        "against a network from scratch": answer(probe, tune, early, tune),
    }


@exercise(
    mistakes=mistaken_strategies,
    normalize=strategies_by_name,
    hints=[
        "Two questions each: are there enough images to move millions of weights? Do the new "
        "images look like the old ones?",
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
