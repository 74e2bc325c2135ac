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

from cnnlab.fields._taps import Axis, Taps

EMPTY = 2**30  # all four sides of an element that sees no pixel
Axes = list[Axis | None]


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
    axes: Axes
    reason: str = ""

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor that this stands for, (1, C, H, W) on a feature map."""
        return self.sides[0].shape

    @property
    def sees(self) -> bool:
        """Whether any element depends on the image."""
        return bool((compact(self.sides[0]) < EMPTY).any())

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

    def hull(self, dims: Iterable[int], operation: str, keep: str = "expanded") -> Boxes:
        """Let every element see what all elements along ``dims`` see.

        ``keep`` is what becomes of the dimensions: "expanded" to their length, "one" or "none".
        """
        dims = sorted({d % len(self.shape) for d in dims})
        sides = [least(side, dims) for side in self.sides]
        sites = self.sites if keep == "expanded" else [least(site, dims) for site in self.sites]
        if keep == "expanded":
            sides = [side.expand(self.shape) for side in sides]
        elif keep == "none":
            sides = [side.squeeze(dims) for side in sides]
            sites = [site.squeeze(dims) for site in sites]
        grid = self.dims_of(0) | self.dims_of(1)
        if not grid & set(dims):  # only channels were combined
            return replace(self, sides=sides, sites=sites)
        reason = self.reason or (operation if grid <= set(dims) else "")
        return Boxes(sides, sites, [None, None], reason)

    def window(self, dim: int, taps: Taps, uncut: Taps | None = None) -> Boxes:
        """Let every element along ``dim`` see what its taps inside the map see.

        ``uncut`` are the taps on an endless image, where they differ.
        """
        dim %= len(self.shape)
        length, axis = self.shape[dim], self.axis_of(dim)
        read = [[t for t in taps.of(i) if 0 <= t < length] for i in range(taps.length)]
        most = max(1, *map(len, read))
        index = torch.tensor([t + [length] * (most - len(t)) for t in read])  # (outputs, taps)
        sides = [least_of(side, dim, index, EMPTY) for side in self.sides]
        near = index[:, :1].clamp(max=length - 1)  # an element that sees nothing lies somewhere too
        axes, sites = list(self.axes), [least_of(site, dim, near, 0) for site in self.sites]
        if axis is not None:
            old = axes[axis]
            axes[axis] = old and old.through(uncut or taps)
            sites[axis] = count_along(dim, sites[axis].shape)
        elif dim in self.dims_of(0) | self.dims_of(1):
            axes = [None, None]
        return Boxes(sides, sites, axes, self.reason)

    def mix_channels(self, groups: int, channels: int) -> Boxes:
        """Let the channels of each group see what all of them see; there are ``channels`` after."""
        split = self.each(lambda table: table.unflatten(1, (groups, -1)))
        mixed, each = split.hull([2], "", keep="one"), channels // groups
        if groups == 1:  # all channels stay one expanded entry
            return mixed.each(lambda table: table[:, 0].expand(-1, channels, -1, -1))
        return mixed.each(lambda table: table.expand(-1, -1, each, -1, -1).flatten(1, 2))

    def each(self, function: Callable[[Tensor], Tensor]) -> Boxes:
        """Return boxes whose tables went through a function that leaves the map in place."""
        sides, sites = map(function, self.sides), map(function, self.sites)
        return replace(self, sides=list(sides), sites=list(sites))


def image_boxes(channels: int, height: int, width: int) -> Boxes:
    """Return the boxes of the input, (1, C, H, W): each pixel sees itself."""
    shape = (1, channels, height, width)
    rows, columns = count_along(2, shape), count_along(3, shape)
    last = [(-compact(table)).expand(shape) for table in (rows, columns)]
    pixel = Axis(Fraction(1), ((0, 0),))
    return Boxes([rows, columns, *last], [rows, columns], [pixel, pixel])


def constant(shape: Sequence[int]) -> Boxes:
    """Return the boxes of a tensor that does not depend on the image."""
    nothing = torch.full((1,) * len(shape), EMPTY, dtype=torch.int32).expand(shape)
    return Boxes([nothing] * 4, [torch.zeros_like(nothing)] * 2, [None, None])


def union(first: Boxes, second: Boxes) -> Boxes:
    """Return the hull of two branches, broadcast against each other as tensors are."""
    shape = torch.broadcast_shapes(first.shape, second.shape)
    pairs = zip(first.sides, second.sides, strict=True)
    sides = [torch.minimum(compact(one), compact(other)).expand(shape) for one, other in pairs]
    lead = first if first.sees else second
    axes = lead.axes
    if first.sees and second.sees:  # the map that is the larger one says where an element lies
        spread = [len(boxes.dims_of(0)) + len(boxes.dims_of(1)) for boxes in (first, second)]
        lead = first if spread[0] >= spread[1] else second
        axes = joined_axes(first, second)
    sites = [site.expand(shape) for site in lead.sites]
    return Boxes(sides, sites, axes, first.reason or second.reason)


def joined_axes(first: Boxes, second: Boxes) -> Axes:
    """Return the uncut fields of two branches together."""
    pairs = zip(first.axes, second.axes, strict=True)
    return [one.union(other) if one and other else None for one, other in pairs]


def move(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Apply a function that only moves numbers to every table of the boxes in its arguments."""
    found: list[Boxes] = []
    map_aggregate(args, lambda a: found.append(a) if isinstance(a, Boxes) else None)

    def with_table(k: int) -> Any:
        def pick(value: Any) -> Any:
            return [*value.sides, *value.sites][k] if isinstance(value, Boxes) else value

        return function(*map_aggregate(args, pick), **map_aggregate(kwargs, pick))

    tables = [with_table(k) for k in range(6)]
    lead = next((boxes for boxes in found if boxes.sees), found[0])
    for other in found:
        if other is not lead and other.sees:
            axes, reason = joined_axes(lead, other), lead.reason or other.reason
            lead = replace(lead, axes=axes, reason=reason)
    if isinstance(tables[0], Tensor):
        return with_axes(Boxes(tables[:4], tables[4:], lead.axes, lead.reason))
    parts = [[*part] for part in zip(*tables, strict=True)]
    return type(tables[0])(
        with_axes(Boxes(part[:4], part[4:], lead.axes, lead.reason)) for part in parts
    )


def with_axes(boxes: Boxes) -> Boxes:
    """Read off how a move changed the map: cut, thinned out (``[::2]``), enlarged or shuffled."""
    dims = [boxes.dims_of(0), boxes.dims_of(1)]
    if any(len(d) > 1 for d in dims) or dims[0] & dims[1]:
        return boxes  # rows or columns are spread over several dimensions, until a later move
    axes, sites = list(boxes.axes), list(boxes.sites)
    for axis in (0, 1):
        dim = next(iter(dims[axis]), 0)
        along = sites[axis].movedim(dim, 0).flatten(1)[:, 0].tolist()
        along = along if dims[axis] else along[:1]
        if along != list(range(len(along))):
            old, taps = axes[axis], pattern(along)
            axes[axis] = old.through(taps) if old and taps else None
        shape = sites[axis].shape
        sites[axis] = count_along(dim, shape) if dims[axis] else torch.zeros_like(sites[axis])
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


def compact(table: Tensor) -> Tensor:
    """Return the table with every expanded dimension cut to length one."""
    return table[tuple(slice(None) if stride else slice(1) for stride in table.stride())]


def least(table: Tensor, dims: list[int]) -> Tensor:
    """Return the minimum over ``dims``, kept with length one, without touching expanded copies."""
    sizes = [1 if d in dims else size for d, size in enumerate(table.shape)]
    return (compact(table).amin(dims, keepdim=True) if dims else table).expand(sizes)


def least_of(table: Tensor, dim: int, index: Tensor, missing: int) -> Tensor:
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


def count_along(dim: int, shape: Sequence[int]) -> Tensor:
    """Return a table of a shape that counts along one dimension, expanded along the others."""
    sizes = [-1 if d == dim else 1 for d in range(len(shape))]
    return torch.arange(shape[dim], dtype=torch.int32).view(sizes).expand(*shape)
