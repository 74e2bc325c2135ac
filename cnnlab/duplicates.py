"""Near duplicates between two splits: planted, found by perceptual hash, and counted."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cnnlab.splits import Split
from cnnlab.style import COLOURS, styled

__all__ = [
    "ALTERATIONS", "Matches", "Planted", "dhash", "find_matches", "hash_distances",
    "plant_duplicates", "plot_search", "search_quality",
]  # fmt: skip


def dhash(images: Tensor) -> Tensor:
    """Describe pictures by 64 bits each: is a coarse pixel brighter than its left neighbour?

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
    grey = images.float().mean(dim=1, keepdim=True)  # (N, 1, H, W)
    coarse = F.adaptive_avg_pool2d(grey, (8, 9))  # (N, 1, 8, 9)
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
        colours = [COLOURS[1], COLOURS[0]]
        ax.hist(groups, bins.tolist(), stacked=True, label=labels, color=colours, ec="white")
        ax.axvline(threshold + 0.5, color="black", ls=":", label="threshold")
        ax.set(xlabel="bits that differ from the closest training picture", ylabel="test pictures")
        ax.legend()
    return ax
