"""Receptive fields as a user meets them: boxes of pixels, a field per layer, a printed table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cnnlab.fields._boxes import EMPTY, Boxes, least
from cnnlab.fields._taps import Axis
from cnnlab.runtime import format_table

Number = int | Fraction


class Box(NamedTuple):
    """A box of pixels; ``bottom`` and ``right`` lie just outside, as in slicing.

    Examples
    --------
    >>> rows, columns = Box(0, 2, 5, 8).slices
    >>> torch.zeros(3, 8, 8)[:, rows, columns].shape
    torch.Size([3, 5, 6])
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    @property
    def center(self) -> tuple[Number, Number]:
        """Row and column of the middle; halves lie between two pixels."""
        rows, columns = self.top + self.bottom - 1, self.left + self.right - 1
        return tidy(Fraction(rows, 2)), tidy(Fraction(columns, 2))

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns to cut the box out of an image (only for a clipped box)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, eq=False)
class Field:
    """What one layer sees.

    ``size``, ``stride``, ``start`` and ``center`` describe fields that no border cuts, as in the
    literature; each is (rows, columns). :meth:`at` is exact for every single position, and it
    always means the hull over all channels: the smallest box around everything that is seen.

    Attributes
    ----------
    name, operation : str
        Layer and type of the layer.
    boxes : Boxes
        What each element of the feature map sees.
    """

    name: str
    operation: str
    boxes: Boxes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the layer's output without the batch, usually (C, H, W)."""
        return tuple(self.boxes.shape[1:])

    @property
    def reason(self) -> str:
        """Why the field is global: the layer and what it does; empty if it is not."""
        return self.boxes.reason

    @property
    def is_global(self) -> bool:
        """Whether some layer has combined all positions, so that each one sees everything."""
        return bool(self.reason)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the field where no border cuts it, in pixels.

        The largest one where it depends on the position (upsampling). If the fields follow no
        regular pattern (global, or windows that were shuffled): the largest clipped box.
        """
        top, left, bottom, right = as_slices(self.boxes.sides)
        clipped = (int((bottom - top).max()), int((right - left).max()))
        spans = [axis.spans if axis else () for axis in self.boxes.axes]
        sizes = [max((s[1] - s[0] + 1 for s in axis if s), default=0) for axis in spans]
        return sizes[0] or clipped[0], sizes[1] or clipped[1]

    @property
    def stride(self) -> tuple[Number, Number] | None:
        """Pixels from one position's field to the next, None without a regular pattern."""
        return self.of_both(lambda axis: tidy(axis.stride))

    @property
    def start(self) -> tuple[int, int] | None:
        """First row and column of the uncut field of position (0, 0); negative in the padding."""
        return self.of_both(lambda axis: (axis.span(0) or [None])[0])

    @property
    def center(self) -> tuple[Number, Number] | None:
        """Middle of the uncut field of position (0, 0)."""
        return self.of_both(lambda axis: middle(axis.span(0)))

    @property
    def positions(self) -> tuple[int, int] | None:
        """Rows and columns of the feature map, None if they were flattened into one dimension."""
        dims = [self.boxes.dims_of(0), self.boxes.dims_of(1)]
        if len(dims[0]) > 1 or len(dims[1]) > 1 or dims[0] & dims[1]:
            return None
        rows, columns = (self.boxes.shape[next(iter(d))] if d else 1 for d in dims)
        return rows, columns

    def at(self, y: int, x: int, *, clipped: bool = True) -> Box:
        """Return the box of pixels that position (y, x) sees.

        Parameters
        ----------
        y, x : int
            Row and column on the layer's feature map.
        clipped : bool
            Only pixels of the image, exact for this position. If False, the box that the
            position would have on an endless image, without borders.

        Returns
        -------
        Box
            Of size zero if the position sees nothing but padding.

        Raises
        ------
        IndexError
            If the feature map has no such position.
        ValueError
            If the layer has no rows and columns, or its fields follow no regular pattern.
        """
        if self.positions is None and not self.is_global:
            raise ValueError(f"{self.name} has no rows and columns, its shape is {self.shape}")
        rows, columns = self.positions or (1, 1)
        if not (0 <= y < rows and 0 <= x < columns):
            raise IndexError(f"({y}, {x}) is outside of {self.name}'s {rows}×{columns} positions")
        if clipped:
            return Box(*(int(side[y, x]) for side in self.map_sides))
        spans = [axis and axis.span(i) for axis, i in zip(self.boxes.axes, (y, x), strict=True)]
        if None in self.boxes.axes:
            why = self.reason or "they follow no regular pattern"
            raise ValueError(f"the fields of {self.name} cannot be uncut: {why}")
        (top, bottom), (left, right) = (span or (0, -1) for span in spans)
        return Box(top, left, bottom + 1, right + 1)

    @cached_property
    def map_sides(self) -> list[Tensor]:
        """Top, left, bottom, right of the clipped boxes, each (rows, columns)."""
        rows, columns = self.positions or (1, 1)
        keep = self.boxes.dims_of(0) | self.boxes.dims_of(1) if self.positions else set()
        others = [d for d in range(len(self.boxes.shape)) if d not in keep]
        sides = as_slices([least(side, others) for side in self.boxes.sides])
        return [side.reshape(rows, columns) for side in sides]

    def of_both(self, function: Callable[[Axis], Any]) -> Any:
        """Return a property of rows and columns, None if either is irregular."""
        rows, columns = self.boxes.axes
        return None if rows is None or columns is None else (function(rows), function(columns))

    def __repr__(self) -> str:
        return f"Field({self.name}: {self.reason or times(self.size)})"


class ReceptiveFields(Mapping[str, Field]):
    """The fields of a network, from layer name to :class:`Field`, in execution order.

    Printing it prints a table; :meth:`outline` keeps only the outer modules.
    """

    def __init__(self, fields: Mapping[str, Field], input_size: tuple[int, int, int]) -> None:
        self._fields = dict(fields)
        self.input_size = input_size

    def __getitem__(self, name: str) -> Field:
        if name not in self._fields:
            known = ", ".join(list(self._fields)[:6])
            raise KeyError(f"no layer {name!r}; the first ones are {known} …")
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def outline(self, depth: int = 1) -> ReceptiveFields:
        """Return only the outer layers: with depth 1, ``layer1`` but not ``layer1.0``."""
        kept = {name: field for name, field in self.items() if name.count(".") < depth}
        return ReceptiveFields(kept, self.input_size)

    def __repr__(self) -> str:
        rows = []
        for field in self.values():
            regular = (times(field.size), times(field.stride), times(field.start, ", "))
            numbers = ("global", "–", "–") if field.is_global else regular
            rows.append((field.name, field.operation, times(field.shape), *numbers, field.reason))
        header = ("layer", "operation", "output", "size", "stride", "start", "")
        return format_table(rows, header, align="<<<<<<<")


def as_slices(sides: list[Tensor]) -> list[Tensor]:
    """Return top, left, bottom, right as in slicing, all zero where nothing is seen."""
    seen = sides[0] < EMPTY
    top, left, bottom, right = (torch.where(seen, side, 0) for side in sides)
    return [top, left, torch.where(seen, 1 - bottom, 0), torch.where(seen, 1 - right, 0)]


def middle(span: tuple[int, int] | None) -> Number | None:
    """Return the middle of a span, between two pixels if their number is even."""
    return tidy(Fraction(sum(span), 2)) if span else None


def tidy(number: Fraction) -> Number:
    """Return a whole number as an int."""
    return int(number) if number.denominator == 1 else number


def times(numbers: tuple[Any, ...] | None, sign: str = "×") -> str:
    """Return "3×5", and a dash where there is nothing."""
    if numbers is None or None in numbers:
        return "–"
    return sign.join(map(str, numbers)).replace("-", "−")
