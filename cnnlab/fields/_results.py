"""Receptive fields as a user meets them: boxes of pixels, a field per layer, a printed table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cnnlab.fields._boxes import EMPTY, Boxes, least
from cnnlab.fields._taps import Axis
from cnnlab.runtime import format_table

Number = int | Fraction


class Box(tuple[int, ...]):
    """A box of pixels: where it starts on each axis, then where it stops, as in slicing.

    For an image these are top, left, bottom and right; bottom and right lie just outside.

    Examples
    --------
    >>> box = Box(0, 2, 5, 8)
    >>> box, box.height, box.width, box.center
    (Box(top=0, left=2, bottom=5, right=8), 5, 6, (2, Fraction(9, 2)))
    >>> torch.zeros(3, 8, 8)[:, *box.slices].shape
    torch.Size([3, 5, 6])
    >>> Box(3, 16), Box(3, 16).size
    (Box(3:16), (13,))
    """

    def __new__(cls, *ends: int) -> Box:
        """Take the starts, then the stops."""
        return super().__new__(cls, ends)

    start = property(lambda self: self[: len(self) // 2], doc="First pixel on each axis.")
    stop = property(lambda self: self[len(self) // 2 :], doc="Behind the last pixel on each axis.")
    top = property(lambda self: self.start[-2], doc="First row.")
    left = property(lambda self: self.start[-1], doc="First column.")
    bottom = property(lambda self: self.stop[-2], doc="Behind the last row.")
    right = property(lambda self: self.stop[-1], doc="Behind the last column.")
    height = property(lambda self: self.size[-2], doc="Number of rows.")
    width = property(lambda self: self.size[-1], doc="Number of columns.")

    @property
    def slices(self) -> tuple[slice, ...]:
        """What to cut out of an image (only for a clipped box)."""
        return tuple(map(slice, self.start, self.stop))

    @property
    def size(self) -> tuple[int, ...]:
        """Number of pixels on each axis."""
        return tuple(s.stop - s.start for s in self.slices)

    @property
    def center(self) -> tuple[Number, ...]:
        """Middle on each axis; halves lie between two pixels."""
        return tuple(tidy(Fraction(s.start + s.stop - 1, 2)) for s in self.slices)

    def __getnewargs__(self) -> tuple[int, ...]:  # so that boxes can be copied
        return tuple(self)

    def __repr__(self) -> str:
        if len(self) == 4:
            return "Box(top={}, left={}, bottom={}, right={})".format(*self)
        return f"Box({', '.join(f'{s.start}:{s.stop}' for s in self.slices)})"


@dataclass(frozen=True, eq=False)
class Field:
    """What one layer sees.

    ``size``, ``stride``, ``start`` and ``center`` describe fields that no border cuts, as in the
    literature; each has one entry per axis, (rows, columns) for an image. :meth:`at` is exact for
    every single position, and it always means the hull over all channels: the smallest box around
    everything that is seen.

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
    def size(self) -> tuple[int, ...]:
        """Size of the field where no border cuts it, in pixels.

        The largest one where it depends on the position (upsampling). If the fields follow no
        regular pattern (global, or windows that were shuffled): the largest clipped box.
        """
        ends, n = as_slices(self.boxes.sides), len(self.boxes.axes)
        clipped = [int((stop - start).max()) for start, stop in zip(ends, ends[n:], strict=False)]
        spans = [axis.spans if axis else () for axis in self.boxes.axes]
        sizes = [max((s[1] - s[0] + 1 for s in axis if s), default=0) for axis in spans]
        return tuple(size or most for size, most in zip(sizes, clipped, strict=True))

    @property
    def stride(self) -> tuple[Number, ...] | None:
        """Pixels from one position's field to the next, None without a regular pattern."""
        return self.of_all(lambda axis: tidy(axis.stride))

    @property
    def start(self) -> tuple[int, ...] | None:
        """First pixel of the uncut field of the first position; negative in the padding."""
        return self.of_all(lambda axis: (axis.span(0) or [None])[0])

    @property
    def center(self) -> tuple[Number, ...] | None:
        """Middle of the uncut field of the first position."""
        return self.of_all(lambda axis: middle(axis.span(0)))

    @property
    def positions(self) -> tuple[int, ...] | None:
        """Size of the feature map, (rows, columns); None if it was flattened."""
        if not self.boxes.is_map:
            return None
        return tuple(self.boxes.shape[min(dims)] if dims else 1 for dims in self.boxes.spread)

    def at(self, *position: int, clipped: bool = True) -> Box:
        """Return the box of pixels that a position sees.

        Parameters
        ----------
        *position : int
            Row and column on the layer's feature map; one number per axis.
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
        counts = self.positions or (1,) * len(self.boxes.axes)
        inside = [0 <= i < count for i, count in zip(position, counts, strict=False)]
        if len(position) != len(counts) or not all(inside):
            raise IndexError(f"{position} is outside of {self.name}'s {times(counts)} positions")
        if clipped:
            return Box(*(int(side[position]) for side in self.map_sides))
        spans = [axis and axis.span(i) for axis, i in zip(self.boxes.axes, position, strict=True)]
        if None in self.boxes.axes:
            why = self.reason or "they follow no regular pattern"
            raise ValueError(f"the fields of {self.name} cannot be uncut: {why}")
        ends = [span or (0, -1) for span in spans]
        return Box(*(first for first, _ in ends), *(last + 1 for _, last in ends))

    @cached_property
    def map_sides(self) -> list[Tensor]:
        """Starts and stops of the clipped boxes, each in the shape of ``positions``."""
        counts = self.positions or (1,) * len(self.boxes.axes)
        keep = self.boxes.grid if self.positions else set()
        others = [d for d in range(len(self.boxes.shape)) if d not in keep]
        sides = as_slices([least(side, others) for side in self.boxes.sides])
        return [side.reshape(counts) for side in sides]

    def of_all(self, function: Callable[[Axis], Any]) -> Any:
        """Return a property of each axis, None if any is irregular."""
        axes = [axis for axis in self.boxes.axes if axis]
        return tuple(map(function, axes)) if len(axes) == len(self.boxes.axes) else None

    def __repr__(self) -> str:
        return f"Field({self.name}: {self.reason or times(self.size)})"


class ReceptiveFields(Mapping[str, Field]):
    """The fields of a network, from layer name to :class:`Field`, in execution order.

    Printing it prints a table; :meth:`outline` keeps only the outer modules.
    """

    def __init__(self, fields: Mapping[str, Field], input_size: tuple[int, ...]) -> None:
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
    """Return starts and stops as in slicing, all zero where nothing is seen."""
    seen, n = sides[0] < EMPTY, len(sides) // 2
    ends = sides[:n] + [1 - side for side in sides[n:]]
    return [torch.where(seen, end, 0) for end in ends]


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
