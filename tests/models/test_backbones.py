"""Pretrained networks: honest about what they are, safe to load, whole or refused."""

from __future__ import annotations

import shutil
import time

import pooch
import pytest
import torch
from torch import nn
from torchvision import models as zoo

from cnnlab import LeNet5, TinyResNet, load_backbone, replace_head
from cnnlab.data import downloads
from cnnlab.models.backbones import WeightsError, find_head, read_weights, save_weights


def test_lenet_has_the_usual_number_of_parameters():
    assert sum(p.numel() for p in LeNet5().parameters()) == 61_706


def test_tiny_resnet_has_torchvisions_names_and_a_large_first_kernel():
    tiny, large = TinyResNet(), zoo.resnet18()
    assert [name for name, _ in tiny.named_children()] == [
        name for name, _ in large.named_children() if name != "maxpool"
    ]
    assert min(tiny.conv1.kernel_size) >= 7
    assert 1e6 < sum(p.numel() for p in tiny.parameters()) < 3e6


def test_the_embedded_backbone_knows_its_classes():
    backbone = load_backbone("tiny_resnet")
    X = backbone.preprocess(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    assert backbone.model(X).shape == (2, len(backbone.categories)) == (2, 200)
    assert not backbone.model.training
    assert backbone.num_features == backbone.model.fc.in_features
    assert "Tiny-ImageNet" in backbone.source and "goldfish" in backbone.categories


def test_the_embedded_file_is_small_and_quick():
    path = downloads.packaged("weights", "tiny_resnet.safetensors")
    assert path.stat().st_size <= 6_000_000
    load_backbone("tiny_resnet")
    times = []
    for _ in range(5):
        start = time.process_time()
        load_backbone("tiny_resnet")
        times.append(time.process_time() - start)
    assert min(times) < 0.1


@pytest.mark.parametrize("damage", ["cut", "altered", "missing", "empty"])
def test_damaged_weights_are_refused(tmp_path, damage):
    original = downloads.packaged("weights", "tiny_resnet.safetensors")
    path = tmp_path / original.name
    shutil.copy(original, path)
    shutil.copy(original.with_suffix(".sha256"), tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "altered":
        content[-1000] ^= 1  # a single bit
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(WeightsError, match="cannot be used"):
        read_weights(path)


def test_weights_survive_saving_up_to_half_precision(tmp_path):
    model = TinyResNet(5)
    save_weights(model, tmp_path / "a.safetensors", {"data": "noise"})
    state, card = read_weights(tmp_path / "a.safetensors")
    assert card["data"] == "noise"
    for name, tensor in model.state_dict().items():
        assert torch.allclose(state[name].double(), tensor.double(), atol=1e-3), name


@pytest.mark.parametrize(
    "name", ["resnet18", "alexnet", "vgg11", "squeezenet1_0", "mobilenet_v2", "convnext_tiny",
             "efficientnet_b0", "densenet121", "vit_b_16", "swin_t", "mnasnet0_5"],
)  # fmt: skip
def test_every_family_has_a_head_that_can_be_replaced(name):
    with torch.device("meta"):
        model = zoo.get_model(name, weights=None)
        replace_head(model, 7)
        model.eval()
        assert model(torch.zeros(2, 3, 224, 224)).shape == (2, 7)


def test_a_model_without_a_head_is_an_error():
    with pytest.raises(ValueError, match="no linear layer"):
        find_head(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


def test_asking_for_weights_that_cannot_be_had_says_what_was_tried(own_cache, monkeypatch):
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    with pytest.raises(downloads.DownloadError, match="resnet18-f37072fd"):
        load_backbone("resnet18")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no model 'resnet81'.*efficientnet_lite0.*resnet18"):
        load_backbone("resnet81")


def test_weights_from_a_mirror_are_loaded_and_verified(own_cache, tmp_path, monkeypatch):
    """A file with the right name but other content is refused; with the right content it loads."""
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    name = SqueezeNet1_1_Weights.DEFAULT.url.rsplit("/", 1)[-1]
    mirror = tmp_path / "mirror" / "weights"
    mirror.mkdir(parents=True)
    torch.save(squeezenet1_1().state_dict(), mirror / name)
    monkeypatch.setenv("CNNLAB_MIRROR", str(mirror.parent))
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    with pytest.raises(downloads.DownloadError, match="wrong checksum"):
        load_backbone("squeezenet1_1")
    digest = name.split("-")[1].split(".")[0]
    true_hash = pooch.file_hash(str(mirror / name))
    (mirror / name).rename(mirror / name.replace(digest, true_hash[:8]))
    renamed = SqueezeNet1_1_Weights.DEFAULT.url.replace(digest, true_hash[:8])
    monkeypatch.setattr(
        type(SqueezeNet1_1_Weights.DEFAULT), "url", property(lambda self: renamed), raising=False
    )
    backbone = load_backbone("squeezenet1_1")
    assert backbone.num_features == 512 and len(backbone.categories) == 1000
