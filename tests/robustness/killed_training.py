"""Train a small network in child processes that are killed again and again; see the test.

    python killed_training.py FOLDER KILLS SEED

Torch is imported once; each child is a fork of this process, and dies by SIGKILL. A child writes a
byte into a pipe for each batch that it begins: the parent waits for a random number of them, and
for up to two milliseconds more, so that deaths fall into batches, validation and writing alike.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cnnlab import fit, set_seed

EPOCHS, BATCHES = 60, 4


class Reporting:
    """A loader that tells when a batch begins."""

    def __init__(self, loader: DataLoader, pipe: int) -> None:
        self.loader, self.generator, self.pipe = loader, loader.generator, pipe

    def __iter__(self) -> Iterator:
        for batch in self.loader:
            os.write(self.pipe, b".")
            yield batch


def train(folder: Path, name: str, pipe: int) -> None:
    """Train with everything that has a state: dropout, shuffling, momentum, a schedule."""
    generator = set_seed(7)
    y = torch.arange(8 * BATCHES) % 2
    X = torch.randn(len(y), 2) + y[:, None]
    points = TensorDataset(X, y)
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    loader = DataLoader(points, 8, shuffle=True, generator=generator)
    history = fit(
        model, Reporting(loader, pipe), [(X, y)], epochs=EPOCHS, optimizer=optimizer,
        scheduler=scheduler, checkpoint=folder / f"{name}.ckpt",
    )  # fmt: skip
    numbers = [{k: v for k, v in record.items() if k != "seconds"} for record in history.records]
    last = torch.load(folder / f"{name}.ckpt", weights_only=True)["model"]
    torch.save([model.state_dict(), last, numbers], folder / f"{name}.pt")


def child(folder: Path, name: str) -> tuple[int, int]:
    """Start a training; return its process number and the reading end of its pipe."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reading)
        try:
            train(folder, name, writing)
        finally:
            os._exit(0 if (folder / f"{name}.pt").exists() else 1)
    os.close(writing)
    return pid, reading


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    warm = nn.Linear(2, 2)  # imports, once for all children, what torch imports when it trains
    fit(warm, [(torch.eye(2), torch.arange(2))], epochs=1, checkpoint=folder / "warm.ckpt")
    (folder / "warm.ckpt").unlink()
    moments = random.Random(seed)
    for _ in range(kills):
        pid, reading = child(folder, "killed")
        batches = moments.randrange(2 * BATCHES)
        while batches and (told := os.read(reading, batches)):
            batches -= len(told)
        time.sleep(moments.uniform(0, 0.002))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(reading)
        print("killed" if os.WIFSIGNALED(status) else f"ended with {status}", flush=True)
    for name in ("killed", "straight"):
        pid, reading = child(folder, name)
        while os.read(reading, 4096):
            pass
        print(name, os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
