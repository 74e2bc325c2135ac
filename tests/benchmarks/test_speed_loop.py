"""What the training loop itself costs: a small network on digits in memory, one thread."""

from __future__ import annotations

import copy
import logging
import time
import warnings

import pytest
import timing
import torch
from torch import nn
from torch.nn import functional as F

import cnnlab
from cnnlab.data.splits import to_float

pytestmark = [pytest.mark.benchmark, pytest.mark.usefixtures("one_thread")]

EPOCHS, BATCH_SIZE, LR = 5, 32, 0.05


@pytest.fixture(scope="module")
def data() -> cnnlab.ImageData:
    return cnnlab.load_mnist("digits")


class Side:
    """One way to train the same network on the same batches; keeps the last model it trained."""

    def __init__(self, data: cnnlab.ImageData, start: nn.Module) -> None:
        self.data, self.start, self.model = data, start, start

    def __call__(self) -> None:
        self.model = copy.deepcopy(self.start)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=0.9)
        self.train(self.data.loaders(BATCH_SIZE).train, optimizer)

    def train(self, loader: torch.utils.data.DataLoader, optimizer: torch.optim.SGD) -> None:
        raise NotImplementedError

    def weights(self) -> torch.Tensor:
        return nn.utils.parameters_to_vector(self.model.parameters())


class Ours(Side):
    def train(self, loader, optimizer):
        cnnlab.fit(self.model, loader, epochs=EPOCHS, optimizer=optimizer)


class ByHand(Side):
    def train(self, loader, optimizer):
        self.model.train()
        for _ in range(EPOCHS):
            for X, y in loader:
                loss = F.cross_entropy(self.model(X), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


class Lightning(Side):
    def train(self, loader, optimizer):
        import lightning

        class Task(lightning.LightningModule):
            def __init__(self, model):
                super().__init__()
                self.model = model

            def training_step(self, batch):
                X, y = batch
                return F.cross_entropy(self.model(X), y)

            def configure_optimizers(self):
                return optimizer

        trainer = lightning.Trainer(
            max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(Task(self.model), loader)


class Skorch(Side):
    def train(self, loader, optimizer):
        from skorch import NeuralNetClassifier

        net = NeuralNetClassifier(
            self.model, max_epochs=EPOCHS, batch_size=BATCH_SIZE, criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD, lr=LR, optimizer__momentum=0.9, train_split=None,
            iterator_train__shuffle=True, verbose=0,
        )  # fmt: skip
        net.fit(to_float(self.data.train.inputs), self.data.train.labels)
        self.model = net.module_


def compare(data, other: type[Side], repetitions: int) -> tuple[Side, Side, list[float]]:
    """Train both ways in turn; return both sides, and the other's time over ours."""
    torch.manual_seed(0)
    start = cnnlab.LeNet5()
    ours, theirs = Ours(data, start), other(data, start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about workers and logging
        ours(), theirs()
        # CPU time: other work on the machine must not decide about a few per cent.
        seconds = timing.in_turn(ours, theirs, repetitions=repetitions, clock=time.process_time)
    return ours, theirs, timing.ratios(seconds[1], seconds[0])


def test_fit_costs_three_per_cent_more_than_the_shortest_loop(data, report):
    ours, theirs, ratios = compare(data, ByHand, repetitions=31)
    assert torch.equal(ours.weights(), theirs.weights())
    report(
        "time of fit, LeNet-5 on digits",
        "shortest correct loop",
        [1 / ratio for ratio in ratios],
        target=1.03,
        at_most=True,
        note="the same weights in the end, to the last bit",
    )


def test_fit_is_faster_than_lightning(data, report):
    pytest.importorskip("lightning", reason="install it with: pip install -e '.[benchmarks]'")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ours, theirs, ratios = compare(data, Lightning, repetitions=7)
    assert torch.equal(ours.weights(), theirs.weights())
    report("fit against Lightning, LeNet-5 on digits", "Lightning's Trainer", ratios, target=1)


def test_fit_is_faster_than_skorch(data, report):
    pytest.importorskip("skorch", reason="install it with: pip install -e '.[benchmarks]'")
    ours, theirs, ratios = compare(data, Skorch, repetitions=7)
    test = data.loaders(256).test
    right, theirs_right = (cnnlab.evaluate(side.model, test).accuracy for side in (ours, theirs))
    assert right == pytest.approx(theirs_right, abs=0.05)  # it shuffles in another order
    report("fit against skorch, LeNet-5 on digits", "skorch", ratios, target=1)
