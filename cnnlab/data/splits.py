"""Samples in memory, split in three and served in whole batches: Split and ImageData."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

Augment = Callable[[Tensor, torch.Generator], Tensor]


def to_float(batch: Tensor) -> Tensor:
    """Convert uint8 0…255 to float32 0…1; floats are returned unchanged.

    Examples
    --------
    >>> to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    return batch.float() / 255 if batch.dtype == torch.uint8 else batch


@dataclass(eq=False, repr=False)
class Split(Dataset):
    """Samples in memory, indexed many at a time.

    Parameters
    ----------
    inputs
        (N, C, H, W) uint8 images, or (N, F) float features.
    labels
        (N,) int64 class numbers.
    names
        N names to show, such as file names; numbered by default.
    masks
        (N, H, W) bool, true on the object, where the data have them.
    classes
        Class names; `ImageData` fills them in, for error messages and confusion matrices.

    Examples
    --------
    >>> split = Split(torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 1]))
    >>> X, y = split[[0, 1, 4]]
    >>> X.shape, y
    (torch.Size([3, 3, 8, 8]), tensor([0, 1, 1]))
    """

    inputs: Tensor
    labels: Tensor
    names: list[str] = field(default_factory=list)
    masks: Tensor | None = None
    classes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = self.names or [f"sample {i}" for i in range(len(self.labels))]
        masks = self.labels if self.masks is None else self.masks
        lengths = [len(part) for part in (self.inputs, self.labels, self.names, masks)]
        if len(set(lengths)) > 1:
            raise ValueError(f"inputs, labels, names and masks differ in length: {lengths}")
        if self.labels.dtype != torch.int64:
            raise ValueError(f"labels must be int64 class numbers, got {self.labels.dtype}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.labels[index]

    def subset(self, indices: slice | Sequence[int] | Tensor | np.ndarray) -> Split:
        """Return a split of some of the samples, in the order of `indices`."""
        chosen = torch.arange(len(self))[indices]
        masks = None if self.masks is None else self.masks[chosen]
        names = [self.names[i] for i in chosen.tolist()]
        inputs = self.inputs.index_select(0, chosen)  # also where they are `Streamed`
        return Split(inputs, self.labels[chosen], names, masks, self.classes)


class Loaders(NamedTuple):
    """What `ImageData.loaders` returns."""

    train: DataLoader
    val: DataLoader
    test: DataLoader


@dataclass(eq=False, repr=False)
class ImageData:
    """A dataset in three splits: learn from `train`, choose by `val`, report `test` once.

    Attributes
    ----------
    train, val, test
        The splits.
    classes
        Class names; a label is a position in this list.
    source
        Which data this really is: photos, drawn, mnist, digits, or folder: with its path.
    skipped
        Files that were not used, each ``"path: reason"``.
    """

    train: Split
    val: Split
    test: Split
    classes: list[str]
    source: str
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, split in self.splits().items():
            split.classes = self.classes
            for i, label in enumerate(split.labels.tolist()):
                if not 0 <= label < len(self.classes):
                    wrong = f"{name} sample {i} ({split.names[i]}) has the label {label}"
                    raise ValueError(f"{wrong}, but classes are 0…{len(self.classes) - 1}")

    def splits(self) -> dict[str, Split]:
        """Return the three splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def loaders(
        self,
        batch_size: int = 32,
        *,
        transform: Callable[[Tensor], Tensor] = to_float,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> Loaders:
        """Return data loaders of whole batches: X float32 (B, C, H, W), y int64 (B,).

        Parameters
        ----------
        batch_size
            Samples a batch. A last training batch of a single sample is left out, because
            BatchNorm cannot learn from one.
        transform
            From a batch as it is stored to what the model takes.
        augment
            Changes training batches before `transform`: ``augment(images, generator)``.
        seed
            Of order and augmentation: the same seed gives the same batches. The generator is
            ``loaders.train.generator``, for a checkpoint to keep.

        Raises
        ------
        ValueError
            For a batch size below 1, or an empty split.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number ≥ 1, got {batch_size!r}")
        for name, split in self.splits().items():
            if len(split) == 0:
                raise ValueError(f"the {name} split is empty: there is nothing to load")

        def loader(split: Split, train: bool) -> DataLoader:
            def prepare(batch: list[Tensor]) -> tuple[Tensor, Tensor]:
                X, y = batch
                return transform(augment(X, generator) if train and augment else X), y

            generator = torch.Generator().manual_seed(seed)
            order = RandomSampler(split, generator=generator) if train else SequentialSampler(split)
            single = train and len(split) > batch_size > 1 and len(split) % batch_size == 1
            # The sampler yields lists of positions: one indexing operation makes a whole batch.
            batches = BatchSampler(order, batch_size, drop_last=single)
            return DataLoader(split, None, sampler=batches, collate_fn=prepare, generator=generator)

        return Loaders(loader(self.train, True), loader(self.val, False), loader(self.test, False))

    def __repr__(self) -> str:
        parts = [self.source + ", " + " × ".join(map(str, self.train.inputs.shape[1:]))]
        for name, split in self.splits().items():
            counts = torch.bincount(split.labels, minlength=len(self.classes)).tolist()
            tally = (f"{n} × {kind}" for n, kind in zip(counts, self.classes, strict=True))
            parts.append(f"{name} {len(split)}: {', '.join(tally)}")
        return f"ImageData({'; '.join(parts)})"


def divide(split: Split, held_out: float | int, seed: int = 0) -> tuple[Split, Split]:
    """Split in two, with the same proportions of the classes in both (stratified).

    Parameters
    ----------
    split
        What to divide.
    held_out
        Size of the second part: a share between 0 and 1, or a number of samples.
    seed
        The same seed gives the same parts.

    Raises
    ------
    ValueError
        When a part would lack a class.

    Examples
    --------
    >>> split = Split(torch.zeros(20, 1, 2, 2), torch.tensor([0, 1, 1, 1]).repeat(5))
    >>> [part.labels.bincount().tolist() for part in divide(split, 0.2)]
    [[4, 12], [1, 3]]
    """
    positions = np.arange(len(split))
    try:
        first, second = train_test_split(
            positions, test_size=held_out, stratify=split.labels.numpy(), random_state=seed
        )
    except ValueError as error:
        raise ValueError(f"cannot hold out {held_out} of {len(split)} samples: {error}") from error
    parts = split.subset(np.sort(first)), split.subset(np.sort(second))
    for part in parts:
        if len(part.labels.unique()) < len(split.labels.unique()):
            raise ValueError(f"holding out {held_out} of {len(split)} samples loses a class")
    return parts
