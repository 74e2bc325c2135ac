"""Fine-tuning: pictures decoded once, batches of 32, bf16; or the tutorial's loop."""

from __future__ import annotations

import copy
import dataclasses
import statistics
import time
from pathlib import Path

import pytest
import timing
import torch
import torchvision
import tutorial
from parts import together, with_validation
from torch import Tensor, nn
from torch.nn import functional as F

import cnnlab
from cnnlab.data.augmentation import cut_views, draw_views
from cnnlab.data.splits import Loaders
from cnnlab.lessons import transfer_learning
from cnnlab.models.backbones import Normalize
from cnnlab.runtime import fast_dtype

pytestmark = pytest.mark.benchmark

DTYPE = fast_dtype(torch.device("cpu"))
EPOCHS = 12  # lesson 09's


def fine_tune(folder: Path, size: int, seed: int) -> list[tuple[float, float]]:
    """Do as lesson 09 does; return seconds since the start and accuracy on val/ for each epoch."""
    start = time.perf_counter()
    data = together(cnnlab.load_image_folder(folder, image_size=size))  # val/ is in data.test
    backbone = cnnlab.load_backbone("tiny_resnet")
    one = data.train.subset([0])  # the head needs the features of the training pictures alone
    features = cnnlab.extract_features(backbone, dataclasses.replace(data, val=one, test=one))
    head = transfer_learning.linear_probe(features.train)
    model = cnnlab.replace_head(backbone.model, len(data.classes))
    model.fc.load_state_dict(head.state_dict())
    cnnlab.freeze(model, ["layer2", "layer3", "layer4", "fc"], norms=False)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    loaders = data.loaders(32, transform=backbone.preprocess, augment=cnnlab.augment, seed=seed)
    seconds = time.perf_counter() - start
    history = cnnlab.fit(
        model, loaders.train, loaders.test, epochs=EPOCHS, optimizer=optimizer, scheduler=schedule
    )
    times = torch.tensor(history["seconds"]).cumsum(0) + seconds
    return list(zip(times.tolist(), history["val_accuracy"], strict=True))


def first_time(epochs: list[tuple[float, float]], accuracy: float) -> float:
    """Return the seconds after which an accuracy was reached for the first time."""
    return next((seconds for seconds, reached in epochs if reached >= accuracy), float("inf"))


def test_fine_tuning_reaches_the_same_validation_accuracy_eight_times_as_fast(
    pictures, report, tmp_path
):
    backbone, size = cnnlab.load_backbone("tiny_resnet"), 112
    ours, theirs, goals = [], [], []
    for seed in range(3):
        folder = with_validation(pictures.folder, tmp_path / str(seed), seed, test=False)
        torch.manual_seed(seed)
        model = tutorial.unfrozen(backbone.model, num_classes=2)
        their_epochs = tutorial.train_model(model, folder, size)
        our_epochs = fine_tune(folder, size, seed)
        goals.append(max(accuracy for _, accuracy in their_epochs))
        theirs.append(first_time(their_epochs, goals[-1]))  # not the rest of their 25 epochs
        ours.append(first_time(our_epochs, goals[-1]))
    assert max(ours) < float("inf"), f"never as accurate as theirs: {goals}"
    report(
        f"fine-tuning to equal accuracy, tiny_resnet at {size} px ({pictures.kind})",
        "tutorial's loop until its best epoch",
        timing.ratios(theirs, ours),
        target=8,
        note=f"{statistics.median(ours):.1f} s and {statistics.median(theirs):.0f} s "
        f"to {', '.join(f'{goal:.1%}' for goal in goals)}",
    )


def in_memory(folder: Path, size: int) -> Loaders:
    """Decode all pictures once; crop and flip them anew in every epoch, as the tutorial does."""
    stored = size * 256 // 224
    data, edge = together(cnnlab.load_image_folder(folder, image_size=stored)), (stored - size) // 2

    def crop(images: Tensor, generator: torch.Generator) -> Tensor:
        views = draw_views(len(images), generator, min_area=0.08, color=0)
        return cut_views(images, views, size)

    def prepare(images: Tensor) -> Tensor:
        if images.shape[-1] != size:
            images = images[..., edge : edge + size, edge : edge + size]
        return Normalize()(images)

    return data.loaders(32, transform=prepare, augment=crop)


def one_epoch(model: nn.Module, loaders: Loaders) -> None:
    """Train on the training pictures and look at the others, as an epoch of `fit` does."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    cnnlab.train_epoch(model, loaders.train, optimizer, dtype=DTYPE)
    cnnlab.evaluate(model, loaders.test)


def both_compute_the_same_loss(model: nn.Module, X: Tensor, y: Tensor) -> None:
    theirs = F.cross_entropy(copy.deepcopy(model).train()(X), y).item()
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)
    still = torch.optim.SGD(model.parameters(), lr=0)
    ours, _ = cnnlab.train_epoch(model, [(X, y)], still, dtype=DTYPE)
    assert ours == pytest.approx(theirs, rel=0.02)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 224), ("tiny_resnet", 112)])
def test_an_epoch_of_fine_tuning_takes_a_fraction(pictures, report, name, size):
    body = torchvision.models.resnet18() if name == "resnet18" else cnnlab.TinyResNet()
    loaders, start = in_memory(pictures.folder, size), tutorial.unfrozen(body, num_classes=2)
    both_compute_the_same_loss(start, *next(iter(loaders.train)))
    model = copy.deepcopy(start).to(memory_format=torch.channels_last)
    ours, theirs = timing.in_turn(
        lambda: one_epoch(model, loaders),
        lambda: tutorial.train_model(copy.deepcopy(start), pictures.folder, size, epochs=1),
        repetitions=3,
    )
    report(
        f"an epoch of fine-tuning, {name}'s shape at {size} px ({pictures.kind})",
        "tutorial's loop",
        timing.ratios(theirs, ours),
        target=2.5 if DTYPE else 1.5,
        note=f"{statistics.median(ours):.1f} s and {statistics.median(theirs):.1f} s; "
        "decoding once is not counted",
    )
