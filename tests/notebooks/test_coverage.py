"""Nothing that a lecture day on CNNs needs is lost: each topic has its place in a lesson."""

from __future__ import annotations

import re

import nbformat
import pytest
from repository import NOTEBOOKS

TOPICS = [  # lesson, topic, what its cells must contain
    ("00", "a kernel slides over an image", r"def slide\("),
    ("01", "why large networks need many images", r"[Cc]apacity"),
    ("01", "MNIST, with images", r"load_mnist[\s\S]*show_images"),
    ("01", "CIFAR-10 and CIFAR-100", r"load_cifar10[\s\S]*load_cifar100"),
    ("01", "ImageNet's two sizes", r"1,281,167[\s\S]*14,197,122"),
    ("01", "torchvision's data sets", r"torchvision\.datasets\.__all__"),
    ("01", "Dataset and DataLoader", r"\(Dataset\)[\s\S]*DataLoader\("),
    *(
        ("02", name, re.escape(name))
        for name in (
            "LeNet-5", "AlexNet", "VGG-16", "GoogLeNet", "Inception-v3", "ResNet-50", "Xception",
            "Inception-v4", "Inception-ResNet", "ResNeXt-50", "DenseNet", "MobileNet-v2",
            "EfficientNet-B0", "ConvNeXt-T", "ViT-B/16",
        )
    ),
    ("02", "the training loop", r"zero_grad\(\)[\s\S]*backward\(\)[\s\S]*step\(\)"),
    ("02", "sizes of networks over the years", r"plot_parameters_over_years"),
    ("03", "label, box and mask", r"[Bb]ox"),
    ("03", "U-Net, 2015, and its sources", r"Ronneberger[\s\S]*\(2015\)"),
    ("03", "salt in seismic images", r"\bsalt\b"),
    ("03", "nearest neighbor, bed of nails, max unpooling", r"bed of nails[\s\S]*[Mm]ax unpooling"),
    ("04", "not a deconvolution", r"[Nn]ot a deconvolution"),
    ("04", "by hand, then checked", r"by_hand\.check"),
    ("04", "zeros and the turned kernel", r"\.flip\("),
    ("04", "brackets of the input", r"bracket"),
    ("04", "layer and function", r"ConvTranspose2d[\s\S]*conv_transpose2d|A layer, and a function"),
    ("04", "checkerboards", r"[Cc]heckerboard"),
    ("05", "what transfer learning is", r"Goodfellow"),
    ("05", "three reasons for it", r"[Ff]ew (images|pictures)"),
    ("05", "new last layer, or the whole network at small rates", r"[Ff]ine-tun"),
    ("06", "definition, and why it matters", r"receptive field[\s\S]*stride"),
    ("07", "summary", r"## "),
    ("08", "what filters see", r"[Ff]ilter"),
    ("09", "from ImageNet to ants and bees", r"ImageNet[\s\S]*ants"),
]  # fmt: skip


@pytest.mark.parametrize(("lesson", "topic", "pattern"), TOPICS, ids=lambda value: str(value)[:40])
def test_a_topic_has_its_place(lesson: str, topic: str, pattern: str) -> None:
    (path,) = [path for path in NOTEBOOKS if path.name.startswith(lesson)]
    cells = nbformat.read(path, as_version=4).cells
    assert re.search(pattern, "\n\n".join(cell.source for cell in cells)), topic


def test_tools_that_the_day_promises_are_used() -> None:
    package = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (NOTEBOOKS[0].parents[2] / "cnnlab").rglob("*.py")
    )
    for tool in ("pycm", "livelossplot", "torchsummary", "sklearn", "torchvision", "matplotlib"):
        assert re.search(rf"(import|from) {tool}", package), tool
