"""The training loop of every lesson: short enough to read aloud."""

from __future__ import annotations

import contextlib
import copy
import glob
import math
import os
import random
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from tqdm import tqdm

from cnnlab.evaluation import (
    Criterion,
    Loader,
    check_classes,
    classes_of,
    cross_entropy,
    evaluate,
    model_device,
)
from cnnlab.plotting import display_figure, styled
from cnnlab.runtime import fast_dtype, in_notebook

__all__ = [
    "CheckpointError",
    "History",
    "LivePlot",
    "ProgressBar",
    "Run",
    "Watcher",
    "fit",
    "generators_of",
    "load_checkpoint",
    "random_state",
    "save_checkpoint",
    "train_epoch",
    "training_mode",
]


@dataclass
class History:
    """The numbers of each epoch, and how the training ended.

    Attributes
    ----------
    records : list of dict
        An epoch each: ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy`` (if there is a
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


class Run:
    """What changes during a training, so that it can be saved, resumed and rolled back."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, loader: Any
    ) -> None:
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.loader, self.history = loader, History()
        self.best_state = copy.deepcopy(model.state_dict())

    def end_epoch(self, record: dict[str, float]) -> None:
        """Note the numbers; keep the weights if they are the best so far."""
        history = self.history
        history.records.append(record)
        if self.scheduler is not None:
            self.scheduler.step()
        losses = [record[name] for name in ("loss", "val_loss") if name in record]
        # The last step of an epoch can break the weights after its losses were noted.
        weights = all(bool(weight.isfinite().all()) for weight in self.model.parameters())
        if not (weights and all(map(math.isfinite, losses))):
            history.ending = "diverged"
        elif not history.best or _score(record) >= _score(history.best):
            history.best_epoch = len(history) - 1
            self.best_state = copy.deepcopy(self.model.state_dict())

    def state(self) -> dict[str, Any]:
        """Collect everything that the rest of the training depends on."""
        return {
            "model": self.model.state_dict(),
            "best": self.best_state,
            "optimizer": self.optimizer.state_dict(),
            "kind": type(self.optimizer).__name__,
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "records": self.history.records,
            "best_epoch": self.history.best_epoch,
            "random": random_state(self.loader),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a saved state.

        Raises
        ------
        CheckpointError
            If the state lacks something, or the optimizer trained other parameters, or is another.
        """
        try:
            if state["kind"] != (kind := type(self.optimizer).__name__):
                raise ValueError(f"its optimizer is {state['kind']}, now it is {kind}")
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scheduler and state["scheduler"]:
                self.scheduler.load_state_dict(state["scheduler"])
            self.history = History(state["records"], state["best_epoch"])
            self.best_state = state["best"]
            restore_random_state(state["random"], self.loader)
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint is of another training ({error}). Delete it to start afresh, or "
                "go on with the same optimizer, and with the same layers frozen."
            ) from error
        self.model.load_state_dict(state["model"])


def _score(record: dict[str, float]) -> float:
    """Rank epochs by validation loss, which is less of a lottery than accuracy on few samples.

    Without validation all are equal, and the last one wins.
    """
    return -record.get("val_loss", 0.0)


class Watcher(Protocol):
    """What ``fit`` tells somebody who watches."""

    def batches(self, loader: Iterable[Any], epoch: int) -> Iterator[Any]:
        """Pass the batches of one epoch through."""

    def epoch_done(self, record: Mapping[str, float]) -> None:
        """Take note of an epoch's numbers."""

    def close(self) -> None:
        """Show the last state for good."""


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


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, read, or used for this model."""


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write the state to a file that is either the old one or the new one, never half a one.

    Raises
    ------
    CheckpointError
        If the disk is full or the folder cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        torch.save(state, temporary)
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise CheckpointError(
            f"cannot write the checkpoint {target}: {error}. "
            "Free some disk space or choose another path; an older checkpoint there is untouched."
        ) from error


def _sweep(target: Path) -> None:
    """Remove the unfinished files of processes that were killed while they wrote."""
    for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        process = part.name.split(".")[-2]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            part.unlink(missing_ok=True)


def load_checkpoint(path: str | Path, model: nn.Module) -> dict[str, Any]:
    """Read a checkpoint and make sure that it belongs to this model.

    Only numbers are read (``weights_only=True``): nothing in the file can be executed.

    Raises
    ------
    CheckpointError
        If the file is damaged, is no checkpoint, or was made by a model of another shape.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved = {name: tuple(tensor.shape) for name, tensor in state["model"].items()}
    except Exception as error:  # torch raises many kinds for damaged files
        raise CheckpointError(
            f"{path} is no readable checkpoint ({type(error).__name__}). "
            "Delete it to start afresh, or name another file."
        ) from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if saved != wanted:
        raise CheckpointError(
            f"{path} belongs to another model: {_first_difference(saved, wanted)}. "
            "Build the model as it was then, or name another file."
        )
    return state


def _first_difference(saved: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> str:
    for name in wanted:
        if name not in saved:
            return f"it has no {name!r}"
        if saved[name] != wanted[name]:
            return f"its {name!r} has shape {saved[name]}, the model's {wanted[name]}"
    return f"it has {next(iter(saved.keys() - wanted.keys()))!r}, which the model lacks"


def generators_of(loader: Any) -> list[torch.Generator]:
    """Find the generators with which a loader shuffles, each once."""
    sampler = getattr(loader, "sampler", None)
    inner = getattr(sampler, "sampler", None)
    found = [getattr(part, "generator", None) for part in (loader, sampler, inner)]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


def random_state(loader: Any) -> dict[str, Any]:
    """Collect the state of every random number generator that training draws from."""
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    state = {
        "python": [version, list(words), gauss],
        "numpy": [
            numpy_state[0],
            torch.from_numpy(numpy_state[1].astype("int64")),
            *numpy_state[2:],
        ],
        "torch": torch.get_rng_state(),
        "loader": [generator.get_state() for generator in generators_of(loader)],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any], loader: Any) -> None:
    """Set every generator back to where ``random_state`` found it."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    for generator, saved in zip(generators_of(loader), state["loader"], strict=False):
        generator.set_state(saved)
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


_SMALL = 100_000  # convolution weights below which bfloat16 gains nothing

_ENDINGS = {
    "finished": "",
    "interrupted": "Interrupted after {epochs} epochs; the best weights so far are in the model.\n",
    "diverged": (
        "Stopped: in epoch {epochs} a loss or a weight is not a number. The model is back at its "
        "best weights. Try a learning rate ten times smaller, look for NaN or huge values in the "
        "images, or switch mixed precision off with fast=False.\n"
    ),
}


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


def train_epoch(
    model: nn.Module,
    loader: Loader,
    optimizer: torch.optim.Optimizer,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    watch: Callable[[Loader], Loader] = iter,
    criterion: Criterion = cross_entropy,
) -> tuple[float, float]:
    """Show the model every batch once and return mean loss and accuracy over the samples.

    Parameters
    ----------
    model : nn.Module
        Maps X (B, ...) to logits (B, K), or (B, K, H, W) for an answer a pixel.
    loader : iterable of (X, y)
        Batches; y int64 of shape (B,), or (B, H, W).
    optimizer : torch.optim.Optimizer
        Holds the parameters that may change.
    device : torch.device or str, optional
        Where to compute; where the model is if None.
    dtype : torch.dtype, optional
        Multiply in this type (mixed precision), such as ``torch.bfloat16``.
    watch : callable
        Passes the batches through, to show progress.
    criterion : callable
        Maps logits and y to the loss.

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
    total_loss, correct = torch.zeros(2, device=device)
    count = 0
    for X, y in watch(loader):
        X, y = X.to(device), y.to(device)
        with mixed_precision:
            y_hat = forward(model, X, loader)  # logits (B, K), or (B, K, H, W)
        loss = criterion(y_hat.float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += loss.detach() * len(y)  # a sum over samples: batches may differ in size
        hits = y_hat.argmax(dim=1) == y  # (B,), or (B, H, W)
        correct += hits.sum() * (len(y) / y.numel())
        count += len(y)
    return mean_of(total_loss, count), mean_of(correct, count)


def mean_of(total: Tensor, count: int) -> float:
    """Divide by the number of samples, of which there must be some."""
    if count == 0:
        raise ValueError("the loader is empty: there is nothing to train on")
    return float(total) / count


def forward(model: nn.Module, X: Tensor, loader: Loader) -> Tensor:
    """Return the logits, as many as the data have classes; explain BatchNorm's usual complaint."""
    try:
        logits = model(X)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"BatchNorm cannot normalize a batch of {len(X)} image(s) with one value a channel: "
            "use a batch size of 2 or more, and drop_last=True if the last batch is left with one"
        ) from error
    check_classes(logits, classes_of(loader))
    return logits


def make_optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Return AdamW over the parameters that are not frozen."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError("every parameter is frozen: there is nothing to train. See freeze().")
    return torch.optim.AdamW(trainable, lr=lr)


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
    live_plot: bool = False,
    checkpoint: str | Path | None = None,
    fast: bool = True,
    criterion: Criterion = cross_entropy,
) -> History:
    """Train a model, and leave it with the weights of the lowest validation loss.

    Interrupting the cell (or Ctrl-C) ends the training cleanly; so does a loss that is no longer
    a number. In both cases the history and the best weights so far are kept.

    Parameters
    ----------
    model : nn.Module
        Maps X (B, ...) to logits (B, K), or (B, K, H, W) for an answer a pixel.
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
    live_plot : bool
        Draw the curves during training (livelossplot) instead of a progress bar.
    checkpoint : path, optional
        Save everything here after each epoch; if the file exists, go on from it to the same
        numbers.
    fast : bool
        Mixed precision and channels-last memory where the hardware gains from them.
    criterion : callable
        Maps logits and targets to the loss.

    Raises
    ------
    ValueError
        If ``epochs`` is less than 1, nothing can be trained, or data and model do not fit.
    CheckpointError
        If the checkpoint cannot be written, or belongs to another model.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> history = fit(model, [(torch.eye(2), torch.tensor([0, 1]))], epochs=3)
    >>> len(history["loss"]), history.ending
    (3, 'finished')
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; at least one is needed")
    device = torch.device(device or model_device(model))
    dtype = _place(model, device, fast)
    optimizer = optimizer or make_optimizer(model, lr)
    run = Run(model, optimizer, scheduler, train_loader)
    if checkpoint and Path(checkpoint).exists():
        run.restore(load_checkpoint(checkpoint, model))
    start = len(run.history)
    watcher: Watcher = (
        LivePlot(epochs) if live_plot else ProgressBar(epochs, _length(train_loader), start)
    )
    try:
        for epoch in range(start, epochs):
            began, rate = time.perf_counter(), max(g["lr"] for g in optimizer.param_groups)
            watch = partial(watcher.batches, epoch=epoch)
            loss, accuracy = train_epoch(
                model, train_loader, optimizer,
                device=device, dtype=dtype, watch=watch, criterion=criterion,
            )  # fmt: skip
            record = {"loss": loss, "accuracy": accuracy, "lr": rate}
            if val_loader is not None:
                result = evaluate(model, val_loader, device=device, criterion=criterion)
                record |= {"val_loss": result.loss, "val_accuracy": result.accuracy}
            run.end_epoch(record | {"seconds": time.perf_counter() - began})
            watcher.epoch_done(record)
            if run.history.ending == "diverged":
                break
            if checkpoint:
                save_checkpoint(checkpoint, run.state())
    except KeyboardInterrupt:
        run.history.ending = "interrupted"
    finally:
        watcher.close()
        model.load_state_dict(run.best_state)
        model.to(memory_format=torch.contiguous_format)  # channels-last would surprise later code
    print(_ENDINGS[run.history.ending].format(epochs=len(run.history)), end="")
    return run.history


def _place(model: nn.Module, device: torch.device, fast: bool) -> torch.dtype | None:
    """Move the model; return the type to multiply in if mixed precision gains anything."""
    model.to(device)
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d))
    if not fast or weights < _SMALL:
        return None
    model.to(memory_format=torch.channels_last)
    return fast_dtype(device)


def _length(loader: Any) -> int | None:
    """Return the number of batches, if the loader knows it."""
    return len(loader) if hasattr(loader, "__len__") else None
