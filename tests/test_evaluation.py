"""Evaluation against the libraries that know better."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from torch import nn

from cnnlab import Evaluation, bootstrap_interval, evaluate, mcnemar


def evaluation_of(targets, predictions, classes=("ants", "bees")):
    y, y_hat = torch.tensor(targets), torch.tensor(predictions)
    return Evaluation(0.0, y, y_hat, torch.eye(len(classes))[y_hat], list(classes))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_interval_contains_the_accuracy_and_stays_in_range(pairs):
    result = evaluation_of(*zip(*pairs, strict=True))
    low, high = result.confidence_interval()
    assert 0 <= low <= result.accuracy + 1e-9 and result.accuracy <= high + 1e-9 <= 1 + 2e-9
    assert high - low > 0  # never certain


def test_interval_of_the_tutorials_number():
    low, high = evaluation_of([0] * 153, [0] * 143 + [1] * 10).confidence_interval()
    assert (round(low, 3), round(high, 3)) == (0.884, 0.964)


def test_evaluate_agrees_with_scikit_learn():
    torch.manual_seed(0)
    X, y = torch.randn(50, 3), torch.randint(0, 3, (50,))
    model = nn.Linear(3, 3)
    result = evaluate(model, [(X[:33], y[:33]), (X[33:], y[33:])])
    probabilities = model(X).softmax(1).detach().numpy()
    assert result.accuracy == pytest.approx(accuracy_score(y, probabilities.argmax(1)))
    assert result.loss == pytest.approx(log_loss(y, probabilities, labels=[0, 1, 2]), rel=1e-5)
    ours = result.confusion_matrix().to_array()
    assert (ours == confusion_matrix(y, probabilities.argmax(1))).all()


def test_confusion_matrix_keeps_names_in_order_even_if_one_never_occurs():
    matrix = evaluation_of([2, 2, 0], [2, 0, 0], ["wasps", "bees", "ants"]).confusion_matrix()
    assert list(matrix.classes) == ["wasps", "bees", "ants"]
    assert matrix.to_array().tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]


def test_worst_mistakes_come_first_and_right_answers_never():
    y = torch.tensor([0, 0, 1, 1])
    odds = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.95, 0.05], [0.2, 0.8]])
    result = Evaluation(0.0, y, odds.argmax(1), odds)
    assert result.worst().tolist() == [2, 1] and result.worst(1).tolist() == [2]
    assert evaluation_of([0, 1], [0, 1]).worst().tolist() == []


def test_each_layer_is_left_in_the_mode_it_was_in():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    model[1].eval()
    evaluate(model, [(torch.rand(3, 2), torch.tensor([0, 1, 1]))])
    assert model.training and model[0].training and not model[1].training


def test_bootstrap_interval_agrees_with_the_normal_approximation():
    scores = torch.randn(400, generator=torch.Generator().manual_seed(1)) + 5
    low, high = bootstrap_interval(scores)
    half = 1.96 * scores.std().item() / 20
    assert low == pytest.approx(scores.mean().item() - half, abs=0.02)
    assert high == pytest.approx(scores.mean().item() + half, abs=0.02)
    assert (low, high) == bootstrap_interval(scores) != bootstrap_interval(scores, seed=1)
    narrow = bootstrap_interval(scores, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_bad_input():
    with pytest.raises(ValueError, match="empty"):
        evaluate(nn.Linear(2, 2), [])
    with pytest.raises(ValueError, match="labels run from"):
        evaluate(nn.Linear(2, 2), [(torch.rand(1, 2), torch.tensor([2]))])
    with pytest.raises(ValueError, match="logits must be"):
        evaluate(nn.Identity(), [(torch.rand(1, 2, 4), torch.tensor([1]))])


def test_mcnemar_looks_only_at_disagreements():
    first = evaluation_of([0] * 30, [0] * 20 + [1] * 10)
    second = evaluation_of([0] * 30, [0] * 22 + [1] * 8)
    assert mcnemar(first, second) == (0, 2, pytest.approx(0.5))
    assert mcnemar(first, first) == (0, 0, 1.0)
    with pytest.raises(ValueError, match="different samples"):
        mcnemar(first, evaluation_of([1] * 30, [1] * 30))


@pytest.mark.parametrize("predicted", [0, 1])
def test_a_single_class_in_the_test_set_gives_a_matrix_of_all_classes(predicted):
    targets = torch.zeros(5, dtype=torch.long)
    predictions = torch.full_like(targets, predicted)
    probabilities = torch.zeros(5, 2)
    only = Evaluation(0.1, targets, predictions, probabilities, ["zebras", "ants"])
    matrix = only.confusion_matrix()
    assert matrix.classes == ["zebras", "ants"]
    assert matrix.to_array().tolist() == [[5 * (1 - predicted), 5 * predicted], [0, 0]]
    assert matrix.TPR["ants"] == "None"
