"""Trainings that are killed, interrupted or repeated, and numbers that explode."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnlab import fit, set_seed

KILLS = 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_training_killed_twenty_times_ends_with_the_same_weights(tmp_path):
    script = Path(__file__).with_name("killed_training.py")
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(KILLS), "2024"],
        capture_output=True, text=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["killed"] * KILLS + ["killed 0", "straight 0"]
    print(f"{time.monotonic() - started:.1f} s")
    (best, last, records), others = (
        torch.load(tmp_path / f"{name}.pt") for name in ("killed", "straight")
    )
    assert records == others[2] and len(records) == 60
    for ours, theirs in ((best, others[0]), (last, others[1])):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"killed.ckpt", "straight.ckpt", "killed.pt", "straight.pt"}, "parts are swept"


# -- numbers that are none -------------------------------------------------------------------------


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))


def points(count: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.arange(count) % 2
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(1)) + y[:, None], y


def finite(model: nn.Module) -> bool:
    return all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("validate", [True, False])
def test_weights_that_explode_in_the_last_step_of_an_epoch_are_not_called_the_best(
    validate, capsys
):
    """One batch an epoch: its loss is fine, and the step after it breaks everything."""
    model = network()
    before = [p.clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=float("inf"))
    history = fit(
        model, [points()], [points()] if validate else None, epochs=5, optimizer=optimizer
    )
    assert history.ending == "diverged" and len(history) == 1
    assert history.best_epoch is None
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert "learning rate ten times smaller" in capsys.readouterr().out


def test_gradients_that_grow_from_step_to_step_end_with_the_weights_before(capsys):
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(8)])
    optimizer = torch.optim.SGD(model.parameters(), lr=50.0)
    history = fit(model, [points()] * 4, [points()], epochs=20, optimizer=optimizer)
    assert history.ending == "diverged" and len(history) < 20
    assert finite(model)
    assert "not a number" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["train", "val"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_pixel_that_is_no_number_is_noticed_in_its_epoch(where, value, capsys):
    X, y = points()
    broken = X.clone()
    broken[3, 1] = value
    train, val = ((broken, y), (X, y)) if where == "train" else ((X, y), (broken, y))
    model = network()
    history = fit(model, [train], [val], epochs=4)
    assert history.ending == "diverged" and len(history) == 1
    assert finite(model)
    assert "look for NaN or huge values in the images" in capsys.readouterr().out


def test_a_diverged_training_leaves_the_checkpoint_of_the_last_good_epoch(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.manual_seed(0)
    good = fit(network(), [points()], epochs=2, checkpoint=path)
    before = path.read_bytes()
    X, y = points()
    history = fit(network(), [(X * float("nan"), y)], epochs=4, checkpoint=path)
    assert history.ending == "diverged" and len(history) == 3
    assert history.records[:2] == good.records and path.read_bytes() == before


# -- again -----------------------------------------------------------------------------------------


def lesson(epochs: int = 3) -> tuple[list[float], list[torch.Tensor]]:
    """A lesson in small: seed, model, training."""
    set_seed(0)
    model = network()
    history = fit(model, [points()], [points(8)], epochs=epochs)
    return history["val_loss"], [p.detach().clone() for p in model.parameters()]


def test_a_lesson_run_twice_in_one_kernel_gives_the_same_numbers():
    (losses, weights), (again, same) = lesson(), lesson()
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))


def test_fitting_again_goes_on_from_the_best_weights():
    set_seed(0)
    model = network()
    first = fit(model, [points()], [points(8)], epochs=3)
    second = fit(model, [points()], [points(8)], epochs=3)
    assert len(second) == 3 and second["loss"][0] < first["loss"][0]


def test_an_interrupted_training_leaves_no_trace_in_the_next(capsys):
    expected = lesson()

    class Impatient(list):
        def __iter__(self):
            yield self[0]
            raise KeyboardInterrupt

    set_seed(0)
    history = fit(network(), Impatient([points()] * 2), [points(8)], epochs=3)
    assert history.ending == "interrupted" and len(history) == 0
    assert "Interrupted after 0 epochs" in capsys.readouterr().out
    losses, weights = lesson()
    assert losses == expected[0]
    assert all(torch.equal(a, b) for a, b in zip(weights, expected[1], strict=True))


def test_an_interrupted_evaluation_does_not_leave_training_in_the_wrong_mode():
    model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    modes = []
    model[1].register_forward_hook(lambda module, inputs, output: modes.append(module.training))

    class Impatient(list):
        def __iter__(self):
            yield self[0]
            raise KeyboardInterrupt

    fit(model, [points()], Impatient([points()] * 2), epochs=2)
    fit(model, [points()], [points()], epochs=1)
    assert modes == [True, False, True, False]
