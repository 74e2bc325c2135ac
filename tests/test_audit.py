"""The audit: every slip is found where it is, with its cure, and the cure makes it silent."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from cnnlab import freeze, freeze_audit, replace_head, training_mode


class Net(nn.Module):
    """A body with BatchNorm and dropout, and a head, small enough for a thousandth of a second."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return freeze(Net(), ["head"])


def sgd(model):
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)


def only(audit):
    (finding,) = audit.findings
    assert " → " in finding, "no cure"
    return finding


def test_a_model_that_is_ready_has_no_findings(model):
    audit = freeze_audit(training_mode(model), sgd(model))
    assert audit.findings == []
    assert (audit.trainable, audit.held, audit.moving) == (10, 10, 0)
    assert audit.frozen == 3 * 4 * 9 + 4 + 8


def test_buffers_are_counted_exactly_when_a_forward_pass_changes_them(model):
    for mode in (model.train, model.eval, lambda: training_mode(model)):
        mode()
        moving = freeze_audit(model).moving
        before = [buffer.clone() for buffer in model.buffers()]
        with torch.no_grad():
            model(torch.randn(2, 3, 8, 8))
        pairs = zip(before, model.buffers(), strict=True)
        assert moving == sum(int((new != old).sum()) for old, new in pairs)


def test_frozen_batchnorm_in_training_mode_is_found_and_cured(model):
    model.train()
    model.body[2].eval()
    assert only(freeze_audit(model)).startswith("body.1: frozen BatchNorm in training mode")
    assert freeze_audit(training_mode(model)).findings == []


def test_batchnorm_that_learns_or_keeps_no_statistics_is_no_finding():
    assert freeze_audit(nn.Sequential(nn.BatchNorm2d(2))).findings == []
    still = nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False)).requires_grad_(False)
    assert freeze_audit(still).findings == [] and freeze_audit(still).moving == 0


def test_batchnorm_without_weights_in_a_frozen_part_is_found_and_cured():
    part = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, affine=False)).requires_grad_(False)
    model = nn.Sequential(part, nn.Flatten(), nn.Linear(2, 2))
    assert only(freeze_audit(model)).startswith("0.1: frozen BatchNorm")
    assert freeze_audit(training_mode(model)).findings == []


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), StochasticDepth(0.5, "row")])
def test_dropout_at_work_in_a_frozen_part_is_found_and_cured(model, layer):
    model.body[2] = layer
    model.train()
    model.body[1].eval()
    assert only(freeze_audit(model)).startswith("body.2: dropout at work where nothing learns")
    x = torch.randn(8, 3, 8, 8)
    assert not torch.equal(model.body(x), model.body(x))
    assert freeze_audit(training_mode(model)).findings == []
    assert torch.equal(model.body(x), model.body(x)) and model.head[0].training


def test_dropout_at_work_in_eval_mode_is_found(model):
    model.eval()
    model.head[0].train()
    assert only(freeze_audit(model)).startswith("head.0: dropout at work")


def test_dropout_that_is_off_where_layers_learn_is_found_and_cured(model):
    training_mode(model).head[0].eval()
    assert only(freeze_audit(model)).startswith("head.0: dropout is off")
    assert freeze_audit(training_mode(model)).findings == []


def test_dropout_that_never_drops_is_no_finding(model):
    model.eval()
    model.head[0] = nn.Dropout(0.0).train()
    assert freeze_audit(model).findings == []


def test_what_the_optimizer_lacks_holds_too_much_or_should_not_know(model):
    training_mode(model)
    bias_only = torch.optim.SGD([model.head[1].bias], lr=0.1)
    assert only(freeze_audit(model, bias_only)).startswith("head.1.weight: may learn, but")
    everything = torch.optim.SGD(model.parameters(), lr=0.1)
    finding = only(freeze_audit(model, everything))
    assert finding.startswith("body.0.weight, body.0.bias, body.1.weight and 1 more: frozen but")
    old = sgd(model)
    audit = freeze_audit(replace_head(model, 3).train(), old)
    assert any("2 tensors: in the optimizer, not in this model" in f for f in audit.findings)
    assert audit.held == 0 and "! head.1.weight, head.1.bias: may learn" in str(audit)


def test_the_audit_changes_nothing(model):
    model.train()
    before = copy.deepcopy(model.state_dict())
    freeze_audit(model, sgd(model))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
