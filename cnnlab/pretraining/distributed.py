"""Several processes that train as one: what DistributedDataParallel leaves to its users."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["SharedBatchNorm2d", "place", "process_group", "share_batch_norm"]


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes if torchrun started us (nccl on GPUs, gloo on CPUs)."""
    if "RANK" not in os.environ:
        yield
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def place() -> tuple[int, int, torch.device]:
    """Return this process's number, how many there are, and its device."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if torch.cuda.is_available():
        return rank, world, torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return rank, world, torch.device("cpu")


class _SumOverProcesses(torch.autograd.Function):
    """Every process's sum depends on every process's values, so gradients are summed, too."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.clone()
        dist.all_reduce(total)
        return total


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
