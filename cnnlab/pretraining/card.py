"""Measures the embedded backbone and writes its card: nothing in the card is typed by hand.

    python -m cnnlab.pretraining.card --data tiny-imagenet.zip

Needs the photographs (cache, mirror or network) beside the pictures it was trained on.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from scipy.stats import binomtest
from torch import nn

from cnnlab.data.augmentation import Mirrored, augment
from cnnlab.data.datasets import ImageData, load_ants_and_bees
from cnnlab.data.downloads import packaged
from cnnlab.data.images import read_pictures
from cnnlab.data.splits import Split
from cnnlab.evaluation import Evaluation, evaluate
from cnnlab.models.backbones import Normalize, find_head, load_backbone, read_weights
from cnnlab.models.small import TinyResNet
from cnnlab.plotting import plot_filters
from cnnlab.pretraining.train import top_accuracy
from cnnlab.runtime import set_seed
from cnnlab.training import fit
from cnnlab.transfer import extract_features, freeze, replace_head

__all__ = ["fine_tuned", "from_scratch", "frozen", "measure", "write_card"]

# Chosen on validation photographs (mean of five splits), as was the averaging below; the test
# photographs were not looked at for it. Then every model learns from train and val together.
SIZE, BATCH_SIZE, LR, DECAY = 80, 32, 1e-3, 0.05
SCRATCH_EPOCHS, HEAD_EPOCHS, TUNE_EPOCHS = 24, 100, 12


def together(data: ImageData) -> ImageData:
    """Return the data with the validation pictures among those for training."""
    train, val = data.train, data.val
    inputs = torch.cat([train.inputs, val.inputs])
    both = Split(inputs, torch.cat([train.labels, val.labels]), classes=data.classes)
    return dataclasses.replace(data, train=both)


def _train(model: nn.Module, groups: list[dict], data: ImageData, epochs: int, seed: int) -> None:
    optimizer = torch.optim.AdamW(groups, lr=LR, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loaders = data.loaders(BATCH_SIZE, transform=Normalize(), augment=augment, seed=seed)
    fit(model, loaders.train, epochs=epochs, optimizer=optimizer, scheduler=schedule)


def from_scratch(data: ImageData, seed: int) -> nn.Module:
    """Train a TinyResNet that starts with random weights."""
    set_seed(seed)
    model = TinyResNet(len(data.classes))
    _train(model, [{"params": list(model.parameters())}], data, SCRATCH_EPOCHS, seed)
    return model


def frozen(data: ImageData, seed: int) -> nn.Module:
    """Train a head on features that were computed once, and put it on the backbone."""
    set_seed(seed)
    backbone = load_backbone("tiny_resnet")
    model = replace_head(backbone.model, len(data.classes))
    features = extract_features(backbone, data)
    fit(
        find_head(model)[1],
        features.loaders(BATCH_SIZE, seed=seed).train,
        epochs=HEAD_EPOCHS,
        lr=LR,
    )
    return model


def fine_tuned(start: nn.Module, data: ImageData, seed: int) -> nn.Module:
    """Go on from the frozen backbone with its trained head, then half of the way back."""
    set_seed(seed)
    model = freeze(copy.deepcopy(start), ["layer2", "layer3", "layer4", "fc"], norms=False)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for name, p in named if not name.startswith("fc.")], "lr": LR / 10},
        {"params": [p for name, p in named if name.startswith("fc.")], "lr": LR},
    ]
    _train(model, groups, data, TUNE_EPOCHS, seed)
    return _halfway(start, model)


def _halfway(before: nn.Module, after: nn.Module) -> nn.Module:
    """Return a network whose weights lie between those before and after fine-tuning.

    A few images pull the weights too far; half-way back is often better than either end.
    Source: Wortsman et al. (2022), *CVPR*.
    """
    start, middle = before.state_dict(), copy.deepcopy(after)
    mixed = {
        name: torch.lerp(start[name], value, 0.5) if value.is_floating_point() else value
        for name, value in after.state_dict().items()
    }
    middle.load_state_dict(mixed)
    return middle


def measure(source: str, seeds: Sequence[int]) -> dict[str, list[Evaluation]]:
    """Train with each strategy and seed; test each on pictures and their mirror images."""
    results: dict[str, list[Evaluation]] = {"from scratch": [], "frozen": [], "fine-tuned": []}
    for seed in seeds:
        data = together(load_ants_and_bees(source, SIZE, seed=seed))
        start = frozen(data, seed)
        models = [from_scratch(data, seed), start, fine_tuned(start, data, seed)]
        test = data.loaders(BATCH_SIZE, transform=Normalize()).test
        for evaluations, model in zip(results.values(), models, strict=True):
            evaluations.append(evaluate(Mirrored(model), test))
    return results


def table(title: str, results: dict[str, list[Evaluation]]) -> str:
    """Return a Markdown table: mean, deviation over seeds, Wilson's interval for the mean."""
    first = next(iter(results.values()))
    count = len(first[0].targets)
    rows = [f"**{title}** ({count} test pictures, {len(first)} seeds)", ""]
    rows += [
        "| strategy | mean | deviation over seeds | 95 % interval (Wilson) |",
        "|---|---|---|---|",
    ]
    for name, evaluations in results.items():
        scores = [evaluation.accuracy for evaluation in evaluations]
        mean, spread = statistics.mean(scores), statistics.stdev(scores)
        interval = binomtest(round(mean * count), count).proportion_ci(method="wilson")
        rows.append(
            f"| {name} | {mean:.1%} | {spread:.1%} | {interval.low:.1%} to {interval.high:.1%} |"
        )
    return "\n".join(rows)


def picture_of_filters(path: Path) -> str:
    """Draw the first layer's kernels beside the weights, and return the picture's name."""
    target = path.with_name(f"{path.stem}_filters.png")
    axes = plot_filters(read_weights(path)[0]["conv1.weight"], columns=8)
    axes.get_figure().savefig(target, dpi=60, bbox_inches="tight")  # type: ignore[union-attr]
    return target.name


def write_card(path: Path, source: str | Path, seeds: Sequence[int], sources: Sequence[str]) -> str:
    """Measure everything, write the card beside the weights, and return it."""
    _, card = read_weights(path)
    pictures = read_pictures(source, "val", 64)
    top = top_accuracy(load_backbone("tiny_resnet").model, pictures.images, pictures.labels)
    settings = ", ".join(f"{k} {v}" for k, v in json.loads(card["settings"]).items())
    titles = {"photos": "Photographs of ants and bees", "drawn": "Drawn ants and bees"}
    parts = [
        "# tiny_resnet",
        f"`TinyResNet` (see `cnnlab/models.py`), {path.stat().st_size:,} bytes in half precision. "
        f"Trained on {card['data']} in {float(card['seconds']) / 60:.0f} minutes on two CPU cores, "
        f"finished on {card['date']}.",
        f"- **Settings:** {settings}\n- **Repeat it:** `{card['command']}`\n"
        f"- **License:** {card['license']}",
        f"Top-1 {top['top1']:.2%} and top-5 {top['top5']:.2%} on the {len(pictures.labels):,} "
        "pictures of its `val` folder, on which nothing was tuned: the weights are those of the "
        "last epoch.",
        f"Transfer at {SIZE} pixels. Validation pictures chose the settings in "
        "`cnnlab/model_card.py`; then all strategies learned from train and val together. A "
        "fine-tuned network is the mean of its weights before and after (Wortsman et al. 2022); "
        "all are tested on pictures and their mirror images, averaged.",
        *(table(titles[name], measure(name, seeds)) for name in sources),
        f"![The kernels of conv1: edges, blobs and color opponents]({picture_of_filters(path)})",
        "This page was written by `python -m cnnlab.pretraining.card`.",
    ]
    text = "\n\n".join(parts) + "\n"
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


def main() -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder or zip with val/<class>/*")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    path = packaged("weights", "tiny_resnet.safetensors")
    print(write_card(path, arguments.data, range(arguments.seeds), ("photos", "drawn")))


if __name__ == "__main__":
    main()
