"""The training loop of every lesson, short enough to read aloud.

`train_epoch` shows the model every batch once; `fit` repeats that, measures on the validation
set, keeps the best weights, shows its progress and saves checkpoints. Below them: what `fit`
returns (`History`), what it saves, and what it shows.
"""

from __future__ import annotations

import copy
import io
import math
import random
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from cnnlab.evaluation import (
    Criterion,
    Loader,
    check_classes,
    cross_entropy,
    evaluate,
    model_device,
)
from cnnlab.notebook import describe
from cnnlab.plotting import styled
from cnnlab.runtime import fast_dtype, in_notebook, write_atomically

__all__ = ["CheckpointError", "History", "fit", "place_model", "train_epoch", "training_mode"]


def train_epoch(
    model: nn.Module,
    loader: Loader,
    optimizer: torch.optim.Optimizer,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    criterion: Criterion = cross_entropy,
    after_batch: Callable[[], object] | None = None,
) -> tuple[float, float]:
    """Show the model every batch once and return mean loss and accuracy over the samples.

    Parameters
    ----------
    model : nn.Module
        Maps X (B, ...) to logits (B, K), or (B, K, H, W) for a class per pixel.
    loader : iterable of (X, y)
        Batches; y int64 of shape (B,), or (B, H, W).
    optimizer : torch.optim.Optimizer
        Holds the parameters that may change.
    device : torch.device or str, optional
        Where to compute; where the model is if None.
    dtype : torch.dtype, optional
        Multiply in this type (mixed precision), such as ``torch.bfloat16``.
    criterion : callable
        Maps logits and y to the loss.
    after_batch : callable, optional
        Is called after every batch, to show progress.

    Raises
    ------
    ValueError
        If the loader is empty, or a batch does not fit the model.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> loss, accuracy = train_epoch(model, [(torch.eye(2), torch.tensor([0, 1]))], optimizer)
    """
    device = torch.device(device or model_device(model))
    training_mode(model)
    mixed_precision = torch.autocast(device.type, dtype) if dtype else nullcontext()
    total_loss = torch.zeros((), device=device)
    correct = torch.zeros((), device=device)
    count = 0
    for X, y in loader:
        X, y = X.to(device), y.to(device)
        with mixed_precision:
            y_hat = _forward(model, X)  # logits (B, K), or (B, K, H, W)
        check_classes(y_hat, loader)
        loss = criterion(y_hat.float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += loss.detach() * len(y)  # a sum over samples: batches may differ in size
        hits = y_hat.argmax(dim=1) == y  # (B,), or (B, H, W)
        correct += hits.sum() * (len(y) / y.numel())
        count += len(y)
        if after_batch:
            after_batch()
    if count == 0:
        raise ValueError("the loader is empty: there is nothing to train on")
    return float(total_loss) / count, float(correct) / count


def training_mode(model: nn.Module) -> nn.Module:
    """Switch to training mode, but leave every part that is frozen in eval mode.

    In training mode a BatchNorm layer updates its running mean and variance even when its
    weights are frozen: the "frozen" backbone would drift away from its pretrained state. Dropout
    in a frozen part would only make its features random.

    Examples
    --------
    >>> model = nn.Sequential(nn.BatchNorm2d(3).requires_grad_(False), nn.Conv2d(3, 8, 1))
    >>> [layer.training for layer in training_mode(model)]
    [False, True]
    """
    model.train()
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()
    return model


def fit(
    model: nn.Module,
    train_loader: Loader,
    val_loader: Loader | None = None,
    *,
    epochs: int,
    lr: float = 1e-3,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    device: torch.device | str | None = None,
    progress: str | None = "bar",
    live_plot: bool = False,
    checkpoint: str | Path | None = None,
    precision: str = "auto",
    criterion: Criterion = cross_entropy,
) -> History:
    """Train a model, and leave it with the weights of the lowest validation loss.

    Interrupting the cell (or Ctrl-C) ends the training cleanly; so does a loss that is no longer
    a number. In both cases the history and the best weights so far are kept.

    Parameters
    ----------
    model : nn.Module
        Maps X (B, ...) to logits (B, K), or (B, K, H, W) for a class per pixel.
    train_loader, val_loader : iterable of (X, y)
        Batches; without a validation set the last weights stay.
    epochs : int
        How often every training sample is shown, at least once.
    lr : float
        Learning rate of AdamW, if no optimizer is given.
    optimizer : torch.optim.Optimizer, optional
        Instead of AdamW on all trainable parameters.
    scheduler : LRScheduler, optional
        Changes the learning rate after each epoch.
    device : torch.device or str, optional
        Where to compute; where the model is if None.
    progress : "bar", "plot" or None
        A progress bar (in notebooks and terminals, not in log files), curves that grow during
        training (livelossplot), or nothing.
    live_plot : bool
        Another way to write ``progress="plot"``.
    checkpoint : path, optional
        Save everything here after each epoch; if the file exists, go on from it to the same
        numbers.
    precision : "auto", "float32" or "bfloat16"
        Numbers in which convolutions and matrices are multiplied, and how images lie in memory
        meanwhile; see `place_model`.
    criterion : callable
        Maps logits and targets to the loss.

    Raises
    ------
    ValueError
        If ``epochs`` is less than 1, ``progress`` or ``precision`` is unknown, nothing can be
        trained, or data and model do not fit.
    CheckpointError
        If the checkpoint cannot be written, or belongs to another model or training.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> history = fit(model, [(torch.eye(2), torch.tensor([0, 1]))], epochs=3)
    >>> len(history["loss"]), history.ending
    (3, 'finished')
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; at least one is needed")
    progress = "plot" if live_plot else progress
    if progress not in ("bar", "plot", None):
        raise ValueError(f"progress is {progress!r}; choose 'bar', 'plot' or None")
    device = torch.device(device or model_device(model))
    dtype = place_model(model, device, precision)
    optimizer = optimizer or _make_optimizer(model, lr)
    state = _State(model, optimizer, scheduler, train_loader)
    if checkpoint and Path(checkpoint).exists():
        state.load(Path(checkpoint))
    history = state.history
    bar = _make_bar(epochs, train_loader, history, visible=progress == "bar")
    plot = _Plot(epochs) if progress == "plot" else None
    try:
        while len(history) < epochs and history.ending == "finished":
            start = time.perf_counter()
            rate = max(group["lr"] for group in optimizer.param_groups)
            loss, accuracy = train_epoch(
                model, train_loader, optimizer,
                device=device, dtype=dtype, criterion=criterion, after_batch=bar.update,
            )  # fmt: skip
            record = {"loss": loss, "accuracy": accuracy, "lr": rate}
            if val_loader is not None:
                result = evaluate(model, val_loader, device=device, criterion=criterion)
                record |= {"val_loss": result.loss, "val_accuracy": result.accuracy}
            state.end_epoch(record | {"seconds": time.perf_counter() - start})
            _write_numbers(bar, epochs, history)
            if plot:
                plot.add(record)
            if checkpoint and history.ending == "finished":
                state.save(Path(checkpoint))
    except KeyboardInterrupt:
        history.ending = "interrupted"
    finally:
        bar.refresh()
        bar.close()
        if plot:
            plot.draw()
        model.load_state_dict(state.best_weights)
        model.to(memory_format=torch.contiguous_format)  # channels-last would surprise later code
    if history.ending != "finished":
        print(_ENDINGS[history.ending].format(epochs=len(history)))
    return history


_ENDINGS = {
    "interrupted": "Interrupted after {epochs} epochs; the best weights so far are in the model.",
    "diverged": (
        "Stopped: in epoch {epochs} a loss or a weight is not a number. The model is back at its "
        "best weights. Try a learning rate ten times smaller, look for NaN or huge values in the "
        'images, or switch mixed precision off with precision="float32".'
    ),
}


@dataclass
class History:
    """The numbers of each epoch, and how the training ended.

    Attributes
    ----------
    records : list of dict
        One for each epoch: ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy`` (if there is a
        validation set), ``lr`` and ``seconds``.
    best_epoch : int or None
        Index of the epoch whose weights the model now has; None before the first.
    ending : str
        "finished", "interrupted" or "diverged".
    """

    records: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    ending: str = "finished"

    def __getitem__(self, name: str) -> list[float]:
        """Return one number over the epochs: ``history["val_accuracy"]``."""
        return [record[name] for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __str__(self) -> str:
        text = f"{len(self)} epochs in {self.seconds:.1f} s, {self.ending}"
        if self.best_epoch is not None:
            text += f"; kept the weights of epoch {self.best_epoch + 1}"
        if "val_accuracy" in self.best:
            text += f", with a validation accuracy of {self.best['val_accuracy']:.3f}"
        return text

    @property
    def seconds(self) -> float:
        """Time of all epochs together."""
        return sum(self["seconds"])

    @property
    def best(self) -> dict[str, float]:
        """The numbers of the best epoch."""
        return {} if self.best_epoch is None else self.records[self.best_epoch]


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, read, or used for this training."""


def place_model(
    model: nn.Module, device: torch.device, precision: str = "auto"
) -> torch.dtype | None:
    """Move the model to the device, in the memory format that suits the precision.

    Parameters
    ----------
    model : nn.Module
        Is changed in place; its weights stay float32.
    device : torch.device
        Where to compute.
    precision : "auto", "float32" or "bfloat16"
        "float32" is plain arithmetic in torch's usual memory format. "bfloat16" is mixed
        precision with channels-last memory, on every device. "auto" chooses: a model whose
        convolutions have fewer than 100,000 weights gains nothing and stays in float32; a larger
        one gets channels-last memory, and bfloat16 if the processor multiplies it natively.

    Returns
    -------
    torch.dtype or None
        The type for ``torch.autocast``; None for float32.

    Raises
    ------
    ValueError
        If the precision is another word.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision is {precision!r}; choose 'auto', 'float32' or 'bfloat16'")
    model.to(device)
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    large = sum(layer.weight.numel() for layer in convolutions) >= 100_000
    if precision == "float32" or (precision == "auto" and not large):
        return None
    model.to(memory_format=torch.channels_last)
    return torch.bfloat16 if precision == "bfloat16" else fast_dtype(device)


def _forward(model: nn.Module, X: Tensor) -> Tensor:
    """Return the logits; explain BatchNorm's usual complaint."""
    try:
        return model(X)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"BatchNorm cannot normalize a batch of {len(X)} image(s) with one value per channel: "
            "use a batch size of 2 or more, and drop_last=True if the last batch is left with one"
        ) from error


def _make_optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Return AdamW over the parameters that are not frozen."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError("every parameter is frozen: there is nothing to train. See freeze().")
    return torch.optim.AdamW(trainable, lr=lr)


# -- what is saved ---------------------------------------------------------------------------------


class _State:
    """What changes during a training: kept after each epoch, saved, and loaded again."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, loader: Any
    ) -> None:
        self.model, self.loader = model, loader
        self.parts: dict[str, Any] = {"model": model, "optimizer": optimizer}
        if scheduler is not None:
            self.parts["scheduler"] = scheduler
        self.history = History()
        self.best_weights = copy.deepcopy(model.state_dict())

    def end_epoch(self, record: dict[str, float]) -> None:
        """Note the numbers; keep the weights if they are the best so far."""
        history = self.history
        history.records.append(record)
        if "scheduler" in self.parts:
            self.parts["scheduler"].step()
        val_loss = record.get("val_loss", 0.0)  # without validation, the last epoch is the best
        # The last step of an epoch can break the weights after its losses were noted.
        finite = all(bool(weight.isfinite().all()) for weight in self.model.parameters())
        if not (finite and math.isfinite(record["loss"]) and math.isfinite(val_loss)):
            history.ending = "diverged"
        elif val_loss <= history.best.get("val_loss", math.inf):
            history.best_epoch = len(history) - 1
            self.best_weights = copy.deepcopy(self.model.state_dict())

    def save(self, path: Path) -> None:
        """Write everything that the rest of the training depends on."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {
            "kind": type(self.parts["optimizer"]).__name__,
            "best": self.best_weights,
            "records": self.history.records,
            "best_epoch": self.history.best_epoch,
            "random": _random_state(self.loader),
        }
        content = io.BytesIO()
        torch.save(state, content)
        try:
            write_atomically(path, content.getvalue())
        except OSError as error:
            raise CheckpointError(
                f"cannot write the checkpoint {path}: {error}. "
                "Free some disk space or choose another path; an older checkpoint is untouched."
            ) from error

    def load(self, path: Path) -> None:
        """Go back to a saved state. Only numbers are read: nothing in the file is executed."""
        try:
            with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums
                if archive.testzip():
                    raise zipfile.BadZipFile
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for damaged files
            raise CheckpointError(
                f"{path} is no readable checkpoint ({type(error).__name__}). "
                "Delete it to start afresh, or name another file."
            ) from error
        try:
            if state["kind"] != (kind := type(self.parts["optimizer"]).__name__):
                raise ValueError(f"its optimizer is {state['kind']}, now it is {kind}")
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            _restore_random_state(state["random"], self.loader)
            self.history = History(state["records"], state["best_epoch"])
            self.best_weights = state["best"]
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            self.model.load_state_dict(self.best_weights)  # half of another model may be in it
            raise CheckpointError(
                f"{path} belongs to another model or training ({error}). Build model, frozen "
                "layers and optimizer as they were then, or delete the file to start afresh."
            ) from error


def _random_state(loader: Any) -> dict[str, Any]:
    """Collect the states of all generators that a training draws from."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002  (libraries still draw from it)
    name, keys, *rest = numpy_state
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "loader": [generator.get_state() for generator in _generators(loader)],
    }


def _restore_random_state(state: dict[str, Any], loader: Any) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    for generator, saved in zip(_generators(loader), state["loader"], strict=True):
        generator.set_state(saved)


def _generators(loader: Any) -> list[torch.Generator]:
    """Return the generators with which a loader shuffles."""
    sampler = getattr(loader, "sampler", None)
    parts = (loader, sampler, getattr(sampler, "sampler", None))
    found = [getattr(part, "generator", None) for part in parts]
    return [generator for generator in found if generator is not None]


# -- what is shown ---------------------------------------------------------------------------------


def _make_bar(epochs: int, loader: Any, history: History, *, visible: bool) -> tqdm:
    """Return one bar over all epochs that moves with every batch.

    It is written as plain text to standard output, because a widget would be blank in slides and
    in exported pages. In a log file (neither notebook nor terminal) it stays silent.
    """
    batches = len(loader) if hasattr(loader, "__len__") else 0
    bar = tqdm(
        total=epochs * batches or None,
        initial=len(history) * batches,
        file=sys.stdout,
        disable=not (visible and (in_notebook() or sys.stdout.isatty())),
        mininterval=0.3,
        ncols=96,
        bar_format="{desc} {percentage:3.0f}% |{bar:16}| {elapsed}<{remaining}{postfix}",
    )
    _write_numbers(bar, epochs, history)
    return bar


def _write_numbers(bar: tqdm, epochs: int, history: History) -> None:
    """Write the running epoch before the bar, and the last one's numbers behind it."""
    bar.set_description_str(f"epoch {min(len(history) + 1, epochs)}/{epochs}", refresh=False)
    if history.records:
        record = history.records[-1]
        text = f"loss {record['loss']:.3f}, accuracy {record['accuracy']:.3f}"
        if "val_accuracy" in record:
            text += f", validation {record['val_accuracy']:.3f}"
        bar.set_postfix_str(text, refresh=False)


class _Plot:
    """Curves of loss and accuracy that grow during training, drawn by livelossplot.

    A drawing costs a quarter of a second, so at most a dozen are made.
    """

    def __init__(self, epochs: int) -> None:
        from livelossplot import PlotLosses
        from livelossplot.outputs import MatplotlibPlot

        canvas = MatplotlibPlot(
            figsize=(9, 3.2), after_subplot=_finish_axes, after_plots=_finish_figure
        )
        self.curves = PlotLosses(outputs=[canvas], current_step=0)
        self.every = math.ceil(epochs / 12)
        self.undrawn = 0  # epochs since the last drawing

    def add(self, record: dict[str, float]) -> None:
        """Add a point to each curve; draw now and then."""
        self.curves.update({name: value for name, value in record.items() if name != "lr"})
        self.undrawn += 1
        if self.undrawn == self.every:
            self.draw()

    def draw(self) -> None:
        """Draw the curves, unless that was just done."""
        if self.undrawn:
            with styled():
                self.curves.send()
        self.undrawn = 0


def _finish_axes(ax: Any, group: str, x_label: str) -> None:
    is_loss = group.lower() == "loss"
    ax.set(xlabel=x_label, ylabel="cross-entropy (nats)" if is_loss else "accuracy")
    ax.set_ylim(bottom=0, top=None if is_loss else 1.02)
    ax.legend(loc="lower left" if is_loss else "lower right")


def _finish_figure(figure: Any) -> None:
    if in_notebook():
        describe(figure, "Loss and accuracy of each epoch: training and validation.")
    plt.close(figure)  # livelossplot leaves its figures open
