"""How the embedded backbone was trained: ImageNet in miniature, on one process or several.

    python -m cnnlab.pretraining.train --data tiny-imagenet.zip --epochs 22
    torchrun --standalone --nproc-per-node 2 -m cnnlab.pretraining.train --data tiny-imagenet.zip

The data are a folder or a zip with ``train/<class>/*`` and ``val/<class>/*``. Every random number
depends on (seed, epoch, step) alone, so a run that was killed continues to the same numbers, and
two processes see the same batches as one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from cnnlab.data.augmentation import cut_views, draw_views
from cnnlab.data.images import read_pictures
from cnnlab.evaluation import model_device
from cnnlab.models.backbones import Normalize, save_weights
from cnnlab.models.small import TinyResNet
from cnnlab.pretraining.distributed import place, process_group, share_batch_norm
from cnnlab.runtime import fast_dtype, set_seed

__all__ = ["Settings", "pretrain", "top_accuracy"]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the numbers of a run."""

    epochs: int = 22
    batch_size: int = 256  # of all processes together
    lr: float = 0.4
    weight_decay: float = 3e-4
    label_smoothing: float = 0.1
    size: int = 64  # pixels
    seed: int = 0
    fast: bool = True  # bfloat16 where the hardware gains from it

    def learning_rate(self, progress: float) -> float:
        """Return the rate after a share of the run: up for 15 % of it, then down in a cosine."""
        if progress < 0.15:
            return self.lr * max(progress / 0.15, 0.01)
        return self.lr * (1 + math.cos(math.pi * (progress - 0.15) / 0.85)) / 2

    def side(self, epoch: int) -> int:
        """Return the side of the training pictures: three quarters at first, which is faster."""
        growth = 0.75 + 0.25 * min(1.0, epoch / max(1, 0.7 * self.epochs))
        return 8 * round(self.size * growth / 8)


@dataclass
class Run:
    """The state of one process: what is trained, where, and how far it has come."""

    settings: Settings
    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    rank: int = 0
    world: int = 1
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def bare_model(self) -> nn.Module:
        """The model without the wrapper of DistributedDataParallel."""
        return getattr(self.model, "module", self.model)

    def save(self, path: Path) -> None:
        """Write the state to a file that is either the old one or the new one, never half."""
        state = {
            "settings": asdict(self.settings),
            "model": self.bare_model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        """Take up the state of an earlier run with the same settings."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["settings"] != asdict(self.settings):
            raise ValueError(
                f"{path} belongs to a run with other settings ({state['settings']}); "
                "continue with those, or choose another --output"
            )
        self.bare_model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]


def make_run(settings: Settings, num_classes: int) -> Run:
    """Build model and optimizer for this process, under torchrun or alone."""
    rank, world, device = place()
    if settings.batch_size % world:
        raise ValueError(f"batch size {settings.batch_size} does not divide by {world} processes")
    set_seed(settings.seed)
    model: nn.Module = TinyResNet(num_classes).to(device)
    model = model.to(memory_format=torch.channels_last)
    if world > 1:
        model = DistributedDataParallel(share_batch_norm(model))
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]  # no decay for biases, BatchNorm
    groups: list[dict] = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors},
    ]
    optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True)
    return Run(settings, model, optimizer, device, rank, world)


def autocast(run: Run) -> contextlib.AbstractContextManager[None]:
    """Multiply in bfloat16 where the hardware gains from it."""
    dtype = fast_dtype(run.device) if run.settings.fast else None
    return torch.autocast(run.device.type, dtype) if dtype else contextlib.nullcontext()


def batches(run: Run, count: int, epoch: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (step, this process's indices) in the epoch's order; a last short batch is left out."""
    order = torch.randperm(
        count, generator=torch.Generator().manual_seed(run.settings.seed * 1000 + epoch)
    )
    for step, batch in enumerate(order.split(run.settings.batch_size)):
        if len(batch) == run.settings.batch_size:
            yield step, batch


def train_one_epoch(run: Run, images: Tensor, labels: Tensor, epoch: int) -> float:
    """Show every picture (N, 3, H, W) once and return the mean loss of all processes."""
    settings, share = run.settings, slice(run.rank, None, run.world)
    steps = len(images) // settings.batch_size
    total, side = torch.zeros((), device=run.device), settings.side(epoch)
    run.model.train()
    bar = tqdm(total=steps * settings.batch_size, unit=" images", unit_scale=True,
               desc=f"epoch {epoch + 1}/{settings.epochs} at {side} px",
               disable=None if run.rank == 0 else True)  # fmt: skip
    for step, batch in batches(run, len(images), epoch):
        for group in run.optimizer.param_groups:
            group["lr"] = settings.learning_rate((epoch + step / steps) / settings.epochs)
        seed = (settings.seed * 1000 + epoch) * 100_000 + step
        generator = torch.Generator().manual_seed(seed)
        views = draw_views(len(batch), generator, min_area=0.35, color=0.3).share(share)
        x = cut_views(images[batch[share]], views, side).to(run.device)
        x = Normalize()(x).contiguous(memory_format=torch.channels_last)
        with autocast(run):
            logits = run.model(x)
        loss = F.cross_entropy(
            logits.float(),
            labels[batch[share]].to(run.device),
            label_smoothing=settings.label_smoothing,
        )
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        total += loss.detach()
        bar.update(settings.batch_size)
    bar.close()
    if run.world > 1:
        dist.all_reduce(total)
    return float(total) / (steps * run.world)


@torch.inference_mode()
def top_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Return top-1 and top-5 accuracy on pictures (N, 3, H, W), each a share of 1."""
    device, best = model_device(model), 5
    model.eval()
    hits = torch.zeros(best)
    for x, y in zip(images.split(500), labels.split(500), strict=True):
        logits = model(Normalize()(x.to(device))).float().cpu()
        ranked = logits.topk(min(best, logits.shape[1])).indices  # (B, 5), the likeliest first
        hits[: ranked.shape[1]] += (ranked == y[:, None]).sum(dim=0)
    top = hits.cumsum(0) / len(labels)
    return {"top1": float(top[0]), "top5": float(top[-1])}


def pretrain(data: str | Path, output: str | Path, settings: Settings) -> list[dict[str, float]]:
    """Train a TinyResNet on a folder or zip of pictures; write checkpoint, weights and card.

    Parameters
    ----------
    data : path
        A folder or a zip with ``train/<class>/*`` and ``val/<class>/*``.
    output : path
        Folder for ``checkpoint.pt``, ``tiny_resnet.safetensors`` and its card. If a checkpoint
        of the same settings lies there, the run goes on from it.
    settings : Settings
        What decides the numbers.

    Returns
    -------
    list of dict
        Loss, top-1 and top-5 accuracy and seconds of each epoch.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    train, val = (read_pictures(data, split, settings.size) for split in ("train", "val"))
    run = make_run(settings, len(train.classes))
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
    for epoch in range(len(run.history), settings.epochs):
        start = time.perf_counter()
        loss = train_one_epoch(run, train.images, train.labels, epoch)
        with autocast(run):
            scores = top_accuracy(run.bare_model, val.images, val.labels)
        run.history.append({"loss": loss, **scores, "seconds": time.perf_counter() - start})
        if run.rank == 0:
            tqdm.write(f"epoch {epoch + 1}: " + json.dumps(run.history[-1]))
            run.save(checkpoint)
    if run.rank == 0:
        export(run, folder / "tiny_resnet.safetensors", train.classes, Path(data).name)
    return run.history


def export(run: Run, path: Path, classes: list[str], source: str) -> None:
    """Write the weights as safetensors, with a card that says how they came about."""
    last = run.history[-1]
    card = {
        "data": "Tiny-ImageNet" if "tiny-imagenet" in source else source,
        "categories": json.dumps(classes),
        "settings": json.dumps(asdict(run.settings)),
        "val_top1": f"{last['top1']:.4f}",
        "val_top5": f"{last['top5']:.4f}",
        "seconds": f"{sum(record['seconds'] for record in run.history):.0f}",
        "date": time.strftime("%Y-%m-%d"),
        "command": repeating(run.settings, source),
        "license": "derived from ImageNet pictures: for teaching and research, not for products",
    }
    save_weights(run.bare_model, path, card)
    lines = [f"- {name}: {text}" for name, text in card.items() if name != "categories"]
    path.with_suffix(".md").write_text("\n".join(["# tiny_resnet", "", *lines, ""]))


def repeating(settings: Settings, source: str) -> str:
    """Return the command that repeats a run with these settings."""
    words = ["python", "-m", "cnnlab.pretraining.train", "--data", source]
    words += ["--epochs", str(settings.epochs)]
    for name, value in asdict(settings).items():
        if name not in ("epochs", "fast") and value != getattr(Settings(), name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words if settings.fast else [*words, "--exact"])


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder or zip with train/ and val/")
    parser.add_argument("--output", default="build/pretraining", help="folder for the results")
    for setting in fields(Settings):
        if setting.name != "fast":
            option = f"--{setting.name.replace('_', '-')}"
            parser.add_argument(option, type=type(setting.default), default=setting.default)
    parser.add_argument("--exact", action="store_true", help="no bfloat16")
    arguments = vars(parser.parse_args())
    data, output, exact = (arguments.pop(name) for name in ("data", "output", "exact"))
    with process_group():
        pretrain(data, output, Settings(fast=not exact, **arguments))


if __name__ == "__main__":
    main()
