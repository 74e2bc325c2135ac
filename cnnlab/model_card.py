"""Measures the embedded backbone and writes its card: nothing in the card is typed by hand.

    python -m cnnlab.model_card --data tiny-imagenet.zip

Needs the photographs (cache, mirror or network) beside the pictures it was trained on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from scipy.stats import binomtest
from torch import nn

from cnnlab.augmentation import augment
from cnnlab.backbones import Backbone, Normalise, load_backbone, read_weights
from cnnlab.datasets import ImageData, load_ants_and_bees
from cnnlab.evaluation import Evaluation, evaluate
from cnnlab.models import TinyResNet
from cnnlab.pictures import read_pictures
from cnnlab.places import packaged
from cnnlab.pretraining import top_accuracy
from cnnlab.runtime import set_seed
from cnnlab.training import fit
from cnnlab.transfer import extract_features, freeze, replace_head

__all__ = ["fine_tuned", "from_scratch", "frozen", "measure", "write_card"]

# Chosen on the validation photographs; the test photographs were not looked at for it.
SIZE, BATCH_SIZE, LR, DECAY = 112, 32, 1e-3, 0.05
SCRATCH_EPOCHS, HEAD_EPOCHS, TUNE_EPOCHS = 24, 100, 12


def _train(model: nn.Module, groups: list[dict], data: ImageData, epochs: int, seed: int) -> None:
    optimizer = torch.optim.AdamW(groups, lr=LR, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loaders = data.loaders(BATCH_SIZE, transform=Normalise(), augment=augment, seed=seed)
    fit(model, loaders.train, loaders.val, epochs=epochs, optimizer=optimizer, scheduler=schedule)


def from_scratch(data: ImageData, seed: int) -> nn.Module:
    """Train a TinyResNet that starts with random weights."""
    set_seed(seed)
    model = TinyResNet(len(data.classes))
    _train(model, [{"params": list(model.parameters())}], data, SCRATCH_EPOCHS, seed)
    return model


def frozen(backbone: Backbone, features: ImageData, seed: int) -> nn.Linear:
    """Train a head on features that were computed once."""
    set_seed(seed)
    head = nn.Linear(backbone.num_features, len(features.classes))
    loaders = features.loaders(BATCH_SIZE, seed=seed)
    fit(head, loaders.train, loaders.val, epochs=HEAD_EPOCHS, lr=LR)
    return head


def fine_tuned(head: nn.Linear, data: ImageData, seed: int) -> nn.Module:
    """Go on from the frozen backbone with its trained head, in small steps below the head."""
    set_seed(seed)
    model = replace_head(load_backbone("tiny_resnet").model, len(data.classes))
    model.fc.load_state_dict(head.state_dict())  # type: ignore[union-attr, operator]
    freeze(model, ["layer2", "layer3", "layer4", "fc"])
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.requires_grad_(False)  # and so kept in eval mode: see training_mode
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for name, p in named if not name.startswith("fc.")], "lr": LR / 10},
        {"params": [p for name, p in named if name.startswith("fc.")], "lr": LR},
    ]
    _train(model, groups, data, TUNE_EPOCHS, seed)
    return model


def measure(source: str, seeds: Sequence[int]) -> dict[str, list[Evaluation]]:
    """Train with each strategy and seed; the seed also chooses the validation pictures."""
    results: dict[str, list[Evaluation]] = {"from scratch": [], "frozen": [], "fine-tuned": []}
    for seed in seeds:
        data = load_ants_and_bees(source, SIZE, seed=seed)
        backbone = load_backbone("tiny_resnet")
        features = extract_features(backbone, data)
        head = frozen(backbone, features, seed)
        test = data.loaders(BATCH_SIZE, transform=Normalise()).test
        results["from scratch"].append(evaluate(from_scratch(data, seed), test))
        results["frozen"].append(evaluate(head, features.loaders(BATCH_SIZE).test))
        results["fine-tuned"].append(evaluate(fine_tuned(head, data, seed), test))
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
        f"- **Licence:** {card['licence']}",
        f"Top-1 {top['top1']:.2%} and top-5 {top['top5']:.2%} on the {len(pictures.labels):,} "
        "pictures of its `val` folder, on which nothing was tuned: the weights are those of the "
        "last epoch.",
        f"Transfer at {SIZE} pixels. Validation pictures chose the epoch, and by hand the settings "
        "in `cnnlab/model_card.py`; the test pictures were used once a model.",
        *(table(titles[name], measure(name, seeds)) for name in sources),
        "This page was written by `python -m cnnlab.model_card`.",
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
