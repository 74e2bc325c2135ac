"""What a network costs: a summary without side effects."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from cnnlab import LeNet5, TinyResNet, summary


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
