"""The fields agree with gradients and with the closed formula, in networks real and random."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction
from itertools import product
from math import prod

import pytest
import timm
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torchvision.models import convnext, densenet, resnet, vgg

from cnnlab.fields import (
    Box,
    FieldError,
    effective_receptive_field,
    gradient_support,
    receptive_field,
)
from cnnlab.fields._taps import resampled


def model_of(name: str, **kwargs) -> nn.Module:
    if name in ("googlenet", "inception_v3"):
        kwargs["init_weights"] = False
    return torchvision.models.get_model(name, weights=None, **kwargs)


def bounds(mask: torch.Tensor) -> Box:
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if len(rows) == 0:
        return Box(0, 0, 0, 0)
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def assert_agrees(model, size, layer, fields=None, positions=None) -> None:
    """The engine and the gradients see the same box at corners, borders and in the middle."""
    field = (fields or receptive_field(model, size))[layer]
    rows, columns = field.positions
    corners = {(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)}
    for y, x in positions or corners | {(rows // 2, columns // 2), (rows // 3, 0)}:
        assert field.at(y, x) == bounds(gradient_support(model, size, layer, (y, x))), (y, x)


# ---- networks of torchvision ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "size", "stride"),
    [
        ("alexnet", "features.10", 163, 16),  # conv5
        ("alexnet", "features", 195, 32),  # with pool5
        ("vgg11", "features", 150, 32),
        ("vgg16", "features.28", 196, 16),
        ("vgg16", "features", 212, 32),
        ("resnet18", "layer4", 435, 32),
        ("resnet34", "layer4", 899, 32),
        ("resnet50", "layer4", 427, 32),
        ("inception_v3", "Mixed_7c", 1311, 32),  # Araujo et al. 2019 give the same
    ],
)
def test_known_fields_before_the_global_pooling(name, layer, size, stride):
    with torch.device("meta"):
        model = model_of(name)
    field = receptive_field(model)[layer]
    assert field.size == (size, size)
    assert field.stride == (stride, stride)
    assert not field.is_global


def test_resnet_50_with_the_stride_where_the_paper_put_it_has_the_field_of_the_literature():
    with torch.device("meta"):
        model = resnet.resnet50()
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    assert receptive_field(model)["layer4"].size == (483, 483)


# Same plans as the originals, but thin, so that sixteen networks are checked in seconds.
FAMILIES = {
    "alexnet": lambda: nn.Sequential(model_of("alexnet").features),
    "vgg": lambda: vgg.VGG(vgg.make_layers([4, "M", 8, "M", 8, 8, "M", 8, 8, "M"])).features,
    "resnet18": lambda: model_of("resnet18"),
    "resnet50": lambda: resnet.ResNet(resnet.Bottleneck, [3, 4, 6, 3], width_per_group=4),
    "resnext": lambda: resnet.ResNet(resnet.Bottleneck, [1, 2, 1, 1], groups=4, width_per_group=4),
    "wide_resnet": lambda: resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], width_per_group=32),
    "densenet": lambda: densenet.DenseNet(4, (3, 4, 4, 3), 8, bn_size=2),
    "googlenet": lambda: model_of("googlenet", aux_logits=False),
    "inception": lambda: model_of("inception_v3", aux_logits=False),
    "mobilenet_v2": lambda: model_of("mobilenet_v2", width_mult=0.25),
    "mobilenet_v3": lambda: model_of("mobilenet_v3_small"),
    "mnasnet": lambda: model_of("mnasnet0_5"),
    "squeezenet": lambda: model_of("squeezenet1_1"),
    "shufflenet": lambda: model_of("shufflenet_v2_x0_5"),
    "efficientnet": lambda: model_of("efficientnet_b0"),
    "regnet_x": lambda: model_of("regnet_x_400mf"),
    "regnet_y": lambda: model_of("regnet_y_400mf"),
    "convnext": lambda: convnext.ConvNeXt(
        [convnext.CNBlockConfig(8, 16, 2), convnext.CNBlockConfig(16, None, 2)]
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_convolutional_family_agrees_with_its_gradients(family):
    model = FAMILIES[family]()
    size = (3, 95, 103) if family == "inception" else (3, 64, 75)
    fields = receptive_field(model, size)
    modules = dict(model.named_modules())
    maps = [n for n, f in fields.items() if n in modules and f.shape[1:] == f.positions]
    for layer in (maps[len(maps) // 3], maps[2 * len(maps) // 3]):
        rows, columns = fields[layer].positions
        assert_agrees(model, size, layer, fields, [(0, columns - 1), (rows // 2, columns // 2)])


@pytest.mark.parametrize(
    ("name", "first_global", "reason"),
    [
        ("resnet18", "avgpool", "pooling"),
        ("densenet121", "adaptive_avg_pool2d", "pooling"),
        ("mnasnet0_5", "mean", "sum over all positions"),
        ("vgg11", "classifier.0", "fully connected"),
        ("mobilenet_v3_small", "features.1.block.1.avgpool", "pooling"),
        ("efficientnet_b0", "features.1.0.block.1.avgpool", "pooling"),
        ("convnext_tiny", "avgpool", "pooling"),
        ("vit_b_16", "encoder.layers.encoder_layer_0.self_attention", "self_attention: attention"),
        ("swin_t", "features.7.0.attn.matmul:2", "attn.matmul:2: a matrix product"),
        ("swin_v2_t", "features.7.0.attn.matmul:2", "attn.matmul:2: a matrix product"),
        ("maxvit_t", "blocks.0.layers.0.layers.MBconv.layers.squeeze_excitation.avgpool", "pool"),
    ],
)
def test_a_global_field_comes_with_its_reason(name, first_global, reason):
    with torch.device("cpu" if "swin" in name or "maxvit" in name else "meta"):
        model = model_of(name)
    fields = receptive_field(model)
    first = next(field for field in fields.values() if field.is_global)
    assert first.name == first_global
    assert reason in first.reason
    assert list(fields.values())[-1].is_global


CLASSIFIERS = torchvision.models.list_models(module=torchvision.models)
SIDES = {"inception_v3": 299, "swin_v2_b": 256, "swin_v2_s": 256, "swin_v2_t": 256}  # pixels


@pytest.mark.weekly
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_of_torchvision_agrees_with_its_gradients(name):
    if name == "regnet_y_128gf":
        pytest.skip("2.6 GB of weights; its smaller sisters have the same code")
    model = model_of(name)
    size = (3, SIDES.get(name, 224), SIDES.get(name, 224))
    fields = receptive_field(model, size)
    seen = list(fields.values())
    assert len(seen) > 20 and seen[-1].is_global  # logits depend on the whole image
    assert all(field.reason for field in seen if field.is_global)
    modules = dict(model.named_modules())
    maps = [n for n, f in fields.items() if n in modules and f.shape[1:] == f.positions]
    last = next((n for n in reversed(maps) if not fields[n].is_global), maps[-1])
    rows, columns = fields[last].positions
    assert_agrees(model, size, last, fields, [(0, columns - 1), (rows // 2, columns // 2)])


# ---- padding that depends on the size: TensorFlow's "same" in timm ---------------------------


def lite0() -> nn.Module:
    """The default backbone's architecture, with random weights."""
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", pretrained=False)


@pytest.mark.parametrize("size", [(3, 64, 64), (3, 75, 63), (3, 66, 97)])
def test_the_default_backbone_agrees_with_its_gradients_whatever_the_size(size):
    model = lite0()
    fields = receptive_field(model, size)
    for layer in ("conv_stem", "blocks.1.0.conv_dw", "blocks.2", "blocks.4", "conv_head"):
        rows, columns = fields[layer].positions
        positions = [(0, columns - 1), (rows - 1, 0), (rows // 2, columns // 2)]
        assert_agrees(model, size, layer, fields, positions)


def test_the_default_backbone_pads_below_and_right_where_the_size_is_even():
    model = lite0()
    even, odd = (receptive_field(model, (3, side, side)) for side in (224, 225))
    assert (even["conv_stem"].start, odd["conv_stem"].start) == ((0, 0), (-1, -1))
    assert even["blocks"].size == odd["blocks"].size == (851, 851)
    assert even["blocks"].stride == (32, 32)
    assert_agrees(model, (3, 224, 224), "conv_head", even, [(3, 3)])
    assert_agrees(model, (3, 160, 160), "blocks.3", None, [(0, 9), (5, 5)])
    last = list(even.values())[-1]
    assert last.name == "classifier" and last.reason == "global_pool.pool: global pooling"


def test_code_may_branch_and_count_by_the_size_of_the_image():
    class Halving(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            while min(x.shape[2:]) > 4:
                x = F.pad(self.conv(x), (0, x.shape[3] % 2, 0, x.shape[2] % 2))[..., ::2, ::2]
            return x

    sizes = {
        side: [field.size[0] for field in receptive_field(Halving(), (1, side, side)).values()]
        for side in (4, 8, 13)
    }
    assert sizes == {4: [], 8: [3, 3, 3], 13: [3, 3, 3, 7, 7, 7]}


def test_a_channel_of_a_concatenation_keeps_its_own_field():
    class TwoBranches(nn.Module):
        def __init__(self):
            super().__init__()
            self.small, self.large = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 5, padding=2)
            self.after = nn.Identity()

        def forward(self, x):
            return self.after(torch.cat([self.small(x), self.large(x)], 1)[:, :2])

    field = receptive_field(TwoBranches(), (1, 12, 12))["after"]
    assert field.at(6, 6) == Box(6, 6, 7, 7)
    assert field.size == (5, 5)  # the uncut field belongs to the whole concatenation


# ---- random networks ------------------------------------------------------------------------


class Crop(nn.Module):
    def forward(self, x):
        return x[:, :, 1:, :-1]


class EverySecond(nn.Module):
    def forward(self, x):
        return x[..., ::2, 1::2]


class Sum(nn.Module):
    """A residual connection around a layer that keeps the size."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return x + self.layer(x)


class Skip(nn.Module):
    """One stage of a U-Net: down, up, and the skip connection concatenated."""

    def __init__(self, up):
        super().__init__()
        self.down = nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(4, 4, 3, padding=1))
        self.up, self.mix = up, nn.Conv2d(8, 4, 1)

    def forward(self, x):
        y = self.up(self.down(x))[..., : x.shape[2], : x.shape[3]]
        return self.mix(torch.cat([x, y], 1))


class Unpool(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x):
        y, indices = self.pool(x)
        return self.unpool(y, indices, output_size=x.shape[-2:])


small, sides = st.integers(1, 3), st.tuples(st.integers(1, 4), st.integers(1, 4))
strides, paddings = st.tuples(st.integers(1, 2), st.integers(1, 3)), st.integers(0, 2)
LAYERS = st.one_of(
    st.builds(lambda k, s, p, d: nn.Conv2d(4, 4, k, s, p, d), sides, strides, paddings, small),
    st.builds(lambda k, d: nn.Conv2d(4, 4, k, padding="same", dilation=d), sides, small),
    st.builds(lambda k, g: nn.Conv2d(4, 4, k, groups=g), sides, st.sampled_from([2, 4])),
    st.builds(lambda k, s, p: nn.ConvTranspose2d(4, 4, k, s, min(p, 1)), sides, strides, paddings),
    st.builds(
        lambda k, s, c, p: nn.MaxPool2d(k, s, p * (k // 2), ceil_mode=c),
        small, small, st.booleans(), st.integers(0, 1),
    ),
    st.builds(lambda k, s, c: nn.AvgPool2d(k, s, ceil_mode=c), small, small, st.booleans()),
    st.builds(lambda k, c: nn.LPPool2d(2, k, ceil_mode=c), small, st.booleans()),
    st.builds(nn.AdaptiveAvgPool2d, st.tuples(st.integers(2, 9), st.integers(2, 9))),
    st.builds(lambda f: nn.Upsample(scale_factor=f), st.integers(2, 3)),
    st.builds(lambda s: nn.Upsample(size=(s, s + 1)), st.integers(4, 13)),
    st.builds(lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
    st.builds(lambda: nn.PixelShuffle(2)).map(lambda s: nn.Sequential(s, nn.Conv2d(1, 4, 1))),
    st.builds(lambda p: nn.ZeroPad2d(p), st.tuples(*[st.integers(-1, 2)] * 4)),
    st.builds(lambda kind: kind(1), st.sampled_from([nn.ReflectionPad2d, nn.ReplicationPad2d])),
    st.builds(lambda: nn.CircularPad2d(1)),
    st.builds(lambda: nn.Sequential(nn.ChannelShuffle(2), nn.Conv2d(4, 4, 3, groups=4))),
    st.builds(lambda d: Sum(nn.Conv2d(4, 4, 3, padding=d, dilation=d)), small),
    st.sampled_from([nn.Upsample(scale_factor=2), nn.ConvTranspose2d(4, 4, 2, 2)]).map(Skip),
    st.sampled_from([Crop, EverySecond, Unpool, nn.ReLU]).map(lambda kind: kind()),
)  # fmt: skip


def test_a_window_larger_than_its_input_counts_where_torch_rounds_up():
    pool = nn.MaxPool2d(2, stride=2, ceil_mode=True)
    assert pool(torch.zeros(1, 1, 1, 4)).shape == (1, 1, 1, 2)
    (field,) = list(receptive_field(nn.Sequential(pool), (1, 1, 4)).values())[-1:]
    assert field.shape == (1, 1, 2)
    with pytest.raises(FieldError, match="a window of 2 does not fit 1 pixels"):
        receptive_field(nn.Sequential(nn.MaxPool2d(2)), (1, 1, 4))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(LAYERS, min_size=1, max_size=5), st.integers(8, 15), st.integers(8, 15))
def test_random_networks_agree_with_their_gradients(layers, height, width):
    model, size = nn.Sequential(*layers), (4, height, width)
    try:
        output = model(torch.zeros(1, *size))
    except (RuntimeError, ValueError):
        return  # a layer does not fit the size that is left over
    if output.numel() == 0 or max(output.shape[2:]) > 60:
        return
    fields = receptive_field(model, size)
    last = str(len(layers) - 1)
    assert (1, *fields[last].shape) == output.shape
    assert_agrees(model, size, last, fields)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 2), st.integers(0, 3), st.integers(1, 3)),
        min_size=1,
        max_size=5,
    )
)
def test_chains_agree_with_the_closed_formula(plan):
    model = nn.Sequential(*[nn.Conv2d(1, 1, k, s, p, d) for k, s, p, d in plan])
    before = [prod(s for _, s, _, _ in plan[:i]) for i in range(len(plan))]
    size = 1 + sum((k - 1) * d * b for (k, _, _, d), b in zip(plan, before, strict=True))
    start = -sum(p * b for (_, _, p, _), b in zip(plan, before, strict=True))
    field = list(receptive_field(model, (1, 450, 470)).values())[-1]
    assert field.size == (size, size)
    assert field.start == (start, start)
    assert field.stride == (prod(s for _, s, _, _ in plan),) * 2
    assert field.center == (start + Fraction(size - 1, 2),) * 2


@pytest.mark.parametrize(
    "layer",
    [
        nn.Upsample(size=(9, 17), mode="bilinear", align_corners=True),
        nn.Upsample(size=(9, 17), mode="bicubic", align_corners=True),
        nn.Upsample(scale_factor=(2, 4), mode="bilinear"),
        nn.Upsample(scale_factor=(2, 4), mode="bicubic"),
        nn.Upsample(scale_factor=0.5, mode="bilinear"),
        nn.Upsample(size=(7, 8), mode="nearest-exact"),
        nn.Upsample(scale_factor=1.5),
        nn.AdaptiveMaxPool2d((3, 4)),
        nn.MaxPool2d(3, 2, dilation=2, padding=1),
        nn.ConvTranspose2d(1, 1, 3, 3, 1, output_padding=1, dilation=2),
        nn.ConvTranspose2d(1, 1, 1, 2),
        nn.Conv2d(1, 1, 3, padding=2, padding_mode="circular"),
        nn.Upsample(size=(7, 4), mode="area"),
    ],
    ids=repr,
)
def test_every_position_of_one_layer_agrees_with_gradients(layer):
    size = (1, 5, 9) if isinstance(layer, nn.Upsample) else (1, 11, 12)
    model = nn.Sequential(layer)
    rows, columns = receptive_field(model, size)["0"].positions
    everywhere = [(y, x) for y in range(rows) for x in range(columns)]
    assert_agrees(model, size, "0", positions=everywhere)


@pytest.mark.parametrize("length", range(1, 40))
def test_nearest_resampling_reads_the_pixels_that_torch_reads(length):
    pixels = torch.arange(length, dtype=torch.float64)[None, None]
    for outputs in range(1, 45):
        for mode in ("nearest", "nearest-exact"):
            taps = resampled(length, outputs, Fraction(length, outputs), mode, False)
            ours = [taps.of(i)[0] for i in range(outputs)]
            assert ours == F.interpolate(pixels, size=outputs, mode=mode).flatten().tolist()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["c3", "c5d2", "s2", "p2", "up"]), min_size=1, max_size=6))
def test_an_uncut_box_equals_the_clipped_one_wherever_it_lies_inside(plan):
    kinds = {
        "c3": lambda: nn.Conv2d(1, 1, 3, padding=1),
        "c5d2": lambda: nn.Conv2d(1, 1, 5, padding=4, dilation=2),
        "s2": lambda: nn.Conv2d(1, 1, 3, 2, 1),
        "p2": lambda: nn.MaxPool2d(2, ceil_mode=True),
        "up": lambda: nn.Upsample(scale_factor=2),
    }
    fields = receptive_field(nn.Sequential(*[kinds[k]() for k in plan]), (1, 90, 90))
    field = fields[str(len(plan) - 1)]
    for y in range(field.positions[0]):
        uncut, clipped = field.at(y, y, clipped=False), field.at(y, y)
        assert uncut.height <= field.size[0]
        assert uncut.top <= clipped.top <= clipped.bottom <= uncut.bottom
        if uncut.top >= 0 and uncut.bottom <= 90:
            assert clipped == uncut


# ---- single operations ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.InstanceNorm2d(4), "instance statistics"),
        (nn.GroupNorm(2, 4), "group statistics"),
        (nn.BatchNorm2d(4, track_running_stats=False), "batch statistics"),
        (nn.LayerNorm((4, 8, 8)), "layer statistics"),
        (nn.AdaptiveMaxPool2d(1), "global pooling"),
        (nn.Sequential(nn.Flatten(), nn.Linear(256, 3)), "1: a fully connected layer"),
    ],
    ids=repr,
)
def test_statistics_over_all_positions_make_the_field_global(layer, reason):
    field = receptive_field(nn.Sequential(nn.Conv2d(4, 4, 1), layer), (4, 8, 8))["1"]
    assert field.is_global
    assert reason in field.reason
    assert field.at(0, 0) == Box(0, 0, 8, 8)


def test_batch_norm_with_stored_statistics_sees_single_pixels_even_in_a_model_in_training():
    field = receptive_field(nn.Sequential(nn.BatchNorm2d(4)).train(), (4, 8, 8))["0"]
    assert field.size == (1, 1)


def test_statistics_that_are_stored_see_single_pixels_and_types_join_no_branches():
    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.InstanceNorm2d(1, track_running_stats=True)
            self.wide = nn.Conv2d(1, 1, 5, padding=2)

        def forward(self, x):
            return self.norm(x).type_as(self.wide(x))

    fields = receptive_field(Cast(), (1, 9, 9))
    assert fields["type_as"].size == (1, 1)
    assert fields["type_as"].at(4, 4) == Box(4, 4, 5, 5)


def test_a_position_that_sees_only_padding_has_an_empty_box():
    field = receptive_field(nn.Sequential(nn.Conv2d(1, 1, 1, padding=1)), (1, 5, 5))["0"]
    assert field.at(0, 0) == Box(0, 0, 0, 0)
    assert field.at(0, 0, clipped=False) == Box(-1, -1, 0, 0)


def test_upsampling_gives_fractional_strides():
    field = receptive_field(nn.Sequential(nn.Upsample(scale_factor=2)), (1, 4, 4))["0"]
    assert field.stride == (Fraction(1, 2), Fraction(1, 2))
    assert [field.at(y, 0).top for y in range(4)] == [0, 0, 1, 1]


def test_a_module_that_runs_twice_has_two_fields_and_functions_have_names():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return F.relu(self.conv(self.conv(x)) * 2)

    fields = receptive_field(Twice(), (1, 9, 9))
    assert list(fields) == ["conv", "conv:2", "mul", "relu"]
    assert [field.size[0] for field in fields.values()] == [3, 5, 5, 5]


def test_what_has_no_rows_and_columns_says_so():
    fields = receptive_field(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), (1, 6, 6))
    with pytest.raises(ValueError, match="no rows and columns"):
        fields["1"].at(0, 0)
    with pytest.raises(IndexError, match=r"\(4, 0\) is outside of 0's 4×4 positions"):
        fields["0"].at(4, 0)
    with pytest.raises(KeyError, match="no layer 'conv1'"):
        fields["conv1"]


def test_the_table_names_layer_size_stride_start_and_reason():
    with torch.device("meta"):
        fields = receptive_field(model_of("resnet18"))
    lines = str(fields.outline()).splitlines()
    assert lines[0].split() == ["layer", "operation", "output", "size", "stride", "start"]
    assert [line.split()[0] for line in lines[1:]] == [
        *["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"],
        *["avgpool", "flatten", "fc"],
    ]
    assert lines[8].split()[1:] == ["Sequential", "512×7×7", "435×435", "32×32", "−217,", "−217"]
    assert lines[9].endswith("avgpool: global pooling")


# ---- errors and side effects ----------------------------------------------------------------


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def unpooled(x, **size):
    pooled, places = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(pooled, places, 2, **size)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: unpooled(x[..., :6, :8]),
        lambda x: unpooled(x, output_size=(7, 9)),
        lambda x: F.local_response_norm(torch.cat([x, F.pad(x, (1, 1, 1, 1))[..., 2:, 2:]], 1), 2),
        lambda x: torch.stack([x[..., 1:], x[..., :-1]]).std(dim=0),
        lambda x: torch.max(x[..., 2:], x[..., :-2]),
        lambda x: F.interpolate(x, scale_factor=0.5, mode="area"),
    ],
    ids=["unpooling", "to a size", "response norm", "spread", "maximum", "area"],
)
def test_every_position_of_a_function_depends_on_its_box(function):
    """Change one pixel after another, in many pictures, and see which outputs change."""
    fields = receptive_field(Calls(function), (1, 7, 9))
    field = fields[list(fields)[-1]]
    rows, columns = field.positions
    seen = torch.zeros(rows, columns, 7, 9, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        x = torch.rand(1, 1, 7, 9, generator=generator)
        before = function(x)
        for y, x_ in product(range(7), range(9)):
            changed = x.clone()
            changed[0, 0, y, x_] = 3 * torch.rand((), generator=generator) - 1
            seen[:, :, y, x_] |= (function(changed) != before)[0].any(dim=0)
    for position in product(range(rows), range(columns)):
        assert field.at(*position) == bounds(seen[position]), position


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda x: torch.fft.fft2(x), "fft_fft2"),
        (lambda x: x.cumsum(2), "cumsum"),
        (lambda x: F.grid_sample(x, torch.zeros(1, 4, 4, 2)), "grid_sample"),
        (lambda x: F.interpolate(x, size=4, mode="bilinear", antialias=True), "antialias"),
        (lambda x: x[:, :, 1:].add_(torch.cat([x, x], 2)[:, :, 3:10]), "view"),
        (lambda x: x[:, [0]][x > 0], "depend on the picture"),
        (lambda x: F.conv2d(x, torch.zeros(1, 1, 20, 20)), "does not fit"),
    ],
)
def test_an_operation_without_a_rule_is_an_error_that_names_it_and_its_line(function, named):
    with pytest.raises(FieldError, match=named) as error:
        receptive_field(Calls(function), (1, 8, 8))
    assert "test_receptive_field.py:" in str(error.value)


def test_writing_into_a_view_is_said_in_words():
    with pytest.raises(FieldError, match="there is no rule for 'add_ on a view of another tensor'"):
        receptive_field(
            Calls(lambda x: x[:, :, 1:].add_(torch.cat([x, x], 2)[:, :, 3:10])), (1, 8, 8)
        )


def test_writing_over_a_whole_tensor_moves_its_field():
    """In place: the sum of a tensor and its neighbor is what all names of the tensor see."""
    conv = nn.Conv2d(1, 1, 3, padding=1)

    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            total = self.conv(x)
            same = total
            total.add_(self.conv(self.conv(x)))
            return same

    assert receptive_field(Adds(), (1, 12, 12))["add"].size == (5, 5)


def test_the_line_that_is_named_is_the_student_s_and_not_torch_s():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.Sequential(nn.Conv2d(1, 1, 3), nn.FractionalMaxPool2d(2, 3))

        def forward(self, x):
            return self.pool(x)

    with pytest.raises(FieldError) as error:
        receptive_field(nn.Sequential(Pooled()), (1, 8, 8))
    assert f"at {__file__}:" in str(error.value)
    assert "(return self.pool(x))" in str(error.value)
    with pytest.raises(FieldError) as error:  # only torch's own code
        receptive_field(nn.Sequential(nn.FractionalMaxPool2d(2, 3)), (1, 8, 8))
    assert "torch/nn" not in str(error.value)


@torch.jit.script
def compiled(x):
    return x.relu() + x.mean()


@pytest.mark.parametrize(
    "hidden", [compiled, torch.jit.script(nn.Sequential(nn.Conv2d(1, 1, 3)))], ids=["code", "layer"]
)
def test_compiled_code_is_refused_and_not_taken_for_a_constant(hidden):
    model = nn.Sequential(nn.Conv2d(1, 1, 3), Calls(hidden))
    with pytest.raises(FieldError, match="there is no rule for"):
        receptive_field(model, (1, 8, 8))


def test_an_autograd_function_is_followed_into_its_code():
    class Shifted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x[..., 1:] + x[..., :-1]

    fields = receptive_field(Calls(Shifted.apply), (1, 8, 8))
    assert fields["add"].size == (1, 2)


def test_an_unknown_layer_is_named():
    with pytest.raises(FieldError, match=r"layer '0' \(FractionalMaxPool2d\).*fractional_max"):
        receptive_field(nn.Sequential(nn.FractionalMaxPool2d(2, 3)), (1, 8, 8))


def test_a_course_that_depends_on_the_picture_is_an_error_that_names_the_line():
    def branch(x):
        return x if x.sum() > 0 else -x

    with pytest.raises(FieldError, match=r"field.py:\d+ \(return x.*values of pixels"):
        receptive_field(Calls(branch), (1, 8, 8))


def test_the_model_is_left_as_it_was():
    model = model_of("mobilenet_v2", width_mult=0.25).train()
    model.features[3].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    called = []
    model.features[0].register_forward_hook(lambda *args: called.append(args))
    model.features[0][0].register_forward_hook(lambda *args: called.append(args))
    generator = torch.get_rng_state()
    receptive_field(model)
    assert not called
    assert torch.equal(generator, torch.get_rng_state())
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# ---- the effective field --------------------------------------------------------------------


def chain(weight: float = 1.0) -> nn.Module:
    layers = [nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(12)]
    for layer in layers:
        nn.init.constant_(layer.weight, weight)
    return nn.Sequential(*layers)


def sigma(seen: torch.Tensor) -> float:
    """Standard deviation over the rows of a map that sums to one."""
    mass, place = seen.sum(1), torch.arange(len(seen), dtype=seen.dtype)
    return float((mass * (place - (mass * place).sum()).square()).sum().sqrt())


def test_the_effective_field_of_a_uniform_chain_is_the_gaussian_of_the_central_limit_theorem():
    seen = effective_receptive_field(chain(), "11", input_size=(1, 65, 65))
    assert sigma(seen.map) == pytest.approx((12 * 2 / 3) ** 0.5)  # variances of 3-pixel kernels
    assert sigma(seen.map.T) == pytest.approx((12 * 2 / 3) ** 0.5)
    assert seen.theoretical == (25, 25)
    assert seen.map.sum().item() == pytest.approx(1)
    assert seen.map.argmax().item() == 32 * 65 + 32
    inner = seen.map[32 - 5 : 32 + 6, 32 - 5 : 32 + 6].sum()
    assert seen.width == 13 and inner < 0.95 < seen.map[32 - 6 : 32 + 7, 32 - 6 : 32 + 7].sum()


def test_a_seed_repeats_the_effective_field():
    model = nn.Sequential(chain(0.1), nn.Tanh())
    maps = [
        effective_receptive_field(model, "1", input_size=(1, 33, 33), seed=seed).map
        for seed in (0, 0, 1)
    ]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


def test_the_effective_field_of_the_default_backbone_lies_inside_the_theoretical_one():
    model, layer = lite0(), "blocks.1"
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    seen = effective_receptive_field(model, layer, images)
    box = receptive_field(model, (3, 96, 96))[layer].at(12, 12)
    assert seen.theoretical == (box.height, box.width) == (19, 19)
    assert bounds(seen.map > 0) == box
    assert 1 < seen.width <= 19


def test_the_effective_field_of_a_dead_network_is_an_error():
    with pytest.raises(ValueError, match="all gradients are zero"):
        effective_receptive_field(chain(0.0), "11", torch.ones(2, 1, 16, 16))


# ---- sequences and volumes ------------------------------------------------------------------


def box_of(mask: torch.Tensor) -> Box:
    """Return the smallest box around the pixels that are true, on any number of axes."""
    seen = mask.nonzero()
    if len(seen) == 0:
        return Box(*[0] * 2 * mask.ndim)
    return Box(*seen.min(0).values.tolist(), *(seen.max(0).values + 1).tolist())


SEQUENCE = {
    "conv": nn.Conv1d(4, 4, 5, stride=2, padding=2),
    "same": nn.Conv1d(4, 4, 4, padding="same", groups=2),
    "norm": nn.BatchNorm1d(4),
    "max": nn.MaxPool1d(3, 2, dilation=2, ceil_mode=True),
    "average": nn.AvgPool1d(2, 1),
    "power": nn.LPPool1d(2, 3, ceil_mode=True),
    "adaptive": nn.AdaptiveMaxPool1d(5),
    "linear": nn.Upsample(scale_factor=2, mode="linear"),
    "nearest": nn.Upsample(size=29),
    "transposed": nn.ConvTranspose1d(4, 4, 4, 3, 1),
    "reflected": nn.ReflectionPad1d(2),
    "residual": Sum(nn.Conv1d(4, 4, 3, padding=1)),
}
VOLUME = {
    "conv": nn.Conv3d(4, 4, (3, 5, 1), stride=(1, 2, 2), padding=1),
    "norm": nn.Sequential(nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 2)),
    "max": nn.MaxPool3d((2, 3, 1), ceil_mode=True),
    "average": nn.AvgPool3d((1, 2, 3)),
    "adaptive": nn.AdaptiveAvgPool3d((3, 4, 2)),
    "linear": nn.Upsample(scale_factor=(1, 2, 3), mode="trilinear"),
    "transposed": nn.ConvTranspose3d(4, 4, (2, 3, 1), (2, 3, 1)),
    "replicated": nn.ReplicationPad3d((1, 0, 2, 0, 0, 1)),
}


@pytest.mark.parametrize("name", SEQUENCE)
def test_a_sequence_agrees_with_its_gradients_at_every_position(name):
    model = nn.Sequential(nn.Conv1d(2, 4, 3, dilation=2), SEQUENCE[name], nn.Conv1d(4, 1, 2))
    field = receptive_field(model, (2, 31))["2"]
    assert field.shape == model(torch.zeros(1, 2, 31)).shape[1:]
    assert len(field.size) == len(field.stride) == len(field.start) == len(field.center) == 1
    for i in range(*field.positions):
        assert field.at(i) == box_of(gradient_support(model, (2, 31), "2", (i,))), i


@pytest.mark.parametrize("name", VOLUME)
def test_a_volume_agrees_with_its_gradients(name):
    model, size = nn.Sequential(nn.Conv3d(1, 4, 3), VOLUME[name]), (1, 8, 13, 12)
    field = receptive_field(model, size)["1"]
    assert field.shape == model(torch.zeros(1, *size)).shape[1:]
    for position in product(*({0, count // 2, count - 1} for count in field.positions)):
        support = gradient_support(model, size, "1", position)
        assert field.at(*position) == box_of(support), position


def test_unpooling_of_a_sequence_agrees_with_its_gradients():
    class Unpooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool1d(3, 2, return_indices=True)
            self.unpool = nn.MaxUnpool1d(3, 2)

        def forward(self, x):
            return self.unpool(*self.pool(x), output_size=x.shape[-1:])

    field = receptive_field(Unpooled(), (1, 12))["unpool"]
    for i in range(12):
        assert field.at(i) == box_of(gradient_support(Unpooled(), (1, 12), "unpool", (i,)))


def test_a_network_for_video_has_one_number_per_axis():
    with torch.device("meta"):
        fields = receptive_field(torchvision.models.video.r3d_18(), (3, 16, 112, 112))
    assert fields["layer4"].size == (109, 219, 219)
    assert "stem     BasicStem          64×16×56×56  3×7×7  " in str(fields.outline())
    assert fields["avgpool"].is_global


def test_statistics_over_a_sequence_make_its_field_global():
    layers = [nn.InstanceNorm1d(2), nn.GroupNorm(1, 2), nn.AdaptiveAvgPool1d(1)]
    layers.append(nn.BatchNorm1d(2, track_running_stats=False))
    for layer in layers:
        field = receptive_field(nn.Sequential(nn.Conv1d(2, 2, 3), layer), (2, 9))["1"]
        assert field.is_global and field.at(0) == Box(0, 9)


def test_a_layer_for_sequences_may_look_along_the_channels_of_an_image():
    """Efficient channel attention: a convolution over the averages of neighboring channels."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.mix = nn.Conv2d(3, 6, 3), nn.Conv1d(1, 1, 3, padding=1)

        def forward(self, x):
            x = self.conv(x)
            weights = self.mix(x.mean((2, 3))[:, None])  # (1, 1, 6)
            return x * weights.sigmoid().transpose(1, 2)[..., None]

    assert receptive_field(Attention(), (3, 12, 12))["mul"].is_global
    assert receptive_field(Attention(), (3, 12, 12), ignore_global=True)["mul"].size == (3, 3)


def test_a_box_has_starts_and_stops_on_any_number_of_axes():
    box, line = Box(0, 2, 5, 8), Box(3, 16)
    assert (box.top, box.left, box.bottom, box.right) == (0, 2, 5, 8) == box
    assert (line.size, line.center, line.width, str(line)) == ((13,), (9,), 13, "Box(3:16)")
    assert copy.deepcopy(box) == pickle.loads(pickle.dumps(box)) == box
    assert str(Box(0, 1, 2, 3, 4, 5)) == "Box(0:3, 1:4, 2:5)"


@pytest.mark.parametrize("size", [(3,), (1, 2, 3, 4, 5), (3, 0, 4)])
def test_a_size_that_is_none_is_refused_with_those_that_are(size):
    with pytest.raises(ValueError, match=r"\(channels, length\) or \(channels, depth"):
        receptive_field(nn.Identity(), size)


def test_the_effective_field_of_a_sequence():
    model = nn.Sequential(*[nn.Conv1d(1, 1, 3, padding=1) for _ in range(8)])
    seen = effective_receptive_field(model, "7", input_size=(1, 41))
    assert seen.map.shape == (41,) and seen.theoretical == (17,) and seen.width < 17


# ---- the convolutional path beside what sees everything -------------------------------------


def without_excitation(model: nn.Module) -> nn.Module:
    """Take squeeze and excitation out of a network of torchvision."""
    kind = torchvision.ops.SqueezeExcitation
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, nn.Identity())
    return model


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v3_large", "mobilenet_v3_small"])
def test_the_convolutional_path_is_the_network_without_squeeze_and_excitation(name):
    with torch.device("meta"):
        model, plain = model_of(name), without_excitation(model_of(name))
    path, expected = receptive_field(model, ignore_global=True), receptive_field(plain)
    assert not any(field.operation == "SqueezeExcitation" for field in expected.values())
    for layer in [name for name in expected if name.startswith("features")]:
        ours, theirs = path[layer], expected[layer]
        assert (ours.size, ours.stride, ours.start) == (theirs.size, theirs.stride, theirs.start)
        assert not ours.is_global
        assert ours.at(*(n // 2 for n in ours.positions)) == theirs.at(
            *(n // 2 for n in theirs.positions)
        )
    assert path["classifier"].is_global and path["classifier"].size == (0, 0)


def test_without_the_normalization_of_the_whole_map_pixels_see_themselves():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3))
    assert receptive_field(model, (4, 9, 9))["2"].is_global
    assert receptive_field(model, (4, 9, 9), ignore_global=True)["2"].size == (5, 5)


# ---- ordinary code --------------------------------------------------------------------------


class Ordinary(nn.Module):
    """Assertions, decisions and loops on shapes, a default argument, a dictionary as output."""

    def __init__(self):
        super().__init__()
        self.first, self.next = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2)

    def forward(self, x, rounds=3, scale=True):
        batch, channels, height, width = x.shape
        assert channels == 3 and x.dim() == 4 and x.dtype == torch.float32, x.shape
        x = self.first(x) if min(height, width) > 10 else x
        for _ in range(rounds):
            x = self.next(x) if x.size(-1) > 20 else x
        if scale:
            x = x * torch.ones(x.shape[-2:], device=x.device)
        return {"logits": x, "hidden": None, "size": (batch, height)}


@pytest.mark.parametrize(("side", "field"), [(16, 3), (32, 5), (64, 9)])
def test_decisions_on_shapes_are_taken_for_the_given_size(side, field):
    fields = receptive_field(Ordinary(), (3, side, side))
    assert fields["mul"].size == (field, field)
    with pytest.raises(FieldError, match=r"AssertionError|1, 4, 16, 16"):
        receptive_field(Ordinary(), (4, 16, 16))


def test_what_cannot_be_followed_can_be_measured_and_the_error_says_so():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), Calls(lambda x: x.cumsum(2)))
    with pytest.raises(FieldError, match="gradient_support measures the field of one position"):
        receptive_field(model, (1, 8, 8))
    assert bounds(gradient_support(model, (1, 8, 8), "1", (2, 2))) == Box(0, 2, 5, 5)
