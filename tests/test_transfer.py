"""Transfer: heads, freezing, and features that are computed once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cnnlab import (
    TinyResNet,
    extract_features,
    freeze,
    load_ants_and_bees,
    load_backbone,
    replace_head,
    training_mode,
)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny_resnet")


@pytest.fixture(scope="module")
def data():
    return load_ants_and_bees("drawn", image_size=48)


def test_features_are_what_the_head_receives(backbone, data):
    features = extract_features(backbone, data, precision="float32")
    X = backbone.preprocess(data.test.inputs[:5])
    with torch.inference_mode():
        wanted = backbone.model(X)
        got = backbone.model.fc(features.test.inputs[:5])
    assert torch.allclose(wanted, got, atol=1e-4)
    assert features.test.inputs.shape == (len(data.test), backbone.num_features)
    assert torch.equal(features.test.labels, data.test.labels)
    assert features.classes == data.classes and "drawn" in features.source


def test_extracting_leaves_the_backbone_as_it_was(backbone, data):
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    extract_features(backbone, data)
    after = backbone.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert isinstance(backbone.model.fc, nn.Linear)


def test_every_image_goes_through_the_backbone_once(backbone, data):
    seen = 0

    def count(module, inputs):
        nonlocal seen
        seen += len(inputs[0])

    hook = backbone.model.conv1.register_forward_pre_hook(count)
    try:
        extract_features(backbone, data)
    finally:
        hook.remove()
    assert seen == len(data.train) + len(data.val) + len(data.test)


def test_features_in_half_precision_are_nearly_the_same(backbone, data):
    exact = extract_features(backbone, data, precision="float32").val.inputs
    half = extract_features(backbone, data, precision="bfloat16").val.inputs
    assert half.dtype == torch.float32 and not torch.equal(exact, half)
    assert torch.nn.functional.cosine_similarity(exact, half).min() > 0.99


def test_only_the_named_modules_learn():
    model = freeze(TinyResNet(2), ["layer4", "fc"])
    learning = {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert learning == {"layer4", "fc"}
    assert not any(p.requires_grad for p in freeze(model, []).parameters())
    with pytest.raises(ValueError, match=r"no module is called layer9; .*layer4"):
        freeze(model, ["layer9"])


def test_batchnorm_can_be_kept_out_of_what_learns():
    model = training_mode(freeze(TinyResNet(2), ["layer4", "fc"], norms=False))
    learning = [n for n, p in model.named_parameters() if p.requires_grad]
    assert "layer4.0.conv1.weight" in learning and not [n for n in learning if ".bn" in n]
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.training]


def test_a_head_needs_an_output():
    with pytest.raises(ValueError, match="at least one"):
        replace_head(TinyResNet(), 0)
