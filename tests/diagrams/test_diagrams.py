"""Drawings of networks: everything is in them, and nothing covers anything else."""

from __future__ import annotations

from itertools import combinations, pairwise

import matplotlib

matplotlib.use("agg")
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path
from matplotlib.transforms import Bbox
from torch import nn
from torchvision import models as zoo

from cnnlab import LeNet5, TinyResNet, UNet, draw_network
from cnnlab.diagrams import trace
from cnnlab.models.small import BasicBlock
from cnnlab.models.zoo import build


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
    "ResNet-50": lambda: (built("resnet50"), (3, 224, 224), 1),
    "TinyResNet": lambda: (TinyResNet(), (3, 64, 64), 1),
    "residual block": lambda: (BasicBlock(8, 16, stride=2), (8, 16, 16), 1),
    "U-Net": lambda: (UNet(), (3, 64, 64), 1),
    "U-Net's layers": lambda: (UNet(), (3, 64, 64), 2),
    "VGG-16": lambda: (built("vgg16"), (3, 224, 224), 1),
    "Inception": lambda: (inception(), (192, 28, 28), 1),
    "Inception-v3": lambda: (
        built("inception_v3", init_weights=False).Mixed_7b, (1280, 8, 8), 1
    ),
    "dense block": lambda: (built("densenet121").features.denseblock1, (64, 56, 56), 1),
    "ViT block": lambda: (built("vit_b_16").encoder.layers[0], (197, 768), 2),
    "Inception-v4": lambda: (build("timm/inception_v4"), (3, 299, 299), 1),
    "Inception-ResNet block": lambda: (
        build("timm/inception_resnet_v2").repeat[0], (320, 35, 35), 1
    ),
    "MobileNet-v2": lambda: (built("mobilenet_v2"), (3, 224, 224), 1),
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


def rectangles(ax):
    """The boxes of the layers, from left to right, in inches."""
    return sorted((p for p in ax.patches if isinstance(p, Rectangle)), key=lambda p: p.get_x())


def middle(box):
    return box.get_y() + box.get_height() / 2


def arrows(ax):
    """The corners of every line, in inches; a head and a little gap are at its ends."""
    paths = [p.get_path() for p in ax.patches if isinstance(p, FancyArrowPatch)]
    return [path.vertices[: list(path.codes).index(Path.MOVETO, 1)] for path in paths]


def test_a_residual_connection_with_a_convolution_is_a_branch_and_no_skip():
    graph = trace(BasicBlock(8, 16, stride=2), (8, 16, 16))
    assert not graph.skips
    assert len(graph.nodes["add"].inputs) == 2
    boxes = rectangles(draw_network(BasicBlock(8, 16, stride=2), (8, 16, 16)))
    assert len({round(middle(box), 3) for box in boxes}) == 3  # the input, and two branches


def test_each_block_of_a_resnet_50_has_its_residual_connection():
    model = built("resnet50")
    graph = trace(model, (3, 224, 224))
    blocks = [node for node in graph.nodes.values() if node.is_residual]
    assert [node.kind for node in blocks] == ["Bottleneck"] * (3 + 4 + 6 + 3)
    ax = draw_network(model, (3, 224, 224))
    assert [text.get_text() for text in ax.texts].count("+") == 16
    boxes = {node.name: box for node, box in zip(graph.nodes.values(), rectangles(ax), strict=True)}
    loops = [line for line in arrows(ax) if len(line) == 4 and line[1][1] > line[0][1] + 0.1]
    assert len(loops) == 16
    for node, loop in zip(blocks, sorted(loops, key=lambda line: line[0][0]), strict=True):
        box = boxes[node.name]
        assert loop[0][0] < box.get_x() < box.get_x() + box.get_width() < loop[3][0]
        assert loop[1][1] > box.get_y() + box.get_height()
        assert middle(box) == pytest.approx(loop[0][1], abs=0.05)
        assert middle(box) == pytest.approx(loop[3][1], abs=0.05)
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "+  residual connection" in words


@pytest.mark.parametrize(
    ("name", "count"),
    [("vgg16", 0), ("resnet18", 8), ("mobilenet_v2", 10), ("densenet121", 0), ("vit_b_16", 0)],
)
def test_only_blocks_with_one_addition_of_two_results_are_residual(name, count):
    graph = trace(built(name), (3, 224, 224))
    assert sum(node.is_residual for node in graph.nodes.values()) == count


def test_a_unet_is_drawn_as_a_u():
    model, size = UNet(widths=(8, 16, 32, 64)), (3, 32, 32)
    graph = trace(model, size)
    assert len(graph.skips) == 3
    ax = draw_network(model, size)
    boxes = dict(zip(graph.nodes, rectangles(ax), strict=True))
    for source, target in graph.skips:
        assert middle(boxes[source]) == middle(boxes[target])
        left, right = boxes[source].get_x(), boxes[target].get_x()
        between = [middle(b) for b in boxes.values() if left < b.get_x() < right]
        assert between and max(between) < middle(boxes[source])
    heights = [middle(box) for box in boxes.values()]
    assert 0 < heights.index(min(heights)) < len(heights) - 1
    assert heights[0] == heights[-1] == max(heights)


def test_an_inception_block_has_four_branches_on_four_lines():
    graph = trace(inception(), (192, 28, 28))
    assert len(graph.nodes["cat"].inputs) == 4
    boxes = rectangles(draw_network(inception(), (192, 28, 28)))
    heights = [round(middle(box), 3) for box in boxes]
    assert len(set(heights[1:])) == 4
    assert heights[0] == pytest.approx(sum(set(heights[1:])) / 4, abs=0.01)


def test_a_dense_block_reads_everything_before_it():
    graph = trace(built("densenet121").features.denseblock1, (64, 56, 56))
    assert len(graph.edges) == 7 * 6 // 2 + 7  # six layers with 1 … 6 inputs, and the output's 7
    assert graph.nodes["cat"].shape == (256, 56, 56)


def test_deeper_means_more_boxes_and_normalization_belongs_to_the_layer_before():
    counts = [len(trace(TinyResNet(), (3, 64, 64), depth=depth).nodes) for depth in (1, 2)]
    assert counts[0] < counts[1]
    kinds = {node.kind for node in trace(TinyResNet(), (3, 64, 64), depth=2).nodes.values()}
    assert kinds == {"input", "convolution", "addition", "pooling", "fully connected"}


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


SIGNS = {"+", "‖", "×"}


def test_nothing_covers_anything_else(network):
    """Measured on the finished figure: boxes, lines and texts."""
    model, size, depth = network
    graph = trace(model, size, depth=depth)
    ax = draw_network(model, size, depth=depth)
    ax.figure.draw_without_rendering()
    boxes = [box.get_window_extent() for box in rectangles(ax)]
    symbols = [
        n for n in graph.nodes.values() if n.kind in ("addition", "concatenation", "product")
    ]
    residuals = [n for n in graph.nodes.values() if n.is_residual]
    assert len(boxes) + len(symbols) == len(graph.nodes)
    assert len(ax.lines) == len(symbols) + len(residuals)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    texts = {text: text.get_window_extent() for text in ax.texts if text.get_text()}
    assert not any(a.overlaps(b) for a, b in combinations(texts.values(), 2))
    for text, extent in texts.items():
        for box in boxes:
            inside = box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0
            assert inside or not box.overlaps(extent.padded(-1.5)), text.get_text()
    words = [extent.padded(-1) for text, extent in texts.items() if text.get_text() not in SIGNS]
    for line in arrows(ax):
        for start, end in pairwise(ax.transData.transform(line)):
            crossed = Bbox(
                [start - 0.1, end + 0.1] if (start <= end).all() else [end - 0.1, start + 0.1]
            )
            assert not any(crossed.overlaps(word) for word in words), line


def test_every_edge_is_an_arrow_and_no_text_is_small(network):
    model, size, depth = network
    graph = trace(model, size, depth=depth)
    ax = draw_network(model, size, depth=depth)
    residuals = sum(node.is_residual for node in graph.nodes.values())
    assert len(arrows(ax)) == len(graph.edges) + residuals
    texts = ax.findobj(matplotlib.text.Text)
    assert min(text.get_fontsize() for text in texts if text.get_text()) >= 11
    assert ax.figure.get_figwidth() == 10


def test_everything_lies_inside_the_figure(network):
    model, size, depth = network
    ax = draw_network(model, size, depth=depth, title="its title")
    ax.figure.draw_without_rendering()
    inside = ax.figure.bbox.padded(1)
    drawn = [*ax.texts, *rectangles(ax), ax.title, ax.get_legend(), *ax.get_yticklabels()]
    for artist in drawn:
        extent = artist.get_window_extent()
        assert inside.x0 <= extent.x0 and extent.x1 <= inside.x1, artist
        assert inside.y0 <= extent.y0 and extent.y1 <= inside.y1, artist


def test_shapes_and_kernels_are_written_where_there_is_room():
    words = {text.get_text() for text in draw_network(inception(), (192, 28, 28)).texts}
    assert {"192×28×28", "1×1", "64×28×28", "3×3", "128×28×28", "256×28×28"} <= words
    ax = draw_network(built("vgg16"), (3, 224, 224))
    assert {"3", "64", "512", "4096", "1000", "3×3"} <= {text.get_text() for text in ax.texts}
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["224×224", "112×112", "56×56", "28×28", "14×14", "7×7", "1×1"]


def test_a_legend_names_every_kind_and_symbol():
    ax = draw_network(UNet(), (3, 64, 64), depth=2, title="U-Net")
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"DoubleConv", "pooling", "upsampling", "‖  concatenation"} <= set(words)
    assert len(words) == len(set(words))
    assert ax.get_title() == "U-Net"


def test_it_draws_into_the_axes_it_is_given():
    _, ax = plt.subplots(figsize=(6, 3))
    assert draw_network(BasicBlock(8, 8), (8, 16, 16), ax=ax) is ax
