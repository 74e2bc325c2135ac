"""The training loop: right numbers, clean endings, clear errors."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cnnlab import fit, set_seed, train_epoch
from cnnlab.data.splits import ImageData, Split
from cnnlab.training import History, training_mode

matplotlib.use("agg")


def blobs(count: int = 40, seed: int = 0) -> TensorDataset:
    """Two clouds of points, (N, 2), that a linear layer can nearly tell apart."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 2
    X = torch.randn(count, 2, generator=generator) + 2 * y[:, None]
    return TensorDataset(X, y)


def loader(count: int = 40, seed: int = 0, batch_size: int = 8) -> DataLoader:
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(blobs(count, seed), batch_size, shuffle=True, generator=generator)


def network(dropout: float = 0.2) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# -- right numbers ---------------------------------------------------------------------------------


def test_loss_is_the_mean_over_samples_not_over_batches():
    X, y = blobs(10).tensors
    model = nn.Linear(2, 2)
    whole = nn.functional.cross_entropy(model(X), y).item()
    uneven = [(X[:9], y[:9]), (X[9:], y[9:])]
    loss, accuracy = train_epoch(model, uneven, torch.optim.SGD(model.parameters(), lr=0.0))
    assert loss == pytest.approx(whole, abs=1e-6)
    assert accuracy == pytest.approx((model(X).argmax(1) == y).double().mean().item())


def test_training_separates_two_clouds():
    set_seed(0)
    history = fit(network(0), loader(200), loader(200, seed=1), epochs=20, lr=0.01)
    assert history.best["val_accuracy"] > 0.85
    assert history["loss"][-1] < history["loss"][0] / 2
    assert len(history) == 20 and history.seconds > 0


def test_model_ends_with_the_weights_that_were_best_on_validation():
    model = network(0)
    seen: list[list[torch.Tensor]] = []
    train, val = loader(), loader(seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=3.0)  # so large that it jumps about
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda _: seen.append([p.clone() for p in model.parameters()]) or 1.0
    )
    history = fit(model, train, val, epochs=8, optimizer=optimizer, scheduler=scheduler)
    ranks = [(-record["val_loss"], i) for i, record in enumerate(history.records)]
    assert history.best_epoch == max(ranks)[1]
    kept = seen[history.best_epoch + 1]  # the first entry is from before the training
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), kept, strict=True))


def test_without_validation_the_last_weights_stay():
    history = fit(network(), loader(), epochs=3)
    assert history.best_epoch == 2 and "val_loss" not in history.records[0]


def test_two_processes_give_the_same_losses_to_the_last_bit():
    script = """
import torch, cnnlab
g = cnnlab.set_seed(3)
data = cnnlab.load_ants_and_bees("drawn", image_size=32)
loaders = data.loaders(32, augment=cnnlab.augment)
history = cnnlab.fit(cnnlab.TinyResNet(2), loaders.train, loaders.val, epochs=2)
print([x.hex() for name in ("loss", "val_loss") for x in history[name]])
"""
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert "0x1." in runs[0]
    assert runs[0] == runs[1]


def test_frozen_batchnorm_keeps_its_statistics():
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).requires_grad_(False)
    model = nn.Sequential(body, nn.Flatten(), nn.Linear(16, 2))
    before = body[1].running_mean.clone()
    batch = (torch.randn(6, 1, 4, 4) + 5, torch.arange(6) % 2)
    train_epoch(model, [batch], torch.optim.SGD(model[2].parameters(), lr=0.1))
    assert torch.equal(body[1].running_mean, before)
    body.requires_grad_(True)
    train_epoch(model, [batch], torch.optim.SGD(model.parameters(), lr=0.1))
    assert not torch.equal(body[1].running_mean, before)


def test_batchnorm_without_weights_still_trains():
    model = nn.Sequential(nn.BatchNorm1d(2, affine=False))
    assert training_mode(model)[0].training


class Spy(nn.Module):
    """A CNN with so many convolution weights; notes its arithmetic and its memory format."""

    def __init__(self, weights: int) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, weights // 100, 10), nn.LazyLinear(2)
        self.head(torch.zeros(1, weights // 100))
        self.seen: set[tuple[torch.dtype, bool]] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.conv(x)
        if self.training:
            last = not maps.is_contiguous() and maps.is_contiguous(
                memory_format=torch.channels_last
            )
            self.seen.add((maps.dtype, last))
        return self.head(maps.mean(dim=(2, 3)))


IMAGES = [(torch.rand(4, 1, 12, 12), torch.arange(4) % 2)]
PLAIN, HALF = (torch.float32, False), (torch.bfloat16, True)


def processor(monkeypatch, *abilities: str) -> None:
    """Let torch report a processor with these abilities."""
    answer = {name: name in abilities for name in ("avx512_bf16", "amx_bf16")}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: answer, raising=False)


@pytest.mark.parametrize(
    ("abilities", "weights", "precision", "seen"),
    [
        (["avx512_bf16"], 100_000, "auto", HALF),
        (["amx_bf16"], 100_000, "auto", HALF),
        ([], 100_000, "auto", (torch.float32, True)),
        (["avx512_bf16"], 99_900, "auto", PLAIN),
        (["avx512_bf16"], 100_000, "float32", PLAIN),
        ([], 900, "bfloat16", HALF),
    ],
)
def test_the_precision_is_what_the_documentation_says(
    monkeypatch, abilities, weights, precision, seen
):
    processor(monkeypatch, *abilities)
    model = Spy(weights)
    fit(model, IMAGES, epochs=1, precision=precision)
    assert model.seen == {seen}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(p.is_contiguous() for p in model.parameters())


def test_a_processor_that_cannot_be_asked_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)  # torch before 2.11
    model = Spy(100_000)
    fit(model, IMAGES, epochs=1)
    assert model.seen == {(torch.float32, True)}


def test_an_unknown_precision():
    with pytest.raises(ValueError, match="'half'; choose 'auto', 'float32' or 'bfloat16'"):
        fit(network(), loader(), epochs=1, precision="half")


# -- clean endings ---------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_with_advice_and_the_best_weights(capsys):
    model = network(0)
    train = list(loader())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda e: 1.0 if e < 2 else 1e30)
    history = fit(model, train, epochs=10, optimizer=optimizer, scheduler=scheduler)
    assert history.ending == "diverged" and len(history) < 10
    assert "learning rate ten times smaller" in capsys.readouterr().out
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert history.best_epoch is not None


def test_interrupting_keeps_history_and_best_weights(capsys):
    class Interrupted(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            if self.passes == 4:
                raise KeyboardInterrupt
            return super().__iter__()

    model = network()
    history = fit(model, Interrupted(loader()), loader(seed=1), epochs=10)
    assert history.ending == "interrupted" and len(history) == 3
    assert "Interrupted after 3 epochs" in capsys.readouterr().out
    assert not model[0].weight.isnan().any()


SCRIPT = """
import sys, torch, time
sys.path.insert(0, {tests!r})
from test_training import loader, network
import cnnlab
cnnlab.set_seed(5)
class Slow:
    def __init__(self, inner): self.inner, self.generator = inner, inner.generator
    def __len__(self): return len(self.inner)
    def __iter__(self):
        for batch in self.inner:
            time.sleep({pause})
            yield batch
print("started", flush=True)
model = network()
history = cnnlab.fit(model, Slow(loader()), loader(seed=1), epochs=6, checkpoint={path!r})
print(history.ending, len(history), flush=True)
torch.save([model.state_dict(), history["loss"]], {result!r})
"""


def start(path: Path, result: Path, pause: float) -> subprocess.Popen:
    script = SCRIPT.format(
        tests=str(Path(__file__).parent), path=str(path), result=str(result), pause=pause
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    )


def wait_for(path: Path, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < limit, f"{path} did not appear"
        time.sleep(0.01)


def test_a_killed_training_goes_on_to_the_same_numbers(tmp_path):
    straight, resumed = tmp_path / "straight.pt", tmp_path / "resumed.pt"
    assert start(tmp_path / "a.ckpt", straight, pause=0).wait(timeout=120) == 0
    for _ in range(2):  # killed twice, at another moment each time
        process = start(tmp_path / "b.ckpt", resumed, pause=0.05)
        wait_for(tmp_path / "b.ckpt")
        time.sleep(0.3)
        process.kill()
        process.wait()
        assert not resumed.exists()
    assert start(tmp_path / "b.ckpt", resumed, pause=0).wait(timeout=120) == 0
    (one, losses), (two, others) = torch.load(straight), torch.load(resumed)
    assert losses == others
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for other processes")
def test_ctrl_c_in_a_terminal_ends_cleanly(tmp_path):
    process = start(tmp_path / "c.ckpt", tmp_path / "result.pt", pause=0.1)
    wait_for(tmp_path / "c.ckpt")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "interrupted" in output and (tmp_path / "result.pt").exists()


def test_resuming_a_finished_training_does_nothing_more(tmp_path):
    path = tmp_path / "done.ckpt"
    first, second = network(), network()
    history = fit(first, loader(), loader(seed=1), epochs=3, checkpoint=path)
    again = fit(second, loader(), loader(seed=1), epochs=3, checkpoint=path)
    assert again.records == history.records and same_weights(first, second)


def test_the_accuracy_of_a_map_of_classes_is_the_share_of_its_pixels():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(3, 2, 4, 5, generator=generator)
    y = torch.randint(2, (3, 4, 5), generator=generator)
    model = nn.Conv2d(2, 2, 1)
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    _, accuracy = train_epoch(model, [(X[:2], y[:2]), (X[2:], y[2:])], still)
    assert accuracy == pytest.approx((model(X).argmax(1) == y).double().mean().item())


def test_every_epoch_tells_its_rate_and_its_seconds():
    history = fit(network(), loader(), epochs=2)
    assert history["lr"] == [1e-3, 1e-3] and all(0 < s < 60 for s in history["seconds"])
    assert fit(network(), loader(), epochs=1, lr=0.02)["lr"] == [0.02]


def test_validation_uses_the_criterion_of_the_training():
    def seven(y_hat, y):
        return 0 * y_hat.sum() + 7.0

    history = fit(network(), loader(), loader(seed=1), epochs=1, criterion=seven)
    assert (history["loss"], history["val_loss"]) == ([7.0], [7.0])


class Endless:
    """Batches without a length."""

    def __iter__(self):
        return iter(loader())


# -- what one sees ---------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """Pretend to be in a notebook, and collect the alternative texts of what it shows."""
    import IPython

    texts: list[str] = []
    kernel = SimpleNamespace(kernel=None)
    monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
    monkeypatch.setattr(
        "IPython.display.display",
        lambda figure, metadata: texts.append(metadata["image/png"]["alt"]),
    )
    monkeypatch.setattr("livelossplot.outputs.matplotlib_plot.clear_output", lambda wait: None)
    return texts


@pytest.mark.parametrize("epochs", [1, 7, 40])
@pytest.mark.parametrize("option", [{"live_plot": True}, {"progress": "plot"}])
def test_curves_are_drawn_a_dozen_times_at_most_described_and_closed(shown, epochs, option):
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    fit(network(), loader(), loader(seed=1), epochs=epochs, **option)
    assert min(epochs, 7) <= len(shown) <= 12
    assert set(shown) == {"Loss and accuracy of each epoch: training and validation."}
    assert plt.get_fignums() == before


def test_the_last_drawing_has_every_epoch_of_all_four_curves(shown, monkeypatch):
    from matplotlib import pyplot as plt

    drawings = []
    monkeypatch.setattr(plt, "close", lambda figure=None: drawings.append(figure))
    history = fit(network(), loader(), loader(seed=1), epochs=13, live_plot=True)
    monkeypatch.undo()
    accuracy, loss = drawings[-1].axes
    for ax, name in ((loss, "loss"), (accuracy, "accuracy")):
        curves = {line.get_label(): line for line in ax.lines}
        assert list(curves["training"].get_ydata()) == history[name]
        assert list(curves["validation"].get_ydata()) == history[f"val_{name}"]
        assert list(curves["training"].get_xdata()) == list(range(1, 14))
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "cross-entropy (nats)")
    for figure in drawings:
        plt.close(figure)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def bar_of(*arguments, **options) -> list[str]:
    """Return the states of the bar that a terminal sees."""
    with redirect_stdout(Terminal()) as screen:
        fit(*arguments, **options)
    return screen.getvalue().split("\r")[1:]


def test_a_terminal_gets_one_bar_over_all_epochs():
    states = bar_of(network(), loader(), loader(seed=1), epochs=3)
    assert states[0].startswith("   0% |")
    assert states[-1].startswith("epoch 3/3 100% |")
    assert re.search(r"loss 0\.\d{3}, accuracy \d\.\d{3}, validation \d\.\d{3}", states[-1])


def test_a_resumed_training_starts_its_bar_where_it_stopped(tmp_path):
    path = tmp_path / "run.pt"
    assert bar_of(network(), loader(), epochs=1, progress=None, checkpoint=path) == []
    states = bar_of(network(), loader(), epochs=4, checkpoint=path)
    assert states[0].startswith("  25% |")
    assert states[-1].startswith("epoch 4/4 100% |")


def test_batches_without_a_length_have_a_bar_too():
    assert "epoch 2/2" in bar_of(network(), Endless(), epochs=2)[-1]


@pytest.mark.parametrize("progress", [None, "plot"])
def test_another_progress_has_no_bar(progress):
    assert "%" not in "".join(bar_of(network(), loader(), epochs=1, progress=progress))


def test_an_unknown_progress():
    with pytest.raises(ValueError, match="'curve'; choose 'bar', 'plot' or None"):
        fit(network(), loader(), epochs=1, progress="curve")


def test_a_log_file_gets_no_progress_bar(capsys):
    fit(network(), loader(), epochs=2)
    assert capsys.readouterr().out == ""


# -- clear errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [0, -1])
def test_no_epochs(epochs):
    with pytest.raises(ValueError, match="at least one"):
        fit(network(), loader(), epochs=epochs)


@pytest.mark.parametrize(
    ("model", "batches", "words"),
    [
        (network(), [], "the loader is empty: there is nothing to train on"),
        (
            network().requires_grad_(False),
            [(torch.ones(2, 2), torch.tensor([0, 1]))],
            "every parameter is frozen: there is nothing to train. See freeze().",
        ),
        (
            nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
            [(torch.ones(1, 2), torch.tensor([0]))],
            "use a batch size of 2 or more, and drop_last=True if the last batch is left with one",
        ),
    ],
    ids=["empty", "frozen", "one sample"],
)
def test_what_cannot_be_trained_is_said_in_whole_sentences(model, batches, words):
    with pytest.raises(ValueError) as caught:
        fit(model, batches, epochs=1)
    assert str(caught.value).endswith(words)


@pytest.mark.parametrize("label", [-1, 2, 7])
def test_a_label_outside_the_range(label):
    X, y = blobs(4).tensors
    y = y.clone()
    y[2] = label
    with pytest.raises(ValueError, match=r"labels run from .* 2 outputs"):
        fit(network(), [(X, y)], epochs=1)


def test_labels_of_the_wrong_type():
    X, y = blobs(4).tensors
    with pytest.raises(ValueError, match="int64"):
        fit(network(), [(X, y.int())], epochs=1)


def test_a_model_whose_output_does_not_match_the_classes():
    part = Split(torch.rand(8, 3, 8, 8), torch.arange(8) % 2)
    data = ImageData(part, part, part, ["ants", "bees"], "test")
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 1000))
    with pytest.raises(ValueError, match=r"1000 outputs.* 2 classes \(ants, bees\).*replace_head"):
        fit(model, data.loaders(4).train, epochs=1)


def test_history_of_nothing():
    assert History().best == {} and History().seconds == 0
