"""The look of every figure: colours that everybody can tell apart, text for the back row."""

from __future__ import annotations

from contextlib import AbstractContextManager

__all__ = ["COLOURS", "styled"]

# Okabe and Ito's palette (2008), which colour-blind people can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

_SETTINGS = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "legend.fontsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def styled() -> AbstractContextManager[None]:
    """Draw in the course's style inside a ``with`` block, and leave the settings as they were.

    Examples
    --------
    >>> import matplotlib
    >>> with styled():
    ...     matplotlib.rcParams["font.size"]
    12.0
    """
    import matplotlib
    from cycler import cycler

    return matplotlib.rc_context({**_SETTINGS, "axes.prop_cycle": cycler(color=COLOURS)})
