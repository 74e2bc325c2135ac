"""A stand-in for a tensor: instead of a number, each element holds the box of pixels it sees.

The map has one axis for a sequence, two (rows, columns) for an image, three for a volume.

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

EMPTY = 2**30  # all sides of an element that sees no pixel
Axes = list[Axis | None]


@dataclass
class Boxes:
    """What each element of a tensor sees.

    Attributes
    ----------
    sides : list of Tensor
        The first pixel along each axis, then minus the last one: so every hull is a minimum.
        Dimensions along which nothing changes are expanded (stride 0) and cost nothing.
    sites : list of Tensor
        Position of the element on the feature map that it lies on, along each axis.
    axes : list of Axis or None
        The uncut fields along each axis, None where they follow no regular pattern.
    reason : str
        The operation that made every element see all positions; empty if none did.
    """

    sides: list[Tensor]
    sites: list[Tensor]
    axes: Axes
    reason: str = ""

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor that this stands for, (1, C, H, W) on a feature map of an image."""
        return self.sides[0].shape

    @property
    def sees(self) -> bool:
        """Whether any element depends on the image."""
        return bool((compact(self.sides[0]) < EMPTY).any())

    def dims_of(self, axis: int) -> set[int]:
        """Return the dimensions along which the position on an axis of the map changes."""
        site = compact(self.sites[axis])
        dims = [d for d in range(site.ndim) if site.shape[d] > 1]
        return {d for d in dims if bool((site != site.narrow(d, 0, 1)).any())}

    @property
    def spread(self) -> list[set[int]]:
        """The dimensions along which each axis of the map is spread."""
        return [self.dims_of(axis) for axis in range(len(self.axes))]

    @property
    def grid(self) -> set[int]:
        """The dimensions along which any position changes; the others are channels."""
        return set().union(*self.spread)

    @property
    def is_map(self) -> bool:
        """Whether each axis of the map lies along a dimension of its own, or along none."""
        spread = self.spread
        return max(map(len, spread)) < 2 and sum(map(len, spread)) == len(self.grid)

    def axis_of(self, dim: int) -> int | None:
        """Return which axis of the map a dimension is, None if it is none."""
        spread = self.spread
        if [dims for dims in spread if dim in dims] == [{dim}]:
            return spread.index({dim})
        is_usual = len(self.shape) == 2 + len(spread) and dim >= 2 and dim not in self.grid
        return dim - 2 if is_usual and not spread[dim - 2] else None

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
        grid = self.grid
        if not grid & set(dims):  # only channels were combined
            return replace(self, sides=sides, sites=sites)
        reason = self.reason or (operation if grid <= set(dims) else "")
        return Boxes(sides, sites, [None] * len(self.axes), reason)

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
        elif dim in self.grid:
            axes = [None] * len(axes)
        return Boxes(sides, sites, axes, self.reason)

    def mix_channels(self, groups: int, channels: int) -> Boxes:
        """Let the channels of each group see what all of them see; there are ``channels`` after."""
        split = self.each(lambda table: table.unflatten(1, (groups, -1)))
        mixed, each = split.hull([2], "", keep="one"), channels // groups
        if groups == 1:  # all channels stay one expanded entry
            return mixed.each(lambda table: table[:, 0].expand(-1, channels, *table.shape[3:]))
        return mixed.each(lambda table: table.expand(-1, -1, each, *table.shape[3:]).flatten(1, 2))

    def each(self, function: Callable[[Tensor], Tensor]) -> Boxes:
        """Return boxes whose tables went through a function that leaves the map in place."""
        sides, sites = map(function, self.sides), map(function, self.sites)
        return replace(self, sides=list(sides), sites=list(sites))


def image_boxes(channels: int, *sides: int) -> Boxes:
    """Return the boxes of the input, (1, C, *sides): each pixel sees itself."""
    shape = (1, channels, *sides)
    sites = [count_along(dim, shape) for dim in range(2, len(shape))]
    last = [(-compact(site)).expand(shape) for site in sites]
    return Boxes([*sites, *last], sites, [Axis(Fraction(1), ((0, 0),))] * len(sides))


def constant(shape: Sequence[int], axes: int, reason: str = "") -> Boxes:
    """Return the boxes of a tensor that does not depend on the image."""
    nothing = torch.full((1,) * len(shape), EMPTY, dtype=torch.int32).expand(shape)
    return Boxes([nothing] * (2 * axes), [torch.zeros_like(nothing)] * axes, [None] * axes, reason)


def union(first: Boxes, second: Boxes) -> Boxes:
    """Return the hull of two branches, broadcast against each other as tensors are."""
    shape = torch.broadcast_shapes(first.shape, second.shape)
    pairs = zip(first.sides, second.sides, strict=True)
    sides = [torch.minimum(compact(one), compact(other)).expand(shape) for one, other in pairs]
    lead = first if first.sees else second
    axes, reason = lead.axes, lead.reason
    if first.sees and second.sees:  # the map that is the larger one says where an element lies
        spread = [sum(map(len, boxes.spread)) for boxes in (first, second)]
        lead = first if spread[0] >= spread[1] else second
        axes, reason = joined_axes(first, second), first.reason or second.reason
    sites = [site.expand(shape) for site in lead.sites]
    return Boxes(sides, sites, axes, reason)


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

    ends = 2 * len(found[0].axes)
    tables = [with_table(k) for k in range(ends + ends // 2)]
    lead = next((boxes for boxes in found if boxes.sees), found[0])
    for other in found:
        if other is not lead and other.sees:
            axes, reason = joined_axes(lead, other), lead.reason or other.reason
            lead = replace(lead, axes=axes, reason=reason)
    if isinstance(tables[0], Tensor):
        return with_axes(Boxes(tables[:ends], tables[ends:], lead.axes, lead.reason))
    parts = [[*part] for part in zip(*tables, strict=True)]
    return type(tables[0])(
        with_axes(Boxes(part[:ends], part[ends:], lead.axes, lead.reason)) for part in parts
    )


def with_axes(boxes: Boxes) -> Boxes:
    """Read off how a move changed the map: cut, thinned out (``[::2]``), enlarged or shuffled."""
    if not boxes.is_map:
        return boxes  # an axis is spread over several dimensions, until a later move
    axes, sites = list(boxes.axes), list(boxes.sites)
    for axis, dims in enumerate(boxes.spread):
        dim = next(iter(dims), 0)
        along = sites[axis].movedim(dim, 0).flatten(1)[:, 0].tolist()
        along = along if dims else along[:1]
        if along != list(range(len(along))):
            old, taps = axes[axis], pattern(along)
            axes[axis] = old.through(taps) if old and taps else None
        shape = sites[axis].shape
        sites[axis] = count_along(dim, shape) if dims else torch.zeros_like(sites[axis])
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
