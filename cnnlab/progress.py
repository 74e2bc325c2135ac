"""Two ways to watch a training: a bar of text, or curves that grow (livelossplot)."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from tqdm import tqdm

from cnnlab.style import styled

__all__ = ["LivePlot", "ProgressBar", "Watcher", "display_figure", "in_notebook"]


class Watcher(Protocol):
    """What ``fit`` tells somebody who watches."""

    def batches(self, loader: Iterable[Any], epoch: int) -> Iterator[Any]:
        """Pass the batches of one epoch through."""

    def epoch_done(self, record: Mapping[str, float]) -> None:
        """Take note of an epoch's numbers."""

    def close(self) -> None:
        """Show the last state for good."""


def in_notebook() -> bool:
    """Tell whether this runs in a Jupyter or Colab kernel.

    Examples
    --------
    >>> in_notebook()
    False
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class ProgressBar:
    """One bar over all epochs that moves with every batch.

    It is written as plain text to standard output, because a widget would be blank in slides and
    in exported pages. In a log file (neither notebook nor terminal) it stays silent.
    """

    def __init__(self, epochs: int, batches: int | None, done: int = 0) -> None:
        silent = not (in_notebook() or sys.stdout.isatty())
        self.epochs = epochs
        self.bar = tqdm(
            total=epochs * batches if batches else None,
            initial=done * (batches or 0),
            unit=" batches",
            file=sys.stdout,
            disable=silent,
            mininterval=0.3,
            ncols=96,
            bar_format="{desc} {percentage:3.0f}% |{bar:16}| {elapsed}<{remaining}{postfix}",
        )

    def batches(self, loader: Iterable[Any], epoch: int) -> Iterator[Any]:
        """Pass the batches through and move the bar."""
        self.bar.set_description_str(f"epoch {epoch + 1}/{self.epochs}", refresh=False)
        for batch in loader:
            yield batch
            self.bar.update()

    def epoch_done(self, record: Mapping[str, float]) -> None:
        """Write the epoch's numbers behind the bar."""
        text = f"loss {record['loss']:.3f}, accuracy {record['accuracy']:.3f}"
        if "val_accuracy" in record:
            text += f", validation {record['val_accuracy']:.3f}"
        self.bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.refresh()
        self.bar.close()


def display_figure(figure: Any, text: str) -> None:
    """Show a figure in a notebook, with an alternative text for people who cannot see it."""
    from IPython.display import display

    display(figure, metadata={"image/png": {"alt": text}})


class LivePlot:
    """Curves of loss and accuracy that grow during training, drawn by livelossplot.

    A drawing costs a quarter of a second, so at most about a dozen are made.
    """

    def __init__(self, epochs: int, max_drawings: int = 12) -> None:
        from livelossplot import PlotLosses
        from livelossplot.outputs import MatplotlibPlot

        self.every, self.drawn, self.seen = math.ceil(epochs / max_drawings), 0, 0
        canvas = MatplotlibPlot(
            figsize=(9, 3.2), after_subplot=self._finish_axes, after_plots=self._finish_figure
        )
        groups = {"loss": ["loss", "val_loss"], "accuracy": ["accuracy", "val_accuracy"]}
        names = {"loss": "training", "val_loss": "validation"}
        names |= {"accuracy": "training", "val_accuracy": "validation"}
        self.plot = PlotLosses(
            outputs=[canvas], groups=groups, metric_to_name=names, from_step=0, current_step=0
        )

    def _draw(self) -> None:
        with styled():
            self.plot.send()
        self.drawn = self.seen

    @staticmethod
    def _finish_axes(ax: Any, group: str, x_label: str) -> None:
        is_loss = group.lower() == "loss"
        ax.set(xlabel=x_label, ylabel="cross-entropy (nats)" if is_loss else "accuracy")
        ax.set_ylim(bottom=0, top=None if is_loss else 1.02)
        ax.legend(loc="lower left" if is_loss else "lower right")

    @staticmethod
    def _finish_figure(figure: Any) -> None:
        from matplotlib import pyplot as plt

        if in_notebook():
            display_figure(figure, "Loss and accuracy of each epoch: training and validation.")
        plt.close(figure)  # livelossplot leaves its figures open

    def batches(self, loader: Iterable[Any], epoch: int) -> Iterator[Any]:
        """Pass the batches through."""
        return iter(loader)

    def epoch_done(self, record: Mapping[str, float]) -> None:
        """Add a point to each curve; draw now and then."""
        curves = ("loss", "accuracy", "val_loss", "val_accuracy")
        self.plot.update({name: record[name] for name in curves if name in record})
        self.seen += 1
        if self.seen % self.every == 0:
            self._draw()

    def close(self) -> None:
        """Draw the last state, unless that was just done."""
        if self.drawn != self.seen:
            self._draw()
