"""The training of the embedded backbone: ImageNet in miniature, on one process or several.

Every random number depends on (seed, epoch, step) alone, so a run that was killed continues to
the same numbers, and two processes see the same batches as one.
"""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from cnnlab.data.augmentation import Views, cut_views, draw_views
from cnnlab.data.folders import read_split
from cnnlab.evaluation import model_device
from cnnlab.models.backbones import Normalize, save_weights
from cnnlab.models.small import TinyResNet
from cnnlab.runtime import fast_dtype, set_seed, write_atomically

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
    fast: int = 1  # bfloat16 where the hardware gains from it; 0: never

    def learning_rate(self, progress: float) -> float:
        """Return the rate after a share of the run: up for 15 % of it, then down in a cosine."""
        if progress < 0.15:
            return self.lr * max(progress / 0.15, 0.01)
        return self.lr * (1 + math.cos(math.pi * (progress - 0.15) / 0.85)) / 2

    def side(self, epoch: int) -> int:
        """Return the side of the training images: three quarters at first, which is faster."""
        growth = 0.75 + 0.25 * min(1.0, epoch / max(1, 0.7 * self.epochs))
        return 8 * round(self.size * growth / 8)

    def command(self, source: str) -> str:
        """Return the command that repeats a run with these settings."""
        words = ["python", "-m", "cnnlab.pretraining", "--data", source]
        for name, value in asdict(self).items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)


def pretrain(data: str | Path, output: str | Path, settings: Settings) -> list[dict[str, float]]:
    """Train a TinyResNet on a folder or zip of images; write a checkpoint and the weights.

    Parameters
    ----------
    data : path
        A folder or a zip with ``train/<class>/*`` and ``val/<class>/*``.
    output : path
        Folder for ``checkpoint.pt`` and ``tiny_resnet.safetensors``. If a checkpoint of the same
        settings lies there, the run goes on from it.
    settings : Settings
        What decides the numbers.

    Returns
    -------
    list of dict
        Loss, top-1 and top-5 accuracy and seconds of each epoch.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    train, val = (read_split(data, split, settings.size) for split in ("train", "val"))
    run = Run(settings, len(train.classes))
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
    for epoch in range(len(run.history), settings.epochs):
        start = time.perf_counter()
        loss = run.train_epoch(train.inputs, train.labels, epoch)
        with run.autocast():
            scores = top_accuracy(run.bare_model, val.inputs, val.labels)
        run.history.append({"loss": loss, **scores, "seconds": time.perf_counter() - start})
        if run.rank == 0:
            tqdm.write(f"epoch {epoch + 1}: " + json.dumps(run.history[-1]))
            write_atomically(checkpoint, run.state())
    if run.rank == 0:
        run.export(folder / "tiny_resnet.safetensors", train.classes, Path(data).name)
    return run.history


class Run:
    """What one process trains, under torchrun or alone, and how far it has come."""

    def __init__(self, settings: Settings, num_classes: int) -> None:
        self.settings = settings
        self.history: list[dict[str, float]] = []
        several = dist.is_initialized()
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)
        if settings.batch_size % self.world:
            raise ValueError(f"the batch size does not divide by {self.world} processes")
        gpu = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        self.device = torch.device(gpu if torch.cuda.is_available() else "cpu")
        set_seed(settings.seed)
        self.bare_model = TinyResNet(num_classes).to(self.device)
        self.model: nn.Module = self.bare_model
        if self.world > 1:
            self.model = DistributedDataParallel(share_batch_norm(self.bare_model))
        parameters = list(self.bare_model.parameters())
        groups: list[dict[str, Any]] = [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": settings.weight_decay,
            },
            {"params": [p for p in parameters if p.ndim <= 1]},  # biases, BatchNorm: no decay
        ]
        self.optimizer = torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True)

    def state(self) -> bytes:
        """Return all that is needed to go on, as a file's content."""
        state = {
            "settings": asdict(self.settings),
            "model": self.bare_model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    def load(self, path: Path) -> None:
        """Take up the state of an earlier run with the same settings."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["settings"] != asdict(self.settings):
            raise ValueError(f"{path} is of a run with other settings: choose another --output")
        self.bare_model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]

    def autocast(self) -> torch.autocast:
        """Multiply in bfloat16 where the hardware gains from it."""
        dtype = fast_dtype(self.device) if self.settings.fast else None
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def train_epoch(self, images: Tensor, labels: Tensor, epoch: int) -> float:
        """Show every image (N, 3, H, W) once and return the mean loss of all processes."""
        settings, share = self.settings, slice(self.rank, None, self.world)
        generator = torch.Generator().manual_seed(settings.seed * 1000 + epoch)
        order = torch.randperm(len(images), generator=generator)
        steps = len(images) // settings.batch_size  # a last short batch is left out
        total, side = torch.zeros((), device=self.device), settings.side(epoch)
        self.model.train()
        for step in tqdm(range(steps), desc=f"epoch {epoch + 1}", disable=self.rank > 0 or None):
            for group in self.optimizer.param_groups:
                group["lr"] = settings.learning_rate((epoch + step / steps) / settings.epochs)
            batch = order[step * settings.batch_size :][: settings.batch_size]
            generator.manual_seed((settings.seed * 1000 + epoch) * 100_000 + step)
            views = draw_views(len(batch), generator, min_area=0.35, color=0.3)
            own = Views(views.crops[share], views.colors[share])
            x = cut_views(images[batch[share]], own, side).to(self.device)
            y = labels[batch[share]].to(self.device)
            with self.autocast():
                logits = self.model(Normalize()(x))
            loss = F.cross_entropy(logits.float(), y, label_smoothing=settings.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        if self.world > 1:
            dist.all_reduce(total)
        return float(total) / (steps * self.world)

    def export(self, path: Path, classes: list[str], source: str) -> None:
        """Write the weights as safetensors; its card says how they came about."""
        card = {
            "data": "Tiny-ImageNet" if "tiny-imagenet" in source else source,
            "categories": json.dumps(classes),
            "settings": json.dumps(asdict(self.settings)),
            "seconds": f"{sum(record['seconds'] for record in self.history):.0f}",
            "date": time.strftime("%Y-%m-%d"),
            "command": self.settings.command(source),
            "license": "derived from ImageNet images: for teaching and research, not for products",
        }
        save_weights(self.bare_model, path, card)


@torch.inference_mode()
def top_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Return top-1 and top-5 accuracy on images (N, 3, H, W), each a share of 1."""
    model.eval()
    device = model_device(model)
    logits = torch.cat([model(Normalize()(x.to(device))).float().cpu() for x in images.split(500)])
    ranked = logits.topk(min(5, logits.shape[1])).indices  # (N, 5), the likeliest first
    hits = ranked == labels[:, None]
    return {"top1": hits[:, 0].float().mean().item(), "top5": hits.any(1).float().mean().item()}


# ------------------------------------------------------ several processes that train as one


class _SumOverProcesses(torch.autograd.Function):
    """Every process's sum depends on every process's values, so gradients are summed, too."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _SumOverProcesses.apply(gradient)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes (torch's SyncBatchNorm needs a GPU)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (B, C, H, W) by the mean and variance over every process's batch."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        sums = torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])  # (2, C)
        count = x.numel() / x.shape[1] * dist.get_world_size()
        mean, square = _SumOverProcesses.apply(sums) / count
        variance = square - mean.square()
        assert self.running_mean is not None and self.running_var is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum or 0.1)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum or 0.1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return values * scale[:, None, None] + shift[:, None, None]


def share_batch_norm(model: nn.Module) -> nn.Module:
    """Let every BatchNorm layer share its statistics between processes; names stay the same."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d
    return model
