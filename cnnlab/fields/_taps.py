"""Which input pixels does one output pixel read? The answer for every windowed operation.

Along one axis the answer is a list of *taps*, the input indices that output index ``i`` is
computed from. A tap below zero or behind the end lies in the padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm

Span = tuple[int, int]  # first and last input pixel


def conv_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Return the side of a convolution's output (Dumoulin and Visin 2016, section 2).

    Examples
    --------
    >>> conv_size(16, kernel=5, stride=2, padding=2), conv_size(15, kernel=5, stride=2, padding=2)
    (8, 8)
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def conv_transpose_size(
    size: int, kernel: int, stride: int = 1, padding: int = 0, output_padding: int = 0,
    dilation: int = 1,
) -> int:  # fmt: skip
    """Return the side of a transposed convolution's output (Dumoulin and Visin 2016, section 4).

    Examples
    --------
    >>> [conv_transpose_size(8, kernel=5, stride=2, padding=2, output_padding=q) for q in (0, 1)]
    [15, 16]
    """
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1


@dataclass(frozen=True)
class Taps:
    """What one operation reads along one axis.

    Attributes
    ----------
    length : int
        Number of output positions.
    step : Fraction
        How far the taps move on the input when the output index grows by one.
    of : callable
        Maps any output index to the input indices it reads.
    """

    length: int
    step: Fraction
    of: Callable[[int], Sequence[int]]


def convolution(
    length: int, kernel: int, stride: int = 1, padding: Span = (0, 0), dilation: int = 1,
    ceil_mode: bool = False,
) -> Taps:  # fmt: skip
    """Return the taps of a convolution or a pooling on an axis of ``length`` pixels.

    Examples
    --------
    >>> list(convolution(8, kernel=3, stride=2, padding=(1, 1)).of(1))
    [1, 2, 3]
    """
    before, after = padding
    room = length + before + after + (stride - 1 if ceil_mode else 0)
    outputs = conv_size(room, kernel, stride, dilation=dilation)  # a last window may overhang,
    if ceil_mode and (outputs - 1) * stride >= length + before:
        outputs -= 1  # but not begin in the padding behind it
    if outputs < 1:
        raise ValueError(f"a window of {dilation * (kernel - 1) + 1} does not fit {length} pixels")

    def of(i: int) -> range:
        first = i * stride - before
        return range(first, first + dilation * (kernel - 1) + 1, dilation)

    return Taps(outputs, Fraction(stride), of)


def transposed(
    length: int, kernel: int, stride: int = 1, padding: int = 0, output_padding: int = 0,
    dilation: int = 1,
) -> Taps:  # fmt: skip
    """Return the taps of a transposed convolution: input ``j`` writes to ``j·s − p + t·d``.

    Examples
    --------
    >>> [transposed(4, kernel=3, stride=2).of(i) for i in (1, 2)]
    [[0], [0, 1]]
    """
    outputs = conv_transpose_size(length, kernel, stride, padding, output_padding, dilation)

    def of(i: int) -> list[int]:
        sources = [i + padding - t * dilation for t in range(kernel)]
        return sorted(source // stride for source in sources if source % stride == 0)

    return Taps(outputs, Fraction(1, stride), of)


def adaptive(length: int, outputs: int) -> Taps:
    """Return the taps of an adaptive pooling; its bins may overlap and differ in size.

    Examples
    --------
    >>> [list(adaptive(5, 3).of(i)) for i in range(3)]
    [[0, 1], [1, 2, 3], [3, 4]]
    """
    step = Fraction(length, outputs)
    return Taps(outputs, step, lambda i: range(floor(i * step), ceil((i + 1) * step)))


def resampled(length: int, outputs: int, step: Fraction, mode: str, corners: bool) -> Taps:
    """Return the taps of nearest, linear or cubic interpolation with ``step`` in input pixels.

    A neighbor with weight zero is no tap: doubling with ``align_corners`` reads single pixels
    where the sampling points meet them.

    Examples
    --------
    >>> [resampled(4, 8, Fraction(1, 2), "linear", False).of(i) for i in (0, 1, 2)]
    [[-1, 0], [0, 1], [0, 1]]
    """
    if corners:
        step = Fraction(length - 1, outputs - 1) if outputs > 1 else Fraction(0)

    def of(i: int) -> list[int]:
        point = i * step if corners else (i + Fraction(1, 2)) * step - Fraction(1, 2)
        pixel = floor(point)
        if mode == "nearest":
            return [floor(i * step)]
        if mode == "nearest-exact":
            return [floor((i + Fraction(1, 2)) * step)]
        if point == pixel:
            return [pixel]
        return [pixel, pixel + 1] if mode == "linear" else [pixel + t for t in (-1, 0, 1, 2)]

    return Taps(outputs, step, of)


def padded(length: int, before: int, after: int, mode: str = "constant") -> Taps:
    """Return the taps of a padding layer; negative numbers cut pixels off.

    Reflecting, replicating and circular padding read pixels of the image again.

    Examples
    --------
    >>> [list(padded(4, 2, 0, "reflect").of(i)) for i in range(4)]
    [[2], [1], [0], [1]]
    """
    last = length - 1
    source: dict[str, Callable[[int], int]] = {
        "constant": lambda i: i,
        "replicate": lambda i: min(max(i, 0), last),
        "reflect": lambda i: last - abs(last - abs(i)),
        "circular": lambda i: i % length,
    }
    outputs = length + before + after
    return Taps(outputs, Fraction(1), lambda i: [source[mode](i - before)])


@dataclass(frozen=True)
class Axis:
    """The fields along one axis of an endless image, where no border cuts them.

    They repeat: position ``i + len(spans)`` sees what position ``i`` sees, ``len(spans) · stride``
    pixels further on. Without upsampling there is one span; a 2× upsampling makes two, because
    its even and odd outputs lie differently on the input.

    Examples
    --------
    >>> pixels = Axis(Fraction(1), ((0, 0),))
    >>> once = pixels.through(convolution(224, kernel=7, stride=2, padding=(3, 3)))
    >>> once.span(0), once.span(1), once.stride
    ((-3, 3), (-1, 5), Fraction(2, 1))
    """

    stride: Fraction
    spans: tuple[Span | None, ...]  # None: sees nothing, as between the taps of a wide stride

    def span(self, i: int) -> Span | None:
        """Return the first and the last pixel that position ``i`` sees."""
        turns, phase = divmod(i, len(self.spans))
        span = self.spans[phase]
        shift = int(turns * len(self.spans) * self.stride)
        return span and (span[0] + shift, span[1] + shift)

    def through(self, taps: Taps) -> Axis | None:
        """Return the fields after one more operation (None if its step is zero)."""
        if taps.step <= 0:
            return None
        period = (taps.step / len(self.spans)).denominator
        spans = tuple(hull(map(self.span, taps.of(i))) for i in range(period))
        return Axis(self.stride * taps.step, spans)

    def union(self, other: Axis) -> Axis | None:
        """Return the hull of two branches (None if they move at different strides)."""
        if self == other or self.stride != other.stride:
            return self if self == other else None
        period = range(lcm(len(self.spans), len(other.spans)))
        return Axis(self.stride, tuple(hull((self.span(i), other.span(i))) for i in period))


def hull(spans: Sequence[Span | None] | map[Span | None]) -> Span | None:
    """Return the smallest span around several, or None around none."""
    found = [span for span in spans if span is not None]
    return (min(s[0] for s in found), max(s[1] for s in found)) if found else None
