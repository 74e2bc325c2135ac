"""Measures the embedded network and writes its card: no number in the card is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt

from cnnlab.data.folders import read_split
from cnnlab.models.backbones import load_backbone, read_weights
from cnnlab.plotting import plot_filters
from cnnlab.pretraining.train import top_accuracy

__all__ = ["write_card"]


def write_card(path: Path, source: str | Path) -> str:
    """Measure the weights, write the card and a figure of kernels beside them.

    Parameters
    ----------
    path : Path
        The weights, ``tiny_resnet.safetensors``.
    source : path
        The folder or zip on whose ``val/<class>/*`` accuracy is measured.
    """
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
        **top_accuracy(load_backbone("tiny_resnet").model, images.inputs, images.labels),
        **card,
    )
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    return text
