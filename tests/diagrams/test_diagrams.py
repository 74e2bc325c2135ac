"""Drawings of networks: everything is in them, and nothing covers anything else."""

from __future__ import annotations

from itertools import combinations

import matplotlib

matplotlib.use("agg")
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import nn
from torchvision import models as zoo

from cnnlab import LeNet5, TinyResNet, UNet, draw_network
from cnnlab.diagrams.graphs import SYMBOLS
from cnnlab.diagrams.layouts import levels, place
from cnnlab.diagrams.tracing import trace
from cnnlab.models.small import BasicBlock
from cnnlab.models.unet import DoubleConv


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def built(name, **options):
    with torch.device("meta"):
        return zoo.get_model(name, weights=None, **options)


def inception():
    return built("googlenet", init_weights=False).inception3a


NETWORKS = {
    "LeNet-5": lambda: (LeNet5(), (1, 28, 28), 1),
    "TinyResNet": lambda: (TinyResNet(), (3, 64, 64), 2),
    "U-Net": lambda: (UNet(), (3, 64, 64), 2),
    "VGG-16": lambda: (built("vgg16"), (3, 224, 224), 1),
    "Inception": lambda: (inception(), (192, 28, 28), 1),
    "Inception-v3": lambda: (
        built("inception_v3", init_weights=False).Mixed_7b, (1280, 8, 8), 1
    ),
    "dense block": lambda: (built("densenet121").features.denseblock1, (64, 56, 56), 1),
    "ViT block": lambda: (built("vit_b_16").encoder.layers[0], (197, 768), 2),
    "ConvNeXt block": lambda: (built("convnext_tiny").features[1][0], (96, 56, 56), 1),
}  # fmt: skip


@pytest.fixture(params=NETWORKS)
def network(request):
    model, size, depth = NETWORKS[request.param]()
    return model, size, depth


def test_nodes_edges_and_shapes_of_a_residual_block():
    graph = trace(BasicBlock(8, 8), (8, 16, 16))
    assert [n.kind for n in graph.nodes.values()] == [
        "input", "convolution", "convolution", "addition",
    ]  # fmt: skip
    assert {n.shape for n in graph.nodes.values()} == {(8, 16, 16)}
    assert graph.skips == [("input", "add")]
    assert set(graph.edges) == {
        ("input", "conv1"), ("conv1", "conv2"), ("conv2", "add"), ("input", "add"),
    }  # fmt: skip


def test_a_shortcut_with_a_convolution_is_a_branch_and_no_skip():
    graph = trace(BasicBlock(8, 16, stride=2), (8, 16, 16))
    assert not graph.skips
    assert len(graph.nodes["add"].inputs) == 2
    boxes = place(graph, 8)
    assert boxes["conv1"].y == boxes["add"].y != boxes["downsample.0"].y


def test_a_unet_is_drawn_as_a_u():
    graph = trace(UNet(widths=(8, 16, 32, 64)), (3, 32, 32), depth=2, whole=(DoubleConv,))
    concatenations = [n for n in graph.nodes.values() if n.kind == "concatenation"]
    assert len(graph.skips) == len(concatenations) == 3
    boxes, steps = place(graph, 9), levels(graph)
    for source, target in graph.skips:
        assert steps[source] == steps[target]
        assert boxes[source].y == boxes[target].y
        between = [b for b in boxes.values() if boxes[source].right < b.x < boxes[target].left]
        assert min(b.y for b in between) < boxes[source].y
    lowest = min(boxes.values(), key=lambda b: b.y)
    assert min(boxes["input"].x, boxes["head"].x) < lowest.x < boxes["head"].x
    assert boxes["input"].y == boxes["head"].y


def test_an_inception_block_has_four_branches_on_four_lines():
    graph = trace(inception(), (192, 28, 28))
    boxes = place(graph, 9)
    ends = graph.nodes["cat"].inputs
    assert len(ends) == len({boxes[name].y for name in ends}) == 4
    assert boxes["cat"].y == boxes["input"].y


def test_a_dense_block_reads_everything_before_it():
    graph = trace(built("densenet121").features.denseblock1, (64, 56, 56))
    assert len(graph.edges) == 7 * 6 // 2 + 7  # six layers with 1 … 6 inputs, and the output's 7
    assert graph.nodes["cat"].shape == (256, 56, 56)


def test_deeper_means_more_boxes_and_merging_means_fewer():
    counts = [len(trace(TinyResNet(), (3, 64, 64), depth=d).nodes) for d in (1, 2)]
    apart = trace(TinyResNet(), (3, 64, 64), depth=2, merge=False)
    assert counts[0] < counts[1] < len(apart.nodes)
    assert {"normalization", "activation"} <= {n.kind for n in apart.nodes.values()}


def test_forward_functions_may_branch_loop_and_work_in_place():
    class Winding(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            for _ in range(2 if x.shape[-1] % 2 == 0 else 1):
                y = self.layer(x)
                y += x
                x = y.relu_()
            return x

    even, odd = trace(Winding(), (4, 8, 8)), trace(Winding(), (4, 7, 7))
    assert (len(even.skips), len(odd.skips)) == (2, 1)
    kinds = [node.kind for node in even.nodes.values()]
    assert kinds == ["input", *["convolution", "addition"] * 2]


def test_the_model_stays_as_it_was():
    model = TinyResNet(2).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trace(model, (3, 32, 32), depth=2)
    assert model.training and not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(p.device.type == "cpu" for p in model.parameters())


def test_what_cannot_be_drawn_says_why():
    class ByValue(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"cannot trace ByValue.*not on values"):
        draw_network(ByValue(), (3, 8, 8))
    with pytest.raises(ValueError, match=r"LeNet5 with an input of size \(3, 28, 28\)"):
        draw_network(LeNet5(), (3, 28, 28))
    with pytest.raises(ValueError, match="depth must be at least 1"):
        trace(LeNet5(), (1, 28, 28), depth=0)


def test_nothing_covers_anything_else(network):
    """Measured on the finished figure: boxes, symbols and texts."""
    model, size, depth = network
    graph = trace(model, size, depth=depth)
    ax = draw_network(model, size, depth=depth)
    ax.figure.draw_without_rendering()
    boxes = [p.get_window_extent() for p in ax.patches if isinstance(p, Rectangle)]
    symbols = [n for n in graph.nodes.values() if n.kind in SYMBOLS]
    assert len(boxes) + len(symbols) == len(graph.nodes)
    assert len(ax.lines) == len(symbols)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    texts = {text: text.get_window_extent() for text in ax.texts}
    assert not any(a.overlaps(b) for a, b in combinations(texts.values(), 2))
    for text, extent in texts.items():
        for box in boxes:
            inside = box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0
            assert inside or not box.overlaps(extent.padded(-1.5)), text.get_text()


def test_every_edge_is_an_arrow_and_no_text_is_small(network):
    model, size, depth = network
    ax = draw_network(model, size, depth=depth)
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == len(trace(model, size, depth=depth).edges)
    texts = ax.findobj(matplotlib.text.Text)
    assert min(text.get_fontsize() for text in texts if text.get_text()) >= 11
    assert ax.get_xlim()[0] < ax.get_xlim()[1]


def test_shapes_and_kernels_are_written_where_there_is_room():
    words = {text.get_text() for text in draw_network(inception(), (192, 28, 28)).texts}
    assert {"input\n192×28×28", "1×1\n64×28×28", "3×3\n128×28×28", "256×28×28"} <= words
    ax = draw_network(built("vgg16"), (3, 224, 224))
    assert {"3", "64", "512", "4096", "1000"} <= {text.get_text() for text in ax.texts}
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["224×224", "112×112"]


def test_a_legend_names_every_kind_and_symbol():
    ax = draw_network(UNet(), (3, 64, 64), depth=2, whole=(DoubleConv,), title="U-Net")
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"DoubleConv", "pooling", "upsampling", "‖  concatenation"} <= set(words)
    assert ax.get_title() == "U-Net"


def test_it_draws_into_the_axes_it_is_given():
    _, ax = plt.subplots(figsize=(6, 3))
    assert draw_network(BasicBlock(8, 8), (8, 16, 16), ax=ax) is ax
