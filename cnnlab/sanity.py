"""Two tests of a map: does it depend on what was learned, and does it point at the object?"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["pointing_game", "rank_correlation", "sanity_check", "shuffle_weights"]

Method = Callable[[nn.Module, Tensor, Tensor], Tensor]


def shuffle_weights(model: nn.Module, share: float, seed: int = 0) -> nn.Module:
    """Return a copy whose last layers hold their own numbers in random order: nothing learned.

    Source of the test: Adebayo et al. (2018), *NeurIPS*, who draw new random weights.

    Parameters
    ----------
    model : nn.Module
        The network.
    share : float
        Of the layers that have weights, counted from the last one: 0 for none, 1 for all.
    seed : int
        Of the order.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 9))
    >>> half = shuffle_weights(model, 0.5)
    >>> [torch.equal(model[i].weight, half[i].weight) for i in (0, 2)]
    [True, False]
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = copy.deepcopy(model)
    layers = [m for m in shuffled.modules() if list(m.parameters(recurse=False))]
    for layer in layers[len(layers) - math.ceil(share * len(layers)) :]:
        for parameter in layer.parameters(recurse=False):
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.data = parameter.data.flatten()[order].view_as(parameter)
    return shuffled


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation of each pair of maps (B, H, W), as (B,).

    1 if both put the pixels into the same order, about 0 if the orders have nothing in common.
    A map that is the same everywhere orders nothing, which counts as 0.

    Examples
    --------
    >>> ramp = torch.arange(16.0).view(1, 4, 4)
    >>> rank_correlation(ramp, ramp**2).item(), rank_correlation(ramp, -ramp).item()
    (1.0, -1.0)
    """
    correlations = []
    for a, b in zip(first.flatten(1), second.flatten(1), strict=True):
        constant = bool((a == a[0]).all() or (b == b[0]).all())
        correlations.append(0.0 if constant else float(spearmanr(a, b).statistic))
    return torch.tensor(correlations)


def sanity_check(
    methods: Mapping[str, Method], model: nn.Module, X: Tensor, shares: Sequence[float]
) -> dict[str, list[float]]:
    """Compare the maps of a model with the maps of the same model after shuffling its weights.

    Parameters
    ----------
    methods : mapping
        Name -> function of (model, X, targets) that returns maps, such as ``grad_cam``.
    model : nn.Module
        In eval mode.
    X : Tensor
        Preprocessed pictures, shape (B, 3, H, W).
    shares : sequence of float
        Of the layers, counted from the last one; see `shuffle_weights`.

    Returns
    -------
    dict
        Name -> mean rank correlation for each share.

    Examples
    --------
    >>> from cnnlab.attribution import edges
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    >>> sanity_check({"edges": edges}, model, torch.rand(2, 3, 4, 4), [0, 1])
    {'edges': [1.0, 1.0]}
    """
    with torch.no_grad():
        targets = model(X.to(next(model.parameters()).device)).argmax(dim=1)
    original = {name: method(model, X, targets) for name, method in methods.items()}
    table: dict[str, list[float]] = {name: [] for name in methods}
    for share in shares:
        shuffled = shuffle_weights(model, share)
        for name, method in methods.items():
            alike = rank_correlation(original[name], method(shuffled, X, targets))
            table[name].append(alike.mean().item())
    return table


def pointing_game(maps: Tensor, masks: Tensor, tolerance: int = 0) -> Tensor:
    """Return whether the highest point of each map lies on the object, as bool (B,).

    Source: Zhang, Bargal, Lin, Brandt, Shen and Sclaroff (2018), *IJCV* 126.

    Parameters
    ----------
    maps : Tensor
        Shape (B, H, W).
    masks : Tensor
        Bool (B, H, W), true on the object.
    tolerance : int
        A miss by so many pixels still counts.

    Examples
    --------
    >>> mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    >>> mask[0, 2, 2] = True
    >>> pointing_game(mask.float(), mask).tolist(), pointing_game(1 - mask.float(), mask).tolist()
    ([True], [False])
    """
    if maps.shape != masks.shape:
        raise ValueError(f"maps are {tuple(maps.shape)}, but masks are {tuple(masks.shape)}")
    reach = F.max_pool2d(masks[:, None].float(), 2 * tolerance + 1, 1, tolerance)[:, 0]
    highest = maps.flatten(1).argmax(dim=1, keepdim=True)
    return reach.flatten(1).gather(1, highest)[:, 0] > 0
