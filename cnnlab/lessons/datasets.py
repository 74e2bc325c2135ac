"""Well-known image datasets, a card each: drawn from ``data/published/datasets.csv``."""

from __future__ import annotations

import contextlib
import csv
import inspect
import io
import math
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import datasets

from cnnlab.data.downloads import packaged
from cnnlab.data.splits import Augment, ImageData, Split, divide, to_float
from cnnlab.evaluation import Evaluation, evaluate
from cnnlab.plotting import COLORS, styled
from cnnlab.training import fit

__all__ = [
    "ALTERATIONS",
    "CapacityGrid",
    "DatasetCard",
    "Matches",
    "Planted",
    "TorchvisionDataset",
    "capacity_grid",
    "dataset_cards",
    "dhash",
    "find_matches",
    "hash_distances",
    "plant_duplicates",
    "plot_capacity",
    "plot_datasets",
    "plot_errors",
    "plot_search",
    "search_quality",
    "shift_turn_scale",
    "small_convnet",
    "torchvision_datasets",
    "train_small",
]

Point = tuple[int, int]  # images, pixels an image
UNITS = {10**12: "TB", 10**9: "GB", 10**6: "MB"}


@dataclass(frozen=True)
class DatasetCard:
    """What one should know of a dataset before using it.

    Attributes
    ----------
    train, val, test : int or None
        Images in each split; None where there is none.
    height, width : int
        Pixels; of a usual picture where ``sizes`` is "varied", else of all.
    bytes : int or None
        Of the files to download, None if unknown.
    source, note : str
        The paper with its year, and what is easily overlooked.
    """

    name: str
    year: int
    task: str
    train: int
    val: int | None
    test: int | None
    classes: int
    height: int
    width: int
    channels: int
    sizes: str
    bytes: int | None
    license: str
    source: str
    note: str

    @property
    def images(self) -> int:
        """Images in all splits together."""
        return self.train + (self.val or 0) + (self.test or 0)

    @property
    def size(self) -> str:
        """The download in MB, GB or TB (powers of ten)."""
        if self.bytes is None:
            return "unknown"
        unit = next(unit for unit in UNITS if self.bytes >= unit)
        return f"{self.bytes / unit:.3g} {UNITS[unit]}"

    def __str__(self) -> str:
        splits = {"train": self.train, "validation": self.val, "test": self.test}
        counts = [f"{number:,} {name}" for name, number in splits.items() if number]
        about = "about " if self.sizes == "varied" else ""
        color = "gray" if self.channels == 1 else "color"
        lines = {
            "task": self.task,
            "images": " + ".join(counts) if counts[1:] else f"{self.train:,}, not split",
            "classes": f"{self.classes:,}",
            "pixels": f"{about}{self.height} × {self.width}, {color}",
            "download": self.size,
            "license": self.license,
            "source": self.source,
            "note": textwrap.fill(self.note, 76, subsequent_indent=" " * 12),
        }
        rows = [f"  {name:<9} {text}" for name, text in lines.items()]
        return "\n".join([f"{self.name} ({self.year})", *rows])


def dataset_cards() -> dict[str, DatasetCard]:
    """Return the cards by name, in the order of the file.

    Examples
    --------
    >>> dataset_cards()["CIFAR-10"].classes
    10
    """
    with packaged("published", "datasets.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = {"name", "task", "sizes", "license", "source", "note"}
    cards: list[dict[str, Any]] = [
        {k: v if k in texts else int(v) if v else None for k, v in row.items()} for row in rows
    ]
    return {row["name"]: DatasetCard(**card) for row, card in zip(rows, cards, strict=True)}


def plot_datasets(cards: dict[str, DatasetCard], ax: Axes | None = None) -> Axes:
    """Draw images against pixels an image, both on a log scale; diagonals have equal totals.

    Parameters
    ----------
    cards : dict
        From :func:`dataset_cards`. Datasets of one size share a point.
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> ax = plot_datasets(dataset_cards())
    >>> "MNIST, Fashion-MNIST" in [text.get_text() for text in ax.texts]
    True
    """
    groups: dict[Point, list[DatasetCard]] = defaultdict(list)
    for card in cards.values():
        groups[card.images, card.height * card.width].append(card)
    with styled():
        ax = ax if ax is not None else plt.subplots(figsize=(10, 4.8))[1]
        for exponent in range(8, 14):
            total = 10.0**exponent
            x = np.array([3e3, 1e8])
            ax.plot(x, total / x, color="lightgray", lw=1, zorder=0)
            end = min(8e7, total / 240)  # where the line leaves the picture
            ax.text(end, total / end, f"$10^{{{exponent}}}$ pixels", color="dimgray", size=11,
                    rotation=-27, rotation_mode="anchor", ha="right", va="bottom")  # fmt: skip
        for point, members in groups.items():
            only_classes = members[0].task == "classification"
            ax.plot(*point, "o", color=COLORS[0 if only_classes else 1], ms=10)
            names = ", ".join(card.name for card in members)
            ax.annotate(names, point, textcoords="offset points", **_placement(point, list(groups)))
        for color, task in zip(COLORS, ("classification", "also boxes or outlines"), strict=False):
            ax.plot([], [], "o", color=color, ms=10, label=task)
        ax.legend(loc="upper left")
        ax.set(xscale="log", yscale="log", xlim=(3e3, 1e8), ylim=(2e2, 3e6))
        ax.set(xlabel="images", ylabel="pixels an image")
    return ax


def _placement(point: Point, points: list[Point]) -> dict[str, Any]:
    """Say where a point's name has room: above it, or away from neighbors of about its size."""
    near = [
        other for other in points
        if other != point and all(0.5 < a / b < 2 for a, b in zip(point, other, strict=True))
    ]  # fmt: skip
    if not near:
        return {"xytext": (0, 9), "ha": "center", "va": "bottom"}
    if point[0] > max(other[0] for other in near):
        return {"xytext": (10, 0), "ha": "left", "va": "center"}
    lower = point[1] < max(other[1] for other in near)
    return {"xytext": (-9, -1 if lower else 1), "ha": "right", "va": "top" if lower else "bottom"}


def small_convnet(width: int, num_classes: int = 10, dropout: float = 0.0) -> nn.Sequential:
    """Return two convolutions with `width` channels and a linear layer, for pictures of 28 × 28.

    Examples
    --------
    >>> small_convnet(8)(torch.zeros(1, 1, 28, 28)).shape
    torch.Size([1, 10])
    """
    return nn.Sequential(
        nn.Conv2d(1, width, kernel_size=5, stride=2, padding=2),  # (B, width, 14, 14)
        nn.ReLU(),
        nn.Conv2d(width, width, kernel_size=5, stride=2, padding=2),  # (B, width, 7, 7)
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(49 * width, num_classes),
    )


def shift_turn_scale(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each picture by up to 2 of 28 pixels, turn it by 15°, scale it by 20 %; at random.

    Nothing is mirrored: a mirrored 2 is no 2. What comes in from beyond the edge is black.

    Examples
    --------
    >>> images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    >>> shift_turn_scale(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 1, 28, 28])
    """
    u = 2 * torch.rand(4, len(images), generator=generator) - 1  # each in [-1, 1]
    scale, angle, (x, y) = torch.exp(0.2 * u[0]), math.radians(15) * u[1], 0.15 * u[2:]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    maps = torch.stack([cos, -sin, x, sin, cos, y], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(to_float(images), grid, align_corners=False)


def train_small(
    data: ImageData,
    width: int,
    *,
    epochs: int,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    augment: Augment | None = None,
    seed: int = 0,
) -> tuple[Evaluation, Evaluation]:
    """Train a :func:`small_convnet`, keep its last weights, and evaluate it on train and val.

    Examples
    --------
    >>> from cnnlab import load_mnist
    >>> train, val = train_small(load_mnist("digits", limit=30), width=8, epochs=60)
    Data: scikit-learn's 1,797 handwritten digits.
    >>> train.accuracy, val.accuracy < 0.9
    (1.0, True)
    """
    torch.manual_seed(seed)
    model = small_convnet(width, len(data.classes), dropout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=weight_decay)
    loaders = data.loaders(augment=augment, seed=seed)
    with contextlib.redirect_stdout(io.StringIO()):  # many trainings: no bar for each
        fit(model, loaders.train, epochs=epochs, optimizer=optimizer)
    as_it_is = data.loaders().train  # not augmented
    return evaluate(model, as_it_is), evaluate(model, loaders.val)


@dataclass(frozen=True)
class CapacityGrid:
    """Errors of networks of W widths on N subsets, each measured with S seeds.

    Attributes
    ----------
    widths, sizes, parameters : list of int
        Channels (W), training images (N), and parameters of each network (W).
    train_error, val_error : Tensor
        Share of wrong answers, shape (S, W, N).
    """

    widths: list[int]
    sizes: list[int]
    parameters: list[int]
    train_error: Tensor
    val_error: Tensor


def capacity_grid(
    data: ImageData,
    widths: Sequence[int],
    sizes: Sequence[int],
    seeds: Sequence[int],
    steps: int = 200,
) -> CapacityGrid:
    """Train every width on every size, and measure both errors.

    Each training takes about as many steps, however few images there are: the fewer, the more
    often each is seen. Each seed draws other images and other weights.
    """
    errors = torch.zeros(2, len(seeds), len(widths), len(sizes))
    for s, seed in enumerate(seeds):
        for n, size in enumerate(sizes):
            few = replace(data, train=divide(data.train, size, seed)[1])
            epochs = max(1, steps // len(few.loaders().train))
            for w, width in enumerate(widths):
                results = train_small(few, width, epochs=epochs, seed=seed)
                errors[:, s, w, n] = torch.tensor([1 - result.accuracy for result in results])
    parameters = [sum(p.numel() for p in small_convnet(width).parameters()) for width in widths]
    return CapacityGrid(list(widths), list(sizes), parameters, *errors)


def plot_errors(grid: CapacityGrid, ax: Axes | None = None) -> Axes:
    """Draw training and validation error of the narrowest and the widest network over the size."""
    with styled():
        ax = ax if ax is not None else plt.subplots(figsize=(9, 4))[1]
        for color, w in ((COLORS[1], 0), (COLORS[0], -1)):
            name = f"{grid.parameters[w]:,} parameters"
            train, val = (e[:, w].mean(dim=0) for e in (grid.train_error, grid.val_error))
            ax.plot(grid.sizes, val, "o-", color=color, lw=2, label=f"{name}, validation")
            ax.plot(grid.sizes, train, "o:", color=color, lw=2, label=f"{name}, training")
            ax.fill_between(grid.sizes, train, val, color=color, alpha=0.12, lw=0)
        ax.set_xscale("log")
        ax.set_xticks(grid.sizes, [f"{size:,}" for size in grid.sizes], minor=False)
        ax.set_xticks([], minor=True)
        ax.yaxis.set_major_locator(MultipleLocator(0.05))
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.set(xlabel="training images", ylabel="error", ylim=(-0.01, None))
        ax.legend()
    return ax


def plot_capacity(grid: CapacityGrid) -> np.ndarray:
    """Draw the mean training and validation error of every width and size, side by side."""
    names = [f"{p:,}" for p in grid.parameters]
    with styled():
        axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)[1]
        pairs = [("training error", grid.train_error), ("validation error", grid.val_error)]
        limit = grid.val_error.mean(dim=0).max().item()
        for ax, (title, errors) in zip(axes, pairs, strict=True):
            mean = errors.mean(dim=0).numpy()  # (W, N)
            ax.imshow(mean, cmap="Blues", vmin=0, vmax=limit, aspect="auto")
            for (row, column), value in np.ndenumerate(mean):
                color = "white" if value > 0.55 * limit else "black"
                ax.text(column, row, f"{value:.1%}", ha="center", va="center", color=color)
            ax.set_xticks(range(len(grid.sizes)), [f"{size:,}" for size in grid.sizes])
            ax.set_yticks(range(len(names)), names)
            ax.set(title=title, xlabel="training images")
            ax.spines[:].set_visible(False)
            ax.tick_params(length=0)
        axes[0].set_ylabel("parameters")
    return axes


def dhash(images: Tensor) -> Tensor:
    """Describe pictures by 64 bits each: is a coarse pixel brighter than its left neighbor?

    Copies that were brightened, rescaled or compressed keep nearly all of their bits. The idea
    of the difference hash: Krawetz (2013), "Kind of like that".

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W), at least 8 × 9 pixels.

    Returns
    -------
    Tensor
        Shape (N, 64), bool.

    Examples
    --------
    >>> ramp = torch.arange(9.0).expand(1, 1, 8, 9)  # brighter to the right
    >>> dhash(ramp).sum().item(), dhash(ramp.flip(-1)).sum().item()
    (64, 0)
    """
    gray = images.float().mean(dim=1, keepdim=True)  # (N, 1, H, W)
    coarse = F.adaptive_avg_pool2d(gray, (8, 9))  # (N, 1, 8, 9)
    return (coarse[..., 1:] > coarse[..., :-1]).flatten(1)  # (N, 64)


def hash_distances(first: Tensor, second: Tensor) -> Tensor:
    """Count the bits that differ (Hamming distance): (N, 64) and (M, 64) -> int (N, M).

    Examples
    --------
    >>> bits = torch.tensor([[True, True, False], [True, False, True]])
    >>> hash_distances(bits, bits).tolist()
    [[0, 2], [2, 0]]
    """
    a, b = first.float(), second.float()
    return (a @ (1 - b).T + (1 - a) @ b.T).int()


class Matches(NamedTuple):
    """The closest training picture of each of M pictures: bits of difference, and its index."""

    distance: Tensor  # (M,)
    partner: Tensor  # (M,)


def find_matches(train: Tensor, test: Tensor) -> Matches:
    """Find the training picture whose hash, as it is or mirrored, is closest to each test picture.

    Parameters
    ----------
    train, test : Tensor
        Pictures (N, C, H, W) and (M, C, H, W).

    Examples
    --------
    >>> train = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> find_matches(train, train[[7, 3]].flip(-1))
    Matches(distance=tensor([0, 0], dtype=torch.int32), partner=tensor([7, 3]))
    """
    known = dhash(train)
    as_it_is = hash_distances(dhash(test), known)  # (M, N)
    mirrored = hash_distances(dhash(test.flip(-1)), known)
    return Matches(*torch.minimum(as_it_is, mirrored).min(dim=1))


def brighter(picture: Tensor) -> Tensor:
    """Multiply by 1.3; what was nearly white becomes white."""
    return (picture.float() * 1.3).clamp(0, 255).byte()


def rescaled(picture: Tensor, share: float = 0.5) -> Tensor:
    """Shrink a picture (C, H, W) and enlarge it again."""
    small = F.interpolate(picture[None].float(), scale_factor=share, mode="area")
    size = tuple(picture.shape[1:])
    return F.interpolate(small, size=size, mode="bilinear")[0].round().byte()


def recompressed(picture: Tensor) -> Tensor:
    """Save as a JPEG of low quality, and read that."""
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=30)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def cropped(picture: Tensor) -> Tensor:
    """Cut off a tenth at the left and at the top, and enlarge the rest."""
    _, height, width = picture.shape
    rest = picture[None, :, height // 10 :, width // 10 :].float()
    return F.interpolate(rest, size=(height, width), mode="bilinear")[0].round().byte()


ALTERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "copied": torch.clone,
    "mirrored": lambda picture: picture.flip(-1),
    "brighter": brighter,
    "rescaled": rescaled,
    "recompressed": recompressed,
    "cropped": cropped,
}


class Planted(NamedTuple):
    """A split with duplicates in it."""

    split: Split
    source: Tensor  # (M,) index of the training picture it was made from; -1 if it is a new one
    kinds: list[str]  # M names of alterations; "" if it is a new one


def plant_duplicates(train: Split, test: Split, each: int = 5, seed: int = 0) -> Planted:
    """Append altered training pictures to a test split, `each` of every kind of alteration.

    Raises
    ------
    ValueError
        If there are not enough training pictures to take each of them once at most.

    Examples
    --------
    >>> pictures = torch.zeros(12, 3, 16, 16, dtype=torch.uint8)
    >>> split = Split(pictures, torch.arange(12) % 2)
    >>> planted = plant_duplicates(split, split, each=1)
    >>> len(planted.split), planted.kinds[12:15], (planted.source >= 0).sum().item()
    (18, ['copied', 'mirrored', 'brighter'], 6)
    """
    count = each * len(ALTERATIONS)
    if count > len(train):
        raise ValueError(f"{count} duplicates asked for, but only {len(train)} training pictures")
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:count]
    kinds = [kind for kind in ALTERATIONS for _ in range(each)]
    copies = [ALTERATIONS[k](train.inputs[i]) for k, i in zip(kinds, chosen, strict=True)]
    split = Split(
        torch.cat([test.inputs, torch.stack(copies)]),
        torch.cat([test.labels, train.labels[chosen]]),
        test.names + [f"{k} {train.names[i]}" for k, i in zip(kinds, chosen, strict=True)],
        classes=test.classes,
    )
    new = torch.full((len(test),), -1)
    return Planted(split, torch.cat([new, chosen]), [""] * len(test) + kinds)


def search_quality(matches: Matches, source: Tensor, threshold: int) -> tuple[float, float]:
    """Return precision and recall of calling everything up to `threshold` bits a duplicate.

    Precision: how many of the pairs that were found are true. Recall: how many of the planted
    pictures were found, with the right partner. Precision is 1 when nothing was found.

    Examples
    --------
    >>> matches = Matches(torch.tensor([0, 4, 9]), torch.tensor([5, 6, 7]))
    >>> search_quality(matches, torch.tensor([5, -1, 7]), threshold=4)
    (0.5, 0.5)
    """
    found = matches.distance <= threshold
    planted = int((source >= 0).sum())
    right = int((found & (matches.partner == source)).sum())
    precision = right / int(found.sum()) if found.any() else 1.0
    return precision, right / planted if planted else 0.0


def plot_search(matches: Matches, source: Tensor, threshold: int, ax: Axes | None = None) -> Axes:
    """Draw how many bits new pictures and planted ones differ from their closest match."""
    with styled():
        ax = ax if ax is not None else plt.subplots(figsize=(9, 3.6))[1]
        planted = source >= 0
        bins = torch.arange(int(matches.distance.max()) + 2) - 0.5
        groups = [matches.distance[planted], matches.distance[~planted]]
        labels = ["planted duplicates", "new pictures"]
        colors = [COLORS[1], COLORS[0]]
        ax.hist(groups, bins.tolist(), stacked=True, label=labels, color=colors, ec="white")
        ax.axvline(threshold + 0.5, color="black", ls=":", label="threshold")
        ax.set(xlabel="bits that differ from the closest training picture", ylabel="test pictures")
        ax.legend()
    return ax


# Tasks are told by words in the documentation of a class: a guess, and nearly always right.
_TASKS = {
    "classification": r"classif|categor|class (index|label|name)|recognition|identity",
    "boxes": r"bbox|bounding box|detection (dataset|task)|object detection|\w+detection\n",
    "segmentation": r"segmentation|semantic",
    "captions": r"caption",
    "pairs": r"pairs|correspondence",
    "stereo": r"\A\w*stereo",
    "optical flow": r"optical flow",
    "video": r"videos?\b|\AmovingMNIST",
}
_NOT_DATASETS = {"VisionDataset", "DatasetFolder", "ImageFolder", "LSUNClass", "FakeData"}
_GONE = r"(isn't|URL is not|no longer) available (anymore|online|for (automatic )?download)"


@dataclass(frozen=True)
class TorchvisionDataset:
    """One class of ``torchvision.datasets``.

    Attributes
    ----------
    name : str
        ``torchvision.datasets.<name>``.
    about : str
        The first sentence of its documentation.
    tasks : tuple of str
        What its targets are for.
    hosts : tuple of str
        Where its download comes from, as far as its source code says.
    downloads : bool
        Whether ``download=True`` fetches it; otherwise you have to.
    """

    name: str
    about: str
    tasks: tuple[str, ...]
    hosts: tuple[str, ...]
    downloads: bool

    def __str__(self) -> str:
        where = f" from {', '.join(self.hosts)}" if self.hosts else ""
        how = f"downloads{where}" if self.downloads else "you have to get it yourself"
        return f"{self.name:<21} {', '.join(self.tasks):<28} {how}"


def torchvision_datasets(words: str = "") -> list[TorchvisionDataset]:
    """List the datasets that torchvision can load, those that match all of some words.

    Nothing is downloaded. Words are looked for in names, first sentences, tasks and hosts.

    Examples
    --------
    >>> [entry.name for entry in torchvision_datasets("mnist")][:3]
    ['EMNIST', 'FashionMNIST', 'KMNIST']
    >>> print(torchvision_datasets("CIFAR100")[0])
    CIFAR100              classification               downloads from www.cs.toronto.edu
    """
    classes = [getattr(datasets, name) for name in datasets.__all__ if name not in _NOT_DATASETS]
    entries = [_entry(c) for c in classes if inspect.isclass(c)]
    wanted = words.lower().split()
    found = [entry for entry in entries if all(w in str(vars(entry)).lower() for w in wanted)]
    return sorted(found, key=lambda entry: entry.name.lower())


def _entry(cls: type) -> TorchvisionDataset:
    documentation = _without_links(inspect.getdoc(cls) or "")
    first = re.split(r"\n\s*\n|\.\s", documentation, maxsplit=1)[0]
    item = inspect.getdoc(getattr(cls, "__getitem__", None)) or ""
    own = [base for base in cls.__mro__ if base.__module__.startswith("torchvision.datasets.")]
    code = [_without_links(inspect.getsource(base)) for base in own]
    module = _without_links(inspect.getsource(inspect.getmodule(cls)))  # type: ignore[arg-type]
    hosts = (dict.fromkeys(re.findall(r"https?://([\w.-]+)", text)) for text in [*code, module])
    boxes = "bbox" if '"bbox"' in code[0] else ""  # some say so only in their code
    return TorchvisionDataset(
        cls.__name__,
        " ".join(first.split()).rstrip("."),
        _tasks(f"{cls.__name__}\n{documentation}\n{item}\n{boxes}"),
        tuple(next(filter(None, hosts), ())),
        any(re.search(r"\bdownload\b.*= ?(False|True)", text) for text in code)
        and not re.search(_GONE, documentation + code[0]),
    )


def _without_links(text: str) -> str:
    """Keep what a link says, not where it leads: ``\\`MNIST <address>\\`_`` becomes MNIST."""
    return re.sub(r"`([^`<]*?)\s*<[^>]*>`_*", r"\1", text)


def _tasks(text: str) -> tuple[str, ...]:
    found = tuple(task for task, words in _TASKS.items() if re.search(words, text, re.IGNORECASE))
    return found or ("classification",)
