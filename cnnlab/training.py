"""The training loop of every lesson: short enough to read aloud."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.checkpoints import load_checkpoint, save_checkpoint
from cnnlab.evaluation import (
    Criterion,
    Loader,
    check_classes,
    classes_of,
    cross_entropy,
    evaluate,
    model_device,
)
from cnnlab.history import History, Run
from cnnlab.progress import LivePlot, ProgressBar, Watcher
from cnnlab.runtime import fast_dtype

__all__ = ["fit", "train_epoch", "training_mode"]

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
            f"BatchNorm cannot normalise a batch of {len(X)} image(s) with one value a channel: "
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
        Learning rate of AdamW, if no optimiser is given.
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
