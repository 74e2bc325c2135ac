"""What a training leaves behind: its numbers, and the state from which it can go on."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from cnnlab.checkpoints import CheckpointError, random_state, restore_random_state

__all__ = ["History", "Run"]


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
            If the state lacks something, or the optimiser trained other parameters, or is another.
        """
        try:
            if state["kind"] != (kind := type(self.optimizer).__name__):
                raise ValueError(f"its optimiser is {state['kind']}, now it is {kind}")
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scheduler and state["scheduler"]:
                self.scheduler.load_state_dict(state["scheduler"])
            self.history = History(state["records"], state["best_epoch"])
            self.best_state = state["best"]
            restore_random_state(state["random"], self.loader)
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint is of another training ({error}). Delete it to start afresh, or "
                "go on with the same optimiser, and with the same layers frozen."
            ) from error
        self.model.load_state_dict(state["model"])


def _score(record: dict[str, float]) -> float:
    """Rank epochs by validation loss, which is less of a lottery than accuracy on few samples.

    Without validation all are equal, and the last one wins.
    """
    return -record.get("val_loss", 0.0)
