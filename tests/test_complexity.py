"""What a network computes and costs: recorded outputs, a summary without side effects."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from cnnlab import LeNet5, TinyResNet, summary
from cnnlab.complexity import record_outputs


def test_the_model_the_random_numbers_and_the_hooks_stay_as_they_were():
    model = TinyResNet(2).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    summary(model, (3, 32, 32))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_totals_count_a_shared_layer_once():
    layer = nn.Linear(4, 4)
    assert summary(nn.Sequential(layer, nn.ReLU(), layer), (4,)).total == 20


def test_bare_parameters_count():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.scale = nn.Linear(3, 3), nn.Parameter(torch.ones(3))

        def forward(self, x):
            return self.layer(x) * self.scale

    assert summary(Scaled(), (3,)).total == 15


def test_frozen_parameters_are_told_apart():
    model = TinyResNet(2).requires_grad_(False)
    model.fc.requires_grad_(True)
    result = summary(model, (3, 32, 32))
    assert result.trainable == 514 and f"{result.total:,}" in str(result)


@pytest.mark.parametrize("name", ["densenet121", "vit_b_16"])
def test_where_torchsummary_fails_an_own_table_stands_in(name):
    model = zoo.get_model(name, weights=None)
    result = summary(model, (3, 224, 224))
    assert result.total == sum(p.numel() for p in model.parameters())
    assert "torchsummary failed" in result.note and "Linear" in result.table


def test_the_table_is_torchsummarys_where_it_works():
    text = str(summary(LeNet5(), (1, 28, 28)))
    assert "Conv2d-1" in text and "61,706" in text and "torchsummary failed" not in text


def test_an_input_that_does_not_fit():
    with pytest.raises(ValueError, match=r"LeNet5 cannot take an input of size \(3, 28, 28\)"):
        summary(LeNet5(), (3, 28, 28))


# -- outputs of layers -----------------------------------------------------------------------------


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
