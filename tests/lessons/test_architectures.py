"""The ledger: every number is counted, and every difference from the papers has its reason."""

from __future__ import annotations

import csv
import json
from itertools import combinations

import matplotlib

matplotlib.use("agg")
import pytest
from matplotlib import pyplot as plt
from repository import NOTEBOOKS
from torch import nn
from torchvision import models as zoo

from cnnlab.complexity import count_macs
from cnnlab.data.downloads import packaged
from cnnlab.lessons.architectures import (
    model_ledger,
    plot_accuracy_against_macs,
    plot_parameters_over_years,
)
from cnnlab.models.zoo import build

# parameters without and in auxiliary heads, billions of multiply-adds, top-1:
# torchvision's own numbers (0.29) and timm's, not this project's
KNOWN = {
    "LeNet-5": (61_706, 0, None, None),
    "AlexNet": (61_100_840, 0, 0.714, 56.522),
    "VGG-16": (138_357_544, 0, 15.47, 71.592),
    "GoogLeNet": (6_624_904, 6_379_984, 1.498, 69.778),
    "Inception-v3": (23_834_568, 3_326_696, 5.713, 77.294),
    "ResNet-50": (25_557_032, 0, 4.089, 76.130),
    "Xception": (22_855_952, 0, None, 79.040),
    "Inception-v4": (42_679_816, 0, None, 80.156),
    "Inception-ResNet-v2": (55_843_464, 0, None, 80.462),
    "ResNeXt-50 32x4d": (25_028_904, 0, 4.23, 77.618),
    "DenseNet-121": (7_978_856, 0, 2.834, 74.434),
    "MobileNet-v2": (3_504_872, 0, 0.301, 71.878),
    "EfficientNet-B0": (5_288_548, 0, 0.386, 77.692),
    "ConvNeXt-T": (28_589_128, 0, 4.456, 82.520),
    "ViT-B/16": (86_567_656, 0, 17.564, 81.072),
}


with packaged("published", "architectures.csv").open(encoding="utf-8", newline="") as lines:
    PUBLISHED = {record["name"]: record for record in csv.DictReader(lines)}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def ledger():
    return model_ledger()


def test_the_ledger_has_every_network(ledger):
    assert [row.name for row in ledger] == list(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_a_row_has_the_known_numbers(ledger, name):
    row = next(row for row in ledger if row.name == name)
    parameters, auxiliary, gmacs, top1 = KNOWN[name]
    assert (row.parameters, row.auxiliary) == (parameters, auxiliary)
    assert gmacs is None or row.gmacs == pytest.approx(gmacs, abs=0.006 if gmacs > 4 else 0.0006)
    assert row.top1 == top1


def test_multiply_adds_are_those_of_torchvisions_metadata(ledger):
    for row in ledger:
        library, _, model = row.model.partition("/")
        if library == "torchvision":
            meta = zoo.get_model_weights(model)["IMAGENET1K_V1"].meta
            assert row.gmacs == pytest.approx(meta["_ops"], abs=0.0006), row.name
            assert meta["num_params"] - row.parameters in (0, row.auxiliary), row.name
            assert row.weights["IMAGENET1K_V1"] == meta["_metrics"]["ImageNet-1K"]["acc@1"]


def test_what_differs_from_the_paper_says_why_in_the_file_and_in_the_lesson(ledger):
    """The folded table of the lesson is typed in: every number and reason must be there."""
    (path,) = [path for path in NOTEBOOKS if path.stem.startswith("02")]
    (lesson,) = [
        "".join(cell["source"])
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if "why they differ" in "".join(cell["source"])
    ]
    lines = {line.split("</td>")[0]: line for line in lesson.splitlines() if "<td>" in line}
    for row in ledger:
        record = PUBLISHED[row.name]
        assert record["source"]
        said = {k: float(record[k]) if record[k] else None for k in ("gmacs", "top1", "parameters")}
        for column, counted, number in [
            ("parameters", row.parameters / 1e6, said["parameters"] and said["parameters"] / 1e6),
            ("macs", row.gmacs, said["gmacs"]),
            ("top1", row.top1, said["top1"]),
        ]:
            reason, line = record[f"{column}_reason"], lines[f"<tr><td>{row.name}"]
            assert reason in line
            assert f"{written(counted)} ({written(number)})" in line
            if counted is not None and number is not None and counted != number:
                assert reason, (row.name, column)


def written(number):
    return "–" if number is None else f"{number:.4f}" if number < 0.1 else f"{number:.2f}"


def test_the_reasons_add_up():
    """Where a reason names numbers, they are the whole difference."""
    lenet, dense = (KNOWN[name][0] for name in ("LeNet-5", "DenseNet-121"))
    assert lenet - (2416 - 1516) + 44 - 850 == int(PUBLISHED["LeNet-5"]["parameters"])
    assert dense + 83_648 == int(PUBLISHED["DenseNet-121"]["parameters"])
    model = zoo.densenet121()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(2 * m.num_features for m in norms) == 83_648


def test_the_strides_of_the_paper_explain_the_multiply_adds_of_resnet_50():
    model = build("torchvision/resnet50")
    for module in model.modules():
        if getattr(getattr(module, "conv2", None), "stride", None) == (2, 2):
            module.conv1.stride, module.conv2.stride = (2, 2), (1, 1)
    assert count_macs(model, (3, 224, 224)) / 1e9 == pytest.approx(3.86, abs=0.005)


def test_the_kernels_of_the_paper_explain_the_parameters_of_googlenet():
    model = build("torchvision/googlenet")
    kernels = [m.weight for n, m in model.named_modules() if n.endswith("branch3.1.conv")]
    assert sum(w.shape[0] * w.shape[1] * (25 - 9) for w in kernels) == 380_928


def test_the_fully_connected_layers_explain_the_multiply_adds_of_vgg_16():
    model = build("torchvision/vgg16")
    assert count_macs(model.features, (3, 224, 224)) / 1e9 == pytest.approx(15.3, abs=0.05)


def test_inception_resnet_in_keras_and_in_timm_are_the_same_network():
    model = build("timm/inception_resnet_v2")
    norms = sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert norms == 30_272
    in_keras = int(PUBLISHED["Inception-ResNet-v2"]["parameters"])
    assert KNOWN["Inception-ResNet-v2"][0] + 2 * norms - norms == in_keras


def test_multiply_adds_of_a_layer_by_hand():
    layers = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Flatten(), nn.Linear(8 * 36, 10))
    assert count_macs(layers, (4, 8, 8)) == 8 * 36 * 9 * 2 + 8 * 36 * 10


def test_no_size_without_a_source_and_the_rumor_is_no_number():
    with packaged("published", "model_sizes.csv").open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    assert all(record["source"] and record["year"] for record in records)
    assert {r["is_cnn"] for r in records} == {"yes", "no", "partly"}
    (unknown,) = (record for record in records if not record["parameters"])
    assert unknown["name"] == "GPT-4" and "rumor" in unknown["note"]


def texts_of(ax):
    ax.figure.draw_without_rendering()
    return {text.get_text(): text.get_window_extent() for text in ax.texts}


def test_the_figure_of_sizes_names_every_network_once_and_readably():
    ax = plot_parameters_over_years()
    texts = texts_of(ax)
    assert {"LeNet-5", "GPT-3", "CoAtNet-7"} <= set(texts) and "GPT-4" not in texts
    assert any("rumor" in text for text in texts)
    assert not [(a, b) for a, b in combinations(texts, 2) if texts[a].overlaps(texts[b])]
    assert ax.get_yscale() == "log" and ax.get_xlabel() and ax.get_ylabel()
    found = ax.findobj(matplotlib.text.Text)
    assert min(text.get_fontsize() for text in found if text.get_text()) >= 11


def test_the_figure_of_costs_shows_every_network_with_an_accuracy(ledger):
    ax = plot_accuracy_against_macs(ledger)
    texts = texts_of(ax)
    assert set(texts) == {row.name for row in ledger if row.top1}
    assert not [(a, b) for a, b in combinations(texts, 2) if texts[a].overlaps(texts[b])]
    points = {tuple(point) for point in ax.collections[0].get_offsets().tolist()}
    assert points == {(row.gmacs, row.top1) for row in ledger if row.top1}
    with pytest.raises(ValueError, match="no row has an accuracy"):
        plot_accuracy_against_macs([row for row in ledger if row.name == "LeNet-5"])
