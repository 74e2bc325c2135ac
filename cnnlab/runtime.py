"""What every module stands on.

`set_seed`, `get_device` and `versions` begin each lesson; `fast_dtype` and `in_notebook` ask what
the machine can do; `format_table` aligns text, `write_atomically` writes files.
"""

from __future__ import annotations

import importlib
import os
import platform
import random
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import psutil
import torch


def set_seed(seed: int = 0) -> torch.Generator:
    """Seed every random number generator and ask for repeatable arithmetic.

    Python, NumPy and torch (CPU, CUDA and MPS) are seeded. cuDNN stays *on* but has to choose
    deterministic algorithms; an operation that has none warns instead of stopping the lesson.

    Parameters
    ----------
    seed : int
        A whole number from 0 to 2**32 - 1.

    Returns
    -------
    torch.Generator
        A generator with the same seed, for shuffling in a ``DataLoader``.

    Raises
    ------
    ValueError
        If the seed is outside the range that NumPy accepts.

    Examples
    --------
    >>> generator = set_seed(0)
    >>> first = torch.rand(1)
    >>> generator = set_seed(0)
    >>> bool(torch.rand(1) == first)
    True
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; it must lie between 0 and 2**32 - 1")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (libraries still draw from the global generator)
    torch.manual_seed(seed)  # CPU, every CUDA device and MPS
    torch.backends.cudnn.enabled = True
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.Generator().manual_seed(seed)


def get_device(prefer: str | None = None) -> torch.device:
    """Choose CUDA, then MPS, then CPU, and say which in one line.

    Parameters
    ----------
    prefer : str, optional
        A device to insist on, such as ``"cpu"`` or ``"cuda:1"``.

    Raises
    ------
    ValueError
        If the preferred device does not exist on this machine, or is no device name.

    Examples
    --------
    >>> get_device("cpu").type
    Device: cpu (... threads)
    'cpu'
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    try:
        device = torch.device(prefer or available[0])
    except RuntimeError as error:
        raise ValueError(f"{prefer!r} is not a device name; here you have {available}") from error
    missing_gpu = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if device.type not in available or missing_gpu:
        raise ValueError(
            f"device {prefer!r} is not available; here you have {available}. "
            "Call get_device() without an argument to take the best one."
        )
    print(f"Device: {device} ({_hardware(device)})")
    return device


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads" if device.type == "cpu" else "Apple GPU"


def fast_dtype(device: torch.device) -> torch.dtype | None:
    """Return ``torch.bfloat16`` where the hardware multiplies it faster, else None.

    Examples
    --------
    >>> fast_dtype(torch.device("cpu")) in (None, torch.bfloat16)
    True
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type != "cpu":
        return None
    if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.11 cannot be asked
        return None
    abilities = torch.cpu.get_capabilities()  # some are missing on other processors than x86
    native = abilities.get("avx512_bf16") or abilities.get("amx_bf16")
    return torch.bfloat16 if native else None


def versions(*packages: str) -> str:
    """Return Python's and the packages' versions in one line.

    Examples
    --------
    >>> versions("torch")
    'Python 3... · torch ...'
    """
    names = packages or ("torch", "torchvision", "numpy")
    found = [f"{name} {importlib.import_module(name).__version__}" for name in names]
    return " · ".join([f"Python {platform.python_version()}", *found])


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


def format_table(
    rows: Iterable[Sequence[object]], header: Sequence[str] = (), align: str = ""
) -> str:
    """Return rows of cells as text with aligned columns; the only formatter of tables here.

    Parameters
    ----------
    rows : iterable of sequences
        Cells, of any type; each row has the same number of them.
    header : sequence of str
        Names of the columns.
    align : str
        ``"<"`` or ``">"`` for each column; by default the first is flush left, the others right.

    Examples
    --------
    >>> print(format_table([("LeNet-5", 61706), ("VGG-16", 138357544)], ("network", "weights")))
    network    weights
    LeNet-5      61706
    VGG-16   138357544
    """
    table = [[str(cell) for cell in row] for row in ([header] if header else []) + list(rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    sides = align or "<" + ">" * (len(widths) - 1)
    lines = []
    for row in table:
        cells = zip(row, sides, widths, strict=True)
        lines.append("  ".join(f"{cell:{side}{width}}" for cell, side, width in cells).rstrip())
    return "\n".join(lines)


def write_atomically(path: str | Path, content: str | bytes) -> Path:
    """Write a file that is either the old one or the new one, never half a one.

    The content goes into a file beside it (``.NAME.PROCESS.THREAD.part``), which then takes its
    place. What killed processes left behind is removed on the way. Folders are made as needed.

    Parameters
    ----------
    path : str or Path
        The file to write or replace.
    content : str or bytes
        Text is written as UTF-8, with its line ends as they are.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written; an older file is then untouched.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "a.txt"
    >>> write_atomically(path, "ants").read_text()
    'ants'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in path.parent.glob(".*.part"):
        name, _, process = part.name[1:].removesuffix(".part").rpartition(".")[0].rpartition(".")
        if name == path.name and process.isdecimal() and not psutil.pid_exists(int(process)):
            part.unlink(missing_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)  # it is still there if something failed
    return path
