"""`fit` and `evaluate` under generated models, batches and faults."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

from cnnlab import evaluate, fit


@st.composite
def problems(draw):
    """Samples of some classes, cut into batches anywhere, and a model for them."""
    count, classes, features = (draw(st.integers(low, 12)) for low in (1, 2, 1))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    X = torch.randn(count, features, generator=generator)
    y = torch.randint(classes, (count,), generator=generator)
    cuts = sorted(draw(st.sets(st.integers(1, count - 1), max_size=4))) if count > 1 else []
    edges = [0, *cuts, count]
    batches = [(X[a:b], y[a:b]) for a, b in pairwise(edges)]
    return batches, nn.Linear(features, classes)


@settings(max_examples=50, deadline=None)
@given(problems())
def test_an_evaluation_does_not_depend_on_the_batches(problem):
    batches, model = problem
    X, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    result = evaluate(model, batches)
    whole = evaluate(model, [(X, y)])
    assert torch.equal(result.targets, y)
    assert result.probabilities.sum(1).allclose(torch.ones(len(y)))
    assert torch.equal(result.predictions, result.probabilities.argmax(1))
    assert result.loss == pytest.approx(whole.loss, rel=1e-5)
    assert result.accuracy == accuracy_score(y, result.predictions)
    probabilities = result.probabilities.double()
    probabilities /= probabilities.sum(1, keepdim=True)  # to the last digit of a double
    wanted = log_loss(y, probabilities, labels=range(model.out_features))
    assert result.loss == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    assert int(result.confusion_matrix().to_array().sum()) == len(y)
    assert len(result.worst(99)) == int((~result.correct).sum())
    assert result.confidence_interval()[0] <= result.accuracy + 1e-9


@settings(max_examples=40, deadline=None)
@given(problems(), st.integers(1, 4), st.floats(1e-5, 1e-1), st.booleans())
def test_a_training_has_its_epochs_and_its_best_weights(problem, epochs, lr, validate):
    batches, model = problem
    history = fit(model, batches, batches[-1:] if validate else None, epochs=epochs, lr=lr)
    assert len(history) == epochs and history.ending == "finished"
    for record in history.records:
        assert record["loss"] > 0 and 0 <= record["accuracy"] <= 1 and record["lr"] == lr
    if validate:
        assert history.best["val_loss"] == min(history["val_loss"])
        assert evaluate(model, batches[-1:]).loss == pytest.approx(history.best["val_loss"])
    else:
        assert history.best_epoch == epochs - 1


FAULTS = {
    "a label too large": lambda X, y, K: (X, y + K),
    "a negative label": lambda X, y, K: (X, y - K),
    "labels that are no whole numbers": lambda X, y, K: (X, y.float()),
    "labels of one too many": lambda X, y, K: (X, torch.cat([y, y[:1]])),
    "labels with a second dimension": lambda X, y, K: (X, y[:, None]),
    "pictures of another size": lambda X, y, K: (torch.cat([X, X], dim=1), y),
    "pictures as bytes": lambda X, y, K: (X.to(torch.uint8), y),
}


@settings(max_examples=50, deadline=None)
@given(problems(), st.sampled_from(sorted(FAULTS)), st.data())
def test_a_faulty_batch_is_an_error_and_no_silent_number(problem, fault, data):
    """Wherever it comes in the epoch: an exception, and the model is as before or still finite."""
    batches, model = problem
    position = data.draw(st.integers(0, len(batches) - 1))
    faulty = list(batches)
    faulty[position] = FAULTS[fault](*batches[position], model.out_features)
    for use in (lambda: fit(model, faulty, epochs=2), lambda: evaluate(model, faulty)):
        with pytest.raises((ValueError, RuntimeError)) as caught:
            use()
        if "label" in fault:
            assert "labels" in str(caught.value)
        assert all(bool(p.isfinite().all()) for p in model.parameters())
