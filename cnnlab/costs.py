"""What blocks cost, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from cnnlab.ledger import count_macs
from cnnlab.receptive_fields import receptive_field

__all__ = ["compare_costs"]


def compare_costs(blocks: Mapping[str, nn.Module], input_size: tuple[int, int, int]) -> str:
    """Return a table: parameters, multiply-adds and field of each block, beside the first one.

    Parameters
    ----------
    blocks : mapping
        Name to module; all take the same input.
    input_size : tuple of int
        (channels, height, width).

    Examples
    --------
    >>> from cnnlab.blocks import conv, small_kernels
    >>> print(compare_costs({"7×7": conv(8, 8, 7), "three 3×3": small_kernels(8)}, (8, 14, 14)))
                 parameters  of the first  million MACs  field
    7×7               3,152          100%          0.61      7
    three 3×3         1,776           56%          0.34      7
    """
    width = max(10, *map(len, blocks))
    lines = [f"{'':<{width}}  parameters  of the first  million MACs  field"]
    first = 0
    for name, block in blocks.items():
        count = sum(p.numel() for p in block.parameters())
        first = first or count
        (field,) = list(receptive_field(block, input_size).values())[-1:]
        side = "all" if field.is_global else str(field.size[-1])
        macs = count_macs(block, input_size) / 1e6
        lines.append(f"{name:<{width}} {count:>11,} {count / first:>13.0%} {macs:>13.2f} {side:>6}")
    return "\n".join(lines)
