"""The ledger of architectures: what they cost, recomputed, beside what was published."""

from __future__ import annotations

import csv
import importlib.util
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from cnnlab.graphs import Node
from cnnlab.ledger import count_macs
from cnnlab.places import packaged
from cnnlab.receptive_fields import receptive_field
from cnnlab.tracing import trace
from cnnlab.zoo import build, trained

__all__ = ["Architecture", "Ledger", "Published", "model_ledger"]

_LAYERS = {"convolution": 1, "fully connected": 1, "attention": 2}  # attention projects twice


@dataclass(frozen=True)
class Published:
    """What a paper says; None where it says nothing.

    Attributes
    ----------
    parameters, gmacs, top1, depth : number or None
        Weights, billions of multiply-adds, top-1 accuracy in per cent, layers.
    top1_setting : str
        How the accuracy was measured.
    source : str
        Paper and year.
    """

    parameters: int | None
    gmacs: float | None
    top1: float | None
    depth: int | None
    top1_setting: str
    source: str


@dataclass(frozen=True)
class Architecture:
    """One row of the ledger: counted on the network itself, beside the published numbers.

    Attributes
    ----------
    name, year, family, model : str, int, str, str
        The year is that of the first publication; ``model`` says who builds it.
    input_size : tuple of int
        (C, H, W), the paper's.
    parameters, auxiliary : int or None
        Without auxiliary heads, and in those heads; each tensor counts once.
    gmacs : float or None
        Billions of multiply-adds for one picture.
    depth : int or None
        Layers with weights on the longest path.
    field_size : str
        Side of the receptive field before the last pooling in pixels, or "global".
    weights : dict
        Name of the trained weights to their top-1 accuracy in per cent, the oldest first.
    published : Published
        What the paper says.
    reasons : dict
        Column name to the reason why the two differ.
    note : str
        Why nothing could be counted, if so.
    """

    name: str
    year: int
    family: str
    model: str
    input_size: tuple[int, ...]
    published: Published
    reasons: dict[str, str]
    parameters: int | None = None
    auxiliary: int = 0
    gmacs: float | None = None
    depth: int | None = None
    field_size: str = ""
    weights: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def top1(self) -> float | None:
        """Top-1 accuracy of the oldest weights, in per cent; None if there are none."""
        return next(iter(self.weights.values()), None)


class Ledger(list[Architecture]):
    """Rows that print as a table: counted, and in brackets what was published."""

    def __str__(self) -> str:
        head = (
            "network",
            "year",
            "parameters (M)",
            "GMACs",
            "depth",
            "field",
            "top-1 (%)",
            "weights",
        )
        rows = [head, *(_cells(row) for row in self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(t.ljust(w) if i in (0, 7) else t.rjust(w) for i, (t, w) in cells).rstrip()
            for cells in (enumerate(zip(row, widths, strict=True)) for row in rows)
        ]
        legend = "counted (published); a sum: network + auxiliary heads"
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], legend])

    def differences(self) -> str:
        """Say for each number that is not the published one why; equal reasons share a line."""
        where: dict[str, list[str]] = {}
        for row in self:
            for column, reason in row.reasons.items():
                where.setdefault(reason, []).append(f"{row.name} {column}")
        lines = (f"{', '.join(places)}: {reason}" for reason, places in where.items())
        return "\n".join(textwrap.fill(line, 88, subsequent_indent="  ") for line in lines)


def _cells(row: Architecture) -> tuple[str, ...]:
    said = row.published
    parameters = _both(row.parameters, said.parameters, 1e6)
    if row.auxiliary and row.parameters:
        parameters = parameters.replace(" ", f"+{row.auxiliary / 1e6:.2f} ", 1)
    return (
        row.name,
        str(row.year),
        parameters,
        _both(row.gmacs, said.gmacs),
        f"{row.depth or '?'}" + (f" ({said.depth})" if said.depth else ""),
        row.field_size or "?",
        _both(row.top1, said.top1),
        next(iter(row.weights), "").split(".")[-1] or row.note,
    )


def _both(counted: float | None, said: float | None, unit: float = 1) -> str:
    """Write a number with three digits that count, and the published one in brackets."""

    def written(value: float | None) -> str:
        if value is None:
            return "?"
        value /= unit
        return f"{value:.4f}" if value < 0.1 else f"{value:.2f}"

    return written(counted) + (" (–)" if said is None else f" ({written(said)})")


def model_ledger(names: Sequence[str] | None = None) -> Ledger:
    """Count parameters, multiply-adds, depth and field of well-known networks.

    Nothing is typed in: the networks are built without numbers (on PyTorch's meta device) and
    counted. What was published stands beside it, from ``data/published/architectures.csv``.

    Parameters
    ----------
    names : sequence of str, optional
        Names as in the ledger, e.g. "ResNet-50"; all if None.

    Raises
    ------
    ValueError
        If a name is unknown; the message lists the names.

    Examples
    --------
    >>> (row,) = model_ledger(["AlexNet"])
    >>> row.parameters, round(row.gmacs, 3), row.depth, row.field_size
    (61100840, 0.714, 8, '195')
    """
    with packaged("published", "architectures.csv").open(encoding="utf-8", newline="") as file:
        records = {record["name"]: record for record in csv.DictReader(file)}
    unknown = set(names or ()) - records.keys()
    if unknown:
        known = ", ".join(records)
        raise ValueError(f"no such network: {', '.join(sorted(unknown))}; there are {known}")
    return Ledger(_row(records[name]) for name in names or records)


def _row(record: dict[str, str]) -> Architecture:
    size = tuple(map(int, record["input_size"].split("×")))
    said = Published(
        int(record["parameters"]) if record["parameters"] else None,
        float(record["gmacs"]) if record["gmacs"] else None,
        float(record["top1"]) if record["top1"] else None,
        int(record["depth"]) if record["depth"] else None,
        record["top1_setting"],
        record["source"],
    )
    columns = {"parameters": "parameters_reason", "GMACs": "macs_reason", "top-1": "top1_reason"}
    reasons = {column: record[key] for column, key in columns.items() if record[key]}
    known = (record["name"], int(record["year"]), record["family"], record["model"], size)
    if record["model"].startswith("timm/") and importlib.util.find_spec("timm") is None:
        return Architecture(*known, said, reasons, note='needs timm: pip install "cnnlab[zoo]"')
    model = build(record["model"])
    heads = [m for name, m in model.named_children() if name.lower().startswith("aux")]
    extra = sum(p.numel() for head in heads for p in head.parameters())
    weights = {record["weights"]: float(record["weights_top1"])} if record["weights"] else {}
    return Architecture(
        *known,
        said,
        reasons,
        parameters=sum(p.numel() for p in model.parameters()) - extra,
        auxiliary=extra,
        gmacs=count_macs(model, size) / 1e9,
        depth=max(trace(model, size, depth=99).longest_path(_layers).values()),
        field_size=_field(model, size),
        weights=weights or dict(trained(record["model"])),
    )


def _layers(node: Node) -> int:
    return _LAYERS.get(node.kind, 0)


def _field(model: nn.Module, size: tuple[int, ...]) -> str:
    """Return the field of the last map that still has more than one position."""
    fields = receptive_field(model, (size[0], size[1], size[2]))
    # (C, H, W) or (H, W, C): a map has more than one position if two of its sides are above 1
    maps = [f for f in fields.values() if len(f.shape) > 1 and sorted(f.shape)[-2] > 1]
    return "global" if maps[-1].is_global else str(maps[-1].size[0])
