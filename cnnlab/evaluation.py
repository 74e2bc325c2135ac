"""What a model's answers are worth: loss, accuracy, intervals, confusion matrix, comparison.

`evaluate` asks a model for every sample and returns an `Evaluation`; `mcnemar` compares two of
them, `bootstrap_interval` gives an interval for any score. An answer is a class for each sample
or, in segmentation, for each pixel. Below them: the checks of labels and logits (`cross_entropy`
explains what is wrong), and `eval_mode`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from pycm import ConfusionMatrix

Loader = Iterable[tuple[Tensor, Tensor]]
Criterion = Callable[[Tensor, Tensor], Tensor]  # logits, targets -> loss


@dataclass(frozen=True)
class Evaluation:
    """Answers of a model on one split.

    Attributes
    ----------
    loss : float
        Mean cross-entropy per sample, in nats (or what the criterion gave).
    targets, predictions : Tensor
        Class indices, shape (N,); with a class per pixel, (N, H, W).
    probabilities : Tensor
        Softmax outputs, shape (N, K) or (N, K, H, W).
    classes : list of str
        Names for printing; may be empty.
    """

    loss: float
    targets: Tensor
    predictions: Tensor
    probabilities: Tensor
    classes: list[str] = field(default_factory=list)

    @property
    def correct(self) -> Tensor:
        """Which answers were right, bool, shaped like the targets."""
        return self.targets == self.predictions

    @property
    def accuracy(self) -> float:
        """Share of answers that were right, from 0 to 1."""
        return self.correct.double().mean().item()

    def confidence_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return Wilson's interval for the accuracy.

        It says how far chance in *which* samples were tested may have moved the number.
        Source: Wilson (1927), *J. Am. Stat. Assoc.* 22(158).

        Raises
        ------
        ValueError
            With a class per pixel: neighbors are right or wrong together, so that a million
            pixels are no million samples.

        Examples
        --------
        >>> y = torch.zeros(153, dtype=torch.long)
        >>> y_hat = y.clone()
        >>> y_hat[:10] = 1
        >>> low, high = Evaluation(0.0, y, y_hat, torch.zeros(153, 2)).confidence_interval()
        >>> print(f"{low:.3f} to {high:.3f}")
        0.884 to 0.964
        """
        from scipy.stats import binomtest

        if self.targets.ndim > 1:
            raise ValueError(
                "pixels of one image are no independent samples: score each image by "
                "Dice (lesson 03) and take bootstrap_interval of the scores"
            )
        test = binomtest(int(self.correct.sum()), len(self.targets))
        interval = test.proportion_ci(level, method="wilson")
        return float(interval.low), float(interval.high)

    def confusion_matrix(self) -> ConfusionMatrix:
        """Return pycm's confusion matrix, rows true and columns predicted, classes in order."""
        from pycm import ConfusionMatrix

        indices = range(self.probabilities.shape[1])
        pairs = self.targets.flatten() * len(indices) + self.predictions.flatten()
        counts = pairs.bincount(minlength=len(indices) ** 2).view(-1, len(indices)).tolist()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a class that never occurs is no error
            matrix = ConfusionMatrix(matrix={i: dict(enumerate(counts[i])) for i in indices})
        if self.classes:
            matrix.relabel(dict(zip(indices, self.classes, strict=True)), sort=False)
        return matrix

    def worst(self, count: int = 8) -> Tensor:
        """Return indices of the wrong answers, the most confident first."""
        confidence = self.probabilities.max(dim=1).values.masked_fill(self.correct, -1)
        wrong = int((~self.correct).sum())
        return confidence.argsort(descending=True, stable=True)[: min(count, wrong)]

    def __repr__(self) -> str:
        interval = " of the pixels"
        if self.targets.ndim == 1:
            interval = " [{:.3f}, {:.3f}]".format(*self.confidence_interval())
        return (
            f"Evaluation(accuracy={self.accuracy:.3f}{interval}, "
            f"loss={self.loss:.3f}, n={len(self.targets)})"
        )


def check_batch(logits: Tensor, targets: Tensor) -> None:
    """Raise a ValueError that says what is wrong, before the loss fails with an index error."""
    if logits.ndim < 2 or (targets.ndim == 1 and logits.ndim > 2):
        raise ValueError(
            f"the model returned shape {tuple(logits.shape)} for labels of shape "
            f"{tuple(targets.shape)}; logits must be (batch, classes), or (batch, classes, height, "
            "width) for one label per pixel"
        )
    expected = (len(logits), *logits.shape[2:])
    if targets.dtype != torch.int64 or targets.shape != expected:
        raise ValueError(
            f"labels must be int64 of shape {expected}, got {targets.dtype} of shape "
            f"{tuple(targets.shape)}"
        )
    lowest, highest = int(targets.min()), int(targets.max())
    if lowest < 0 or highest >= logits.shape[1]:
        raise ValueError(
            f"labels run from {lowest} to {highest}, but the model has {logits.shape[1]} outputs "
            f"(0 to {logits.shape[1] - 1}); change the labels or use "
            f"replace_head(model, {highest + 1})"
        )


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats; explain what is wrong where torch would only fail.

    Examples
    --------
    >>> round(cross_entropy(torch.zeros(5, 2), torch.ones(5).long()).item(), 3)  # ln 2
    0.693
    """
    try:
        return F.cross_entropy(logits, targets)
    except (IndexError, RuntimeError, ValueError):
        check_batch(logits, targets)
        raise


def check_classes(logits: Tensor, loader: Any) -> list[str]:
    """Return the class names that the loader's dataset knows, if any; are there as many logits?"""
    classes = list(getattr(getattr(loader, "dataset", None), "classes", None) or [])
    if classes and logits.shape[1] != len(classes):
        raise ValueError(
            f"the model has {logits.shape[1]} outputs, but the data {len(classes)} classes "
            f"({', '.join(classes[:5])}{', …' if len(classes) > 5 else ''}); "
            f"use replace_head(model, {len(classes)})"
        )
    return classes


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: Loader,
    *,
    device: torch.device | str | None = None,
    criterion: Criterion = cross_entropy,
) -> Evaluation:
    """Ask the model for every sample once, in eval mode, and keep all the answers.

    Parameters
    ----------
    model : nn.Module
        Maps (B, C, H, W) to logits (B, K), or (B, K, H, W) for a class per pixel.
    loader : iterable of (X, y)
        Batches; y int64 of shape (B,), or (B, H, W). If ``loader.dataset`` has ``classes``, their
        names are kept and their number is compared with the logits.
    device : torch.device or str, optional
        Where to compute; where the model is if None.
    criterion : callable
        Maps logits and targets of all samples to the loss.

    Raises
    ------
    ValueError
        If the loader is empty, a label is out of range, or the classes do not fit the logits.

    Examples
    --------
    >>> loader = [(torch.eye(2), torch.tensor([0, 1]))]
    >>> evaluate(nn.Identity(), loader).accuracy
    1.0
    """
    device = device or model_device(model)
    all_logits, all_targets = [], []
    with eval_mode(model.to(device)):
        for X, y in loader:
            logits = model(X.to(device))  # (B, K)
            check_batch(logits, y)
            classes = check_classes(logits, loader)
            all_logits.append(logits.float().cpu())
            all_targets.append(y)
    if not all_logits:
        raise ValueError("the loader is empty: there is nothing to evaluate")
    logits, targets = torch.cat(all_logits), torch.cat(all_targets)
    loss = criterion(logits, targets).item()
    return Evaluation(loss, targets, logits.argmax(1), logits.softmax(1), classes)


def model_device(model: nn.Module) -> torch.device:
    """Return the device of the model's first parameter (the CPU if it has none)."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Put the model into eval mode inside a ``with`` block, then each layer back into its own.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    >>> with eval_mode(model):
    ...     print([layer.training for layer in model])
    [False, False]
    >>> [layer.training for layer in model]
    [True, False]
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, was_training in modes:
            module.training = was_training


def bootstrap_interval(
    scores: Tensor, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return an interval for the mean of N scores, for any distribution of them.

    Draw N scores out of the N, with repetition, take the mean, and do that many times: the
    interval holds the middle 95 % of these means. Source: Efron (1979), *Ann. Statist.* 7(1).

    Parameters
    ----------
    scores : Tensor
        Shape (N,), with N at least 2.
    level : float
        Share of the means inside the interval.
    draws : int
        Number of means.
    seed : int
        The same seed gives the same interval.

    Examples
    --------
    >>> low, high = bootstrap_interval(torch.tensor([0.8, 0.9, 0.7, 0.95, 0.85]))
    >>> 0.7 < low < 0.84 < high < 0.95
    True
    """
    from scipy.stats import bootstrap

    sample = (scores.double().cpu().numpy(),)
    result = bootstrap(
        sample, np.mean, n_resamples=draws, confidence_level=level,
        method="percentile", random_state=np.random.default_rng(seed),
    )  # fmt: skip
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def mcnemar(first: Evaluation, second: Evaluation) -> tuple[int, int, float]:
    """Compare two models on the same samples with McNemar's exact test.

    Only samples on which exactly one of them is right say anything about the difference.
    Source: McNemar (1947), *Psychometrika* 12(2).

    Returns
    -------
    only_first, only_second : int
        Samples that only the first, or only the second model got right.
    p_value : float
        Probability of a split at least as uneven if both were equally good.

    Raises
    ------
    ValueError
        If the two were not evaluated on the same samples.

    Examples
    --------
    >>> y, odds = torch.zeros(8, dtype=torch.long), torch.zeros(8, 2)
    >>> good, bad = Evaluation(0.0, y, y, odds), Evaluation(0.0, y, 1 - y, odds)
    >>> mcnemar(good, bad)
    (8, 0, 0.0078125)
    """
    from scipy.stats import binomtest

    if not torch.equal(first.targets, second.targets):
        raise ValueError("the two evaluations hold different samples, or another order of them")
    only_first = int((first.correct & ~second.correct).sum())
    only_second = int((second.correct & ~first.correct).sum())
    differing = only_first + only_second
    p_value = binomtest(only_first, differing).pvalue if differing else 1.0
    return only_first, only_second, float(p_value)
