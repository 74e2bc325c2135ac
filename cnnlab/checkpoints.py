"""Save a training so that it can go on to the same numbers after the machine was lost."""

from __future__ import annotations

import contextlib
import glob
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

__all__ = ["CheckpointError", "generators_of", "load_checkpoint", "random_state", "save_checkpoint"]


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
