"""Measures the embedded backbone and writes its card: no number in the card is typed by hand.

Needs the photographs (cache, mirror or network) beside the images it was trained on.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from scipy.stats import binomtest
from torch import nn
from torch.optim.swa_utils import AveragedModel

from cnnlab.data.augmentation import augment
from cnnlab.data.datasets import load_ants_and_bees
from cnnlab.data.folders import read_split
from cnnlab.data.splits import ImageData, Split
from cnnlab.models.backbones import Normalize, load_backbone, read_weights
from cnnlab.models.small import TinyResNet
from cnnlab.plotting import plot_filters
from cnnlab.pretraining.train import top_accuracy
from cnnlab.runtime import set_seed
from cnnlab.training import fit
from cnnlab.transfer import extract_features, freeze, replace_head

__all__ = ["measure", "together", "train_strategies", "write_card"]

# Chosen on validation photographs (mean of five splits), as was the averaging below; the test
# photographs were not looked at for it. Then every model learns from train and val together.
SIZE, BATCH_SIZE, LR, DECAY = 80, 32, 1e-3, 0.05
TITLES = {"photos": "Photographs of ants and bees", "drawn": "Drawn ants and bees"}
SCRATCH_EPOCHS, HEAD_EPOCHS, TUNE_EPOCHS = 24, 100, 12


def together(data: ImageData) -> ImageData:
    """Return the data with the validation images among those for training."""
    parts = (data.train, data.val)
    inputs = torch.cat([part.inputs for part in parts])
    labels = torch.cat([part.labels for part in parts])
    return dataclasses.replace(data, train=Split(inputs, labels, classes=data.classes))


def train_strategies(data: ImageData, seed: int) -> dict[str, nn.Module]:
    """Train a network from scratch, a head on frozen features, and both of them further."""
    set_seed(seed)
    scratch = _train(TinyResNet(len(data.classes)), data, SCRATCH_EPOCHS, LR, seed)
    set_seed(seed)
    backbone = load_backbone("tiny_resnet")
    frozen = replace_head(backbone.model, len(data.classes))
    features = extract_features(backbone, data).loaders(BATCH_SIZE, seed=seed)
    fit(frozen.get_submodule("fc"), features.train, epochs=HEAD_EPOCHS, lr=LR)
    set_seed(seed)
    tuned = freeze(copy.deepcopy(frozen), ["layer2", "layer3", "layer4", "fc"], norms=False)
    _train(tuned, data, TUNE_EPOCHS, LR / 10, seed)
    halfway = AveragedModel(frozen)  # the mean of the weights before and after
    for model in (frozen, tuned):
        halfway.update_parameters(model)
    return {"from scratch": scratch, "frozen": frozen, "fine-tuned": halfway}


def _train(model: nn.Module, data: ImageData, epochs: int, lr: float, seed: int) -> nn.Module:
    """Train what is not frozen: the head at the full rate, all below it at ``lr``."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    body = [p for name, p in named if not name.startswith("fc.")]
    head = model.get_submodule("fc").parameters()
    groups: list[dict] = [{"params": body, "lr": lr}, {"params": head}]
    optimizer = torch.optim.AdamW(groups, lr=LR, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loaders = data.loaders(BATCH_SIZE, transform=Normalize(), augment=augment, seed=seed)
    fit(model, loaders.train, epochs=epochs, optimizer=optimizer, scheduler=schedule)
    return model


@torch.inference_mode()
def accuracy(model: nn.Module, split: Split) -> float:
    """Average the probabilities of each image and its mirror image; return the share right."""
    model.eval()
    X = Normalize()(split.inputs)  # (N, 3, H, W)
    probabilities = model(X).softmax(dim=1) + model(X.flip(-1)).softmax(dim=1)
    return (probabilities.argmax(dim=1) == split.labels).double().mean().item()


def measure(source: str, seeds: Sequence[int]) -> str:
    """Train with each strategy and seed, test each, and return a Markdown table."""
    scores: dict[str, list[float]] = {}
    for seed in seeds:
        data = together(load_ants_and_bees(source, SIZE, seed=seed))
        for name, model in train_strategies(data, seed).items():
            scores.setdefault(name, []).append(accuracy(model, data.test))
    return table(TITLES[source], len(data.test), scores)


def table(title: str, count: int, scores: dict[str, list[float]]) -> str:
    """Return a Markdown table: mean, deviation over seeds, Wilson's interval for the mean."""
    rows = [
        f"**{title}** ({count} test images, {len(scores['frozen'])} seeds)\n",
        "| strategy | mean | deviation over seeds | 95 % interval (Wilson) |",
        "|---|---|---|---|",
    ]
    for name, values in scores.items():
        mean, spread = statistics.mean(values), statistics.stdev(values)
        low, high = binomtest(round(mean * count), count).proportion_ci(method="wilson")
        rows.append(f"| {name} | {mean:.1%} | {spread:.1%} | {low:.1%} to {high:.1%} |")
    return "\n".join(rows)


def write_card(path: Path, source: str | Path, seeds: Sequence[int], sources: Sequence[str]) -> str:
    """Measure everything, write the card and a figure of kernels beside the weights."""
    weights, card = read_weights(path)
    plot_filters(weights["conv1.weight"], columns=8)
    plt.savefig(path.with_name("tiny_resnet_filters.png"), dpi=60, bbox_inches="tight")
    images = read_split(source, "val", 64)
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    text = template.format(
        bytes=path.stat().st_size,
        minutes=float(card["seconds"]) / 60,
        options=", ".join(f"{k} {v}" for k, v in json.loads(card["settings"]).items()),
        count=len(images.labels),
        size=SIZE,
        tables="\n\n".join(measure(name, seeds) for name in sources),
        **top_accuracy(load_backbone("tiny_resnet").model, images.inputs, images.labels),
        **card,
    )
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    return text
