"""Outputs of layers: recorded as they were, and without a trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cnnlab.models.layers import record_outputs


def test_a_recorded_output_is_untouched_by_what_follows_and_still_in_the_graph():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Linear(3, 1))
    x = torch.randn(4, 2)
    with record_outputs(model, ["0", "1"]) as outputs:
        y = model(x)
    assert torch.equal(outputs["0"][0], model[0](x))
    (gradient,) = torch.autograd.grad(y.sum(), outputs["1"][0])
    assert torch.equal(gradient, model[2].weight.expand(4, 3))


def test_each_call_is_recorded_and_only_what_is_asked_for_is_kept():
    layer = nn.Linear(2, 2)
    with record_outputs(nn.Sequential(layer, layer), ["0"], keep=lambda y: y.shape[0]) as outputs:
        layer(torch.zeros(5, 2))
        layer(torch.zeros(7, 2))
    layer(torch.zeros(9, 2))
    assert outputs == {"0": [5, 7]}


def test_recording_restores_every_mode_and_removes_its_hooks_even_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval(), nn.Linear(2, 2))
    with pytest.raises(RuntimeError), record_outputs(model, ["2"]):
        model(torch.zeros(1, 9))
    assert [layer.training for layer in model] == [True, False, True]
    assert not model[2]._forward_hooks
    with (
        pytest.raises(ValueError, match="no module is called 9; the model has 0, 1, 2"),
        record_outputs(model, ["9"]),
    ):
        pass
