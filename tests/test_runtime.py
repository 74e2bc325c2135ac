"""Seeds, devices, number types, tables and files."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from cnnlab import get_device, set_seed, versions
from cnnlab.runtime import fast_dtype, format_table, write_atomically


def draw():
    return random.random(), np.random.rand(), torch.rand(2).tolist()  # noqa: NPY002


def test_every_generator_starts_again():
    set_seed(7)
    first = draw()
    assert draw() != first
    set_seed(7)
    assert draw() == first
    set_seed(8)
    assert draw() != first


def test_the_returned_generator_shuffles_the_same_way():
    orders = [torch.randperm(10, generator=set_seed(3)).tolist() for _ in range(2)]
    assert orders[0] == orders[1]


def test_cudnn_stays_on_and_is_told_to_be_deterministic():
    set_seed(0)
    assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert torch.are_deterministic_algorithms_enabled()


def test_an_operation_without_deterministic_algorithm_does_not_stop_the_lesson():
    set_seed(0)
    pooled, where = torch.nn.functional.max_pool2d(torch.rand(1, 1, 4, 4), 2, return_indices=True)
    with pytest.warns(UserWarning, match="deterministic"):
        torch.nn.functional.max_unpool2d(pooled, where, 2)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_outside_the_range(seed):
    with pytest.raises(ValueError, match="must lie between"):
        set_seed(seed)


def test_one_line_says_which_device(capsys):
    device = get_device()
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and str(device) in out


@pytest.mark.parametrize("name", ["cuda:99", "mps", "toaster", "xpu"])
def test_a_device_that_is_not_here(name):
    if name == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has MPS")
    with pytest.raises(ValueError, match="here you have"):
        get_device(name)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_cuda_comes_before_mps_and_mps_before_the_cpu(monkeypatch, capsys, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert get_device().type == chosen
    assert get_device("cpu").type == "cpu", "what one insists on comes first"


@pytest.mark.parametrize(
    ("abilities", "dtype"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False}, None),
        ({"architecture": "arm64"}, None),
    ],
)
def test_fast_dtype_follows_the_processor(monkeypatch, abilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    assert fast_dtype(torch.device("cpu")) is dtype


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, None)])
def test_fast_dtype_on_a_gpu_is_bfloat16_or_nothing(monkeypatch, supported, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    assert fast_dtype(torch.device("cuda")) is dtype
    assert fast_dtype(torch.device("mps")) is None


def test_versions_names_what_is_asked_for():
    assert torch.__version__ in versions() and np.__version__ in versions("numpy")


def test_a_table_is_aligned_column_by_column():
    rows = [("a", 1, "x"), ("longer", 1000, "")]
    assert format_table(rows, ("name", "n", ""), "<><").splitlines() == [
        "name       n",
        "a          1  x",
        "longer  1000",
    ]
    with pytest.raises(ValueError):
        format_table([("a", 1), ("b",)])


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "a.txt", "old")

    def no_space(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_removed_and_what_others_write_is_not(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f".a.txt.{ended.pid}.1.part"
    alive = tmp_path / f".a.txt.{os.getppid()}.1.part"
    others = tmp_path / f".b.txt.{ended.pid}.1.part"
    for part in (dead, alive, others):
        part.write_bytes(b"half")
    write_atomically(tmp_path / "a.txt", b"whole")
    assert not dead.exists() and alive.exists() and others.exists()
