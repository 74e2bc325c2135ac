"""A stand-in for a tensor: instead of a number, each element holds the box of pixels it sees.

Operations that move numbers around (view, permute, chunk, roll …) move the boxes in the same
way; operations that combine numbers take the hull of their boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate

from cnnlab.fields.taps import Axis, Taps

__all__ = ["EMPTY", "Boxes", "constant", "joined", "moved", "picture"]

EMPTY = 2**30  # all four sides of an element that sees no pixel


@dataclass
class Boxes:
    """What each element of a tensor sees.

    Attributes
    ----------
    sides : list of Tensor
        First row, first column, −last row, −last column: signed so that every hull is a minimum.
        Dimensions along which nothing changes are expanded (stride 0) and cost nothing.
    sites : list of Tensor
        Row and column of the element on the feature map that it lies on.
    axes : list of Axis or None
        The uncut fields of the map's rows and columns, None where they follow no regular pattern.
    reason : str
        The operation that made every element see all positions; empty if none did.
    """

    sides: list[Tensor]
    sites: list[Tensor]
    axes: list[Axis | None]
    reason: str = ""

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor that this stands for, (1, C, H, W) on a feature map."""
        return self.sides[0].shape

    def dims_of(self, axis: int) -> set[int]:
        """Return the dimensions along which the row (axis 0) or the column (1) changes."""
        site = compact(self.sites[axis])
        dims = [d for d in range(site.ndim) if site.shape[d] > 1]
        return {d for d in dims if bool((site != site.narrow(d, 0, 1)).any())}

    def axis_of(self, dim: int) -> int | None:
        """Return which axis of the map a dimension is: 0, 1 or, if it is none, None."""
        dims = [self.dims_of(0), self.dims_of(1)]
        for axis in (0, 1):
            other_is_free = dim not in dims[1 - axis]
            conventional = not dims[axis] and len(self.shape) == 4 and dim == 2 + axis
            if other_is_free and (dims[axis] == {dim} or conventional):
                return axis
        return None

    def hulled(self, dims: Iterable[int], operation: str, keep: str = "expanded") -> Boxes:
        """Let every element see what all elements along ``dims`` see.

        ``keep`` is what becomes of the dimensions: "expanded" to their length, "one" or "none".
        """
        ndim = self.sides[0].ndim
        dims = sorted({d % ndim for d in dims})
        tables = [least(side, dims) for side in self.sides]
        sites = self.sites if keep == "expanded" else [least(site, dims) for site in self.sites]
        if keep == "expanded":
            tables = [table.expand(self.shape) for table in tables]
        elif keep == "none":
            tables = [table.squeeze(dims) for table in tables]
            sites = [site.squeeze(dims) for site in sites]
        grid = self.dims_of(0) | self.dims_of(1)
        if not grid & set(dims):  # only channels were combined
            return replace(self, sides=tables, sites=sites)
        reason = self.reason or (operation if grid <= set(dims) else "")
        return Boxes(tables, sites, [None, None], reason)

    def windowed(self, dim: int, taps: Taps, uncut: Taps | None = None) -> Boxes:
        """Let every element along ``dim`` see what its taps inside the map see.

        ``uncut`` are the taps on an endless picture, where they differ.
        """
        dim %= self.sides[0].ndim
        length, axis = self.shape[dim], self.axis_of(dim)
        read = [[t for t in taps.of(i) if 0 <= t < length] for i in range(taps.length)]
        most = max(1, *map(len, read))
        index = torch.tensor([t + [length] * (most - len(t)) for t in read])  # (outputs, taps)
        sides = [gathered(side, dim, index, EMPTY) for side in self.sides]
        near = index[:, :1].clamp(max=length - 1)  # an element that sees nothing lies somewhere too
        axes, sites = list(self.axes), [gathered(site, dim, near, 0) for site in self.sites]
        if axis is None:
            axes = axes if not any(dim in self.dims_of(a) for a in (0, 1)) else [None, None]
        else:
            old = axes[axis]
            axes[axis] = old and old.through(uncut or taps)
            sites[axis] = numbered(sites[axis], dim)
        return Boxes(sides, sites, axes, self.reason)

    def mixed(self, groups: int, channels: int) -> Boxes:
        """Let the channels of each group see what all of them see; there are ``channels`` after."""
        if groups == 1:
            mixed = self.hulled([1], "", keep="one")
            return mixed.each(lambda table: table.expand(-1, channels, -1, -1))
        split = self.each(lambda table: table.unflatten(1, (groups, -1)))
        mixed, grow = split.hulled([2], "", keep="one"), channels // groups
        return mixed.each(lambda table: table.expand(-1, -1, grow, -1, -1).flatten(1, 2))

    def each(self, function: Callable[[Tensor], Tensor]) -> Boxes:
        """Return boxes whose tables went through a function that leaves the map in place."""
        sides, sites = map(function, self.sides), map(function, self.sites)
        return replace(self, sides=list(sides), sites=list(sites))


def compact(table: Tensor) -> Tensor:
    """Return the table with every expanded dimension cut to length one."""
    return table[tuple(slice(None) if stride else slice(1) for stride in table.stride())]


def least(table: Tensor, dims: list[int]) -> Tensor:
    """Return the minimum over ``dims``, kept with length one, without touching expanded copies."""
    sizes = [1 if d in dims else size for d, size in enumerate(table.shape)]
    return (compact(table).amin(dims, keepdim=True) if dims else table).expand(sizes)


def gathered(table: Tensor, dim: int, index: Tensor, missing: int) -> Tensor:
    """Return the minimum over the entries that ``index`` (outputs, taps) names along ``dim``.

    An index equal to the length of the dimension names nothing, which is ``missing``.
    """
    sizes = [*table.shape[:dim], len(index), *table.shape[dim + 1 :]]
    found = index < table.shape[dim]
    small = compact(table)
    if small.shape[dim] == 1:
        if bool(found.any(1).all()):
            return small.expand(sizes)
        index = (~found).long()
    nothing = torch.full_like(small.narrow(dim, 0, 1), missing)
    entries = torch.cat([small, nothing], dim).index_select(dim, index.flatten())
    return entries.unflatten(dim, list(index.shape)).amin(dim + 1).expand(sizes)


def numbered(like: Tensor, dim: int) -> Tensor:
    """Return a table of the same shape that counts along ``dim``."""
    shape = [-1 if d == dim else 1 for d in range(like.ndim)]
    return torch.arange(like.shape[dim], dtype=torch.int32).view(shape).expand(like.shape)


def picture(channels: int, height: int, width: int) -> Boxes:
    """Return the boxes of the input, (1, C, H, W): each pixel sees itself."""
    flat = torch.zeros(1, channels, 1, 1, dtype=torch.int32).expand(1, channels, height, width)
    rows, columns = numbered(flat[:, :1], 2).expand_as(flat), numbered(flat[:, :1], 3)
    columns = columns.expand_as(flat)
    pixel = Axis(Fraction(1), ((0, 0),))
    sides = [rows, columns, -compact(rows), -compact(columns)]
    return Boxes([side.expand_as(flat) for side in sides], [rows, columns], [pixel, pixel])


def constant(shape: Sequence[int]) -> Boxes:
    """Return the boxes of a tensor that does not depend on the picture."""
    nothing = torch.full((1,) * len(shape), EMPTY, dtype=torch.int32).expand(shape)
    return Boxes([nothing] * 4, [torch.zeros_like(nothing)] * 2, [None, None])


def joined(first: Boxes, second: Boxes) -> Boxes:
    """Return the hull of two branches, broadcast against each other as tensors are."""
    if not sees(first) or not sees(second):
        lead = first if sees(first) else second
    else:  # the map that is the larger one says where an element lies
        spread = [len(boxes.dims_of(0)) + len(boxes.dims_of(1)) for boxes in (first, second)]
        lead = first if spread[0] >= spread[1] else second
    pairs = zip(first.sides, second.sides, strict=True)
    sides = [broadcast_least(one, other) for one, other in pairs]
    axes = lead.axes
    if sees(first) and sees(second):
        both = zip(first.axes, second.axes, strict=True)
        axes = [a.joined(b) if a and b else None for a, b in both]
    sites = [site.expand(sides[0].shape) for site in lead.sites]
    return Boxes(sides, sites, axes, first.reason or second.reason)


def broadcast_least(one: Tensor, other: Tensor) -> Tensor:
    """Return the minimum of two tables that may be expanded."""
    shape = torch.broadcast_shapes(one.shape, other.shape)
    return torch.minimum(compact(one), compact(other)).expand(shape)


def sees(boxes: Boxes) -> bool:
    """Return whether any element depends on the picture."""
    return bool((compact(boxes.sides[0]) < EMPTY).any())


def moved(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Apply a function that only moves numbers to every table of the boxes in its arguments."""
    found: list[Boxes] = []
    map_aggregate(args, lambda a: found.append(a) if isinstance(a, Boxes) else None)
    tables = []
    for k in range(6):
        pick = [lambda a, k=k: (a.sides + a.sites)[k] if isinstance(a, Boxes) else a][0]
        tables.append(function(*map_aggregate(args, pick), **map_aggregate(kwargs, pick)))
    lead = next((boxes for boxes in found if sees(boxes)), found[0])
    for other in found:
        if other is not lead and sees(other):
            pairs = zip(lead.axes, other.axes, strict=True)
            axes = [a.joined(b) if a and b else None for a, b in pairs]
            lead = replace(lead, axes=axes, reason=lead.reason or other.reason)
    if isinstance(tables[0], Tensor):
        return settled(Boxes(tables[:4], tables[4:], lead.axes, lead.reason))
    parts = zip(*tables, strict=True)
    return type(tables[0])(
        settled(Boxes(list(part[:4]), list(part[4:]), lead.axes, lead.reason)) for part in parts
    )


def settled(boxes: Boxes) -> Boxes:
    """Read off how a move changed the map: cut, thinned out (``[::2]``), enlarged or shuffled."""
    dims = [boxes.dims_of(0), boxes.dims_of(1)]
    if any(len(d) > 1 for d in dims) or dims[0] & dims[1]:
        return boxes  # rows or columns are spread over several dimensions: wait for better times
    axes, sites = list(boxes.axes), list(boxes.sites)
    for axis in (0, 1):
        dim = next(iter(dims[axis]), 0)
        along = sites[axis].movedim(dim, 0).flatten(1)[:, 0].tolist()
        along = along if dims[axis] else along[:1]
        if along != list(range(len(along))):
            old, taps = axes[axis], pattern(along)
            axes[axis] = old.through(taps) if old and taps else None
        sites[axis] = numbered(sites[axis], dim) if dims[axis] else torch.zeros_like(sites[axis])
    return replace(boxes, axes=axes, sites=sites)


def pattern(along: list[int]) -> Taps | None:
    """Return taps that give the same positions: every n-th, or each of them n times."""
    first, count = along[0], len(along)
    step = along[1] - first if count > 1 else 1
    if step > 0 and along == list(range(first, first + step * count, step)):
        return Taps(count, Fraction(step), lambda i: [first + step * i])
    repeats = along.count(along[count // 2])
    phase = repeats - along.count(first)
    if along == [first + (i + phase) // repeats for i in range(count)]:
        return Taps(count, Fraction(1, repeats), lambda i: [first + (i + phase) // repeats])
    return None
