"""The other side of the transfer benchmarks: the loop of PyTorch's transfer-learning tutorial.

Written anew from its recipe, the way most people have it in their own scripts: batches of 4,
25 epochs, SGD (0.001, momentum 0.9) with StepLR(7, 0.1), four workers, every picture opened,
decoded, cropped and flipped again in every epoch, and pushed through the whole network also where
that is frozen; the weights of the best validation accuracy are kept.
Source of the recipe: S. Chilamkurthy, *Transfer Learning for Computer Vision Tutorial*,
PyTorch Tutorials (2017, updated since).
"""

from __future__ import annotations

import copy
import time
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from cnnlab.models.backbones import IMAGENET_MEAN, IMAGENET_STD

EPOCHS = 25


def frozen(model: nn.Module, num_classes: int) -> nn.Module:
    """Return a copy of a network that learns nothing but a new last layer."""
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return model


def unfrozen(model: nn.Module, num_classes: int) -> nn.Module:
    """Return a copy of a network with a new last layer; everything learns."""
    model = copy.deepcopy(model)
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return model


def make_loaders(folder: Path, size: int) -> dict[str, DataLoader]:
    """Open train/, val/ and test/; 256 to 224 pixels, or the same share of another size."""
    ending = [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    steps = {
        "train": [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()],
        "val": [transforms.Resize(size * 256 // 224), transforms.CenterCrop(size)],
    }
    steps["test"] = steps["val"]
    datasets = {
        part: ImageFolder(str(folder / part), transforms.Compose(steps[part] + ending))
        for part in steps
        if (folder / part).is_dir()
    }
    return {
        part: DataLoader(dataset, batch_size=4, shuffle=True, num_workers=4)
        for part, dataset in datasets.items()
    }


def train_model(
    model: nn.Module, folder: Path, size: int, epochs: int = EPOCHS
) -> list[tuple[float, float]]:
    """Train in place; return, for each epoch, the seconds since the start and the accuracy."""
    start = time.perf_counter()
    loaders = make_loaders(folder, size)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=0.001, momentum=0.9
    )
    scheduler = StepLR(optimizer, step_size=7, gamma=0.1)
    best, best_weights, epochs_done = 0.0, model.state_dict(), []
    for _ in range(epochs):
        for part in ("train", "val"):
            model.train(part == "train")
            total_loss, right = 0.0, 0
            for X, y in loaders[part]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(part == "train"):
                    y_hat = model(X)
                    loss = criterion(y_hat, y)
                    if part == "train":
                        loss.backward()
                        optimizer.step()
                total_loss += loss.item() * len(y)
                right += (y_hat.argmax(dim=1) == y).sum().item()
            if part == "train":
                scheduler.step()
        accuracy = right / len(loaders["val"].dataset)
        if accuracy > best:
            best, best_weights = accuracy, copy.deepcopy(model.state_dict())
        epochs_done.append((time.perf_counter() - start, accuracy))
    model.load_state_dict(best_weights)
    return epochs_done


@torch.inference_mode()
def tested(model: nn.Module, folder: Path, size: int) -> float:
    """Return the accuracy on test/."""
    model.eval()
    loader = make_loaders(folder, size)["test"]
    right = sum((model(X).argmax(dim=1) == y).sum().item() for X, y in loader)
    return right / len(loader.dataset)
