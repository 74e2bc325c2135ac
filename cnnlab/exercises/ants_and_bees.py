"""Exercises of lesson 09: a baseline, learning rates for parameter groups, Wilson's interval."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.exercises.engine import Cases, ExerciseError, Mistakes, exercise

__all__ = ["majority_baseline", "parameter_groups", "wilson_interval"]


def labels_of_two_sets(generator: torch.Generator) -> Cases:
    """Yield (train_labels, test_labels); the most frequent ones differ, and both together, too."""
    yield torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0, 1])
    for counts in [((20, 9), (11, 30)), ((10, 8, 0), (3, 8, 9)), ((5, 8, 12), (9, 14, 7))]:
        labels = [torch.arange(len(n)).repeat_interleave(torch.tensor(n)) for n in counts]
        yield tuple(x[torch.randperm(len(x), generator=generator)] for x in labels)


def mistaken_baselines(train: Tensor, test: Tensor) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""

    def accuracy(chosen_on: Tensor, measured_on: Tensor) -> float:
        return float((measured_on == chosen_on.bincount().argmax()).float().mean())

    both, right = torch.cat([train, test]), accuracy(train, test)
    return {
        "the most frequent label of the *training* set is asked for, not of the test set": (
            accuracy(test, test)
        ),
        "choose the class in the training labels only, not in both sets together": (
            accuracy(both, test)
        ),
        "you measured on the training labels; measure on the test labels": accuracy(train, train),
        "you measured on all labels; measure on the test labels only": accuracy(train, both),
        "1/classes is guessing; here one class is always predicted": 1 / (int(train.max()) + 1),
        "this is a percentage: give a fraction between 0 and 1": 100 * right,
        "this is the number of hits: divide it by the number of test labels": right * len(test),
        "this is the class: how often is it right on the test labels?": (
            int(train.bincount().argmax())
        ),
    }


@exercise(
    cases=labels_of_two_sets,
    mistakes=mistaken_baselines,
    hints=[
        "Which labels may you look at when you choose the class, and which when you count hits?",
        "labels.bincount() counts every class; .argmax() of that is the most frequent one.",
        "Compare test_labels with that class: the mean of the matches is the accuracy.",
    ],
    takeaway="a network must beat this before it has learned anything about insects",
)
def majority_baseline(train_labels: torch.Tensor, test_labels: torch.Tensor) -> float:
    """Return the test accuracy of always predicting the most frequent training label."""
    majority = train_labels.bincount().argmax()
    return (test_labels == majority).float().mean().item()


def small_networks(generator: torch.Generator) -> Cases:
    """Yield (model, head_name, lr, …); one layer is called almost like the head, one is frozen."""

    def network(*names: str) -> nn.ModuleDict:
        return nn.ModuleDict({name: nn.Linear(2, 2) for name in names})

    yield network("conv", "fc"), "fc", 0.1
    yield network("conv", "fc"), "fc", 0.2, 0.5
    yield network("conv", "fc_in", "fc"), "fc", 0.01
    model = network("frozen", "conv", "fc")
    model["frozen"].requires_grad_(False)
    yield model, "fc", 0.1


def rate_of_each_parameter(groups: Any, model: nn.Module, *_: Any) -> dict[str, Any]:
    """Return parameter name -> learning rate, or a list of rates when several groups hold it."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates: dict[str, list[float]] = {}
    for group in groups:
        if not isinstance(group, dict) or not {"params", "lr"} <= group.keys():
            raise ExerciseError('each of the two groups is a dict with the keys "params" and "lr"')
        for parameter in group["params"]:
            if id(parameter) not in names:
                raise ExerciseError('"params" holds the model\'s parameters, not names or copies')
            rates.setdefault(names[id(parameter)], []).append(group["lr"])
    return {name: sorted(found) if found[1:] else found[0] for name, found in rates.items()}


def mistaken_groups(model: nn.Module, head_name: str, lr: float, factor: float = 0.1) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    frozen = [p for p in model.parameters() if not p.requires_grad]

    def groups(body_lr: float = lr * factor, head_lr: float = lr, begin: str = ".") -> list[dict]:
        parts: tuple[list, list] = [], []
        for name, parameter in trainable.items():
            parts[name.startswith(f"{head_name}{begin}")].append(parameter)
        return [{"params": parts[0], "lr": body_lr}, {"params": parts[1], "lr": head_lr}]

    body, head = groups()
    everything = {"params": [*body["params"], *head["params"]], "lr": lr * factor}
    with_frozen = {"params": [*body["params"], *frozen], "lr": lr * factor}
    return {
        "both rates are the same; a pretrained backbone needs less": groups(body_lr=lr),
        "the rates are swapped: small steps for the backbone": groups(lr, lr * factor),
        "you divided by backbone_factor: multiply, to make the steps small": groups(lr / factor),
        "0.1 is built in: use the argument backbone_factor": groups(lr * 0.1),
        "a frozen parameter is in a group": [with_frozen, head],
        "the head is in both groups, which torch refuses": [everything, head],
        "fc_in is no part of fc: compare with 'fc.'": groups(begin=""),
        "the head is in no group and would never learn. Did you loop twice over "
        "model.named_parameters()? It is empty after the first loop": [body],
    }


@exercise(
    cases=small_networks,
    normalize=rate_of_each_parameter,
    mistakes=mistaken_groups,
    hints=[
        "model.named_parameters() gives (name, parameter); the head's names begin with head_name.",
        'A group is a dict: {"params": [...], "lr": ...}. Here there are two.',
        "The head is new and learns at lr; the backbone knows a lot already: lr * backbone_factor.",
        'Look for f"{head_name}." with its dot, and leave out what has requires_grad=False.',
    ],
    takeaway="torch.optim takes this list in place of model.parameters()",
)
def parameter_groups(
    model: torch.nn.Module, head_name: str, lr: float, backbone_factor: float = 0.1
) -> list[dict]:
    """Return two optimizer groups: the backbone at lr * backbone_factor and the head at lr."""
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    backbone = [p for name, p in trainable if not name.startswith(f"{head_name}.")]
    head = [p for name, p in trainable if name.startswith(f"{head_name}.")]
    return [{"params": backbone, "lr": lr * backbone_factor}, {"params": head, "lr": lr}]


def mistaken_intervals(correct: int, total: int, z: float = 1.96) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    p = correct / total

    def interval(z: float = z, power: int = 2, root: float = 0.5) -> tuple[float, float]:
        shrink = 1 + z**power / total
        center = (p + z**power / (2 * total)) / shrink
        half = z / shrink * (p * (1 - p) / total + z**power / (4 * total**2)) ** root
        return center - half, center + half

    low, high = interval()
    half, wald = (high - low) / 2, z * (p * (1 - p) / total) ** 0.5
    denominator = 1 + z**2 / total
    return {
        "this is Wald's interval: 0 of 10 gets no width, as if certain": (p - wald, p + wald),
        "only the width is Wilson's: move the center from p to ½": (p - half, p + half),
        "divide center and half width by 1 + z² / n": (low * denominator, high * denominator),
        "a square is missing: where Wilson has z², you have z": interval(power=1),
        "the square root is missing: this half width is a variance": interval(root=1),
        "these are percentages: give fractions between 0 and 1": (100 * low, 100 * high),
        "1.645 is one-sided; 95 % with two ends is z = 1.96": interval(1.645 if z == 1.96 else z),
        "1.96 is built in: use the argument z": interval(1.96),
    }


@exercise(
    cases=[(8, 10), (0, 10), (10, 10), (143, 153), (8, 10, 1.0), (90, 100, 2.576)],
    mistakes=mistaken_intervals,
    hints=[
        "With p = correct / total, the center is (p + z² / 2n) / (1 + z² / n): pulled towards ½.",
        "The half width is z / (1 + z² / n) · √(p (1 − p) / n + z² / 4n²).",
    ],
    takeaway="even 0 of 10 leaves room up to 28 %, where Wald's interval has no width at all",
)
def wilson_interval(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's score interval (low, high) for correct of total (Wilson 1927, JASA 22)."""
    p, shrink = correct / total, 1 + z**2 / total
    center = (p + z**2 / (2 * total)) / shrink
    half = z / shrink * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5
    return center - half, center + half
