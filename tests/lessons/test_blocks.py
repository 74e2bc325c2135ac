"""The blocks of lesson 02 against torchvision's own, and against what the papers claim."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlock
from torchvision.models.mobilenetv2 import InvertedResidual as TheirInvertedResidual
from torchvision.models.resnet import Bottleneck as TheirBottleneck
from torchvision.ops import SqueezeExcitation

from cnnlab import count_macs, receptive_field
from cnnlab.lessons import blocks
from cnnlab.lessons import blocks as late_blocks
from cnnlab.lessons.architectures import compare_costs
from cnnlab.lessons.transposed import conv_size


def with_the_same_numbers(ours: nn.Module, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Fill both with the same random numbers, in the order in which they hold them."""
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(mine.view_as(other))
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (blocks.Bottleneck(64, 16), TheirBottleneck(64, 16)),
        (
            blocks.Bottleneck(256, 128, groups=32),
            TheirBottleneck(256, 64, groups=32, base_width=4),
        ),
        (late_blocks.SqueezeExcite(64), SqueezeExcitation(64, 16)),
    ],
    ids=["ResNet", "ResNeXt", "squeeze and excite"],
)
def test_a_block_computes_what_torchvision_computes(ours: nn.Module, theirs: nn.Module) -> None:
    ours, theirs = with_the_same_numbers(ours, theirs)
    channels = next(p for p in ours.parameters() if p.ndim == 4).shape[1]
    x = torch.randn(2, channels, 9, 9)
    torch.testing.assert_close(ours(x), theirs(x))


def test_mobilenet_differs_only_in_the_ceiling_of_its_relu() -> None:
    ours, theirs = with_the_same_numbers(
        late_blocks.InvertedResidual(16), TheirInvertedResidual(16, 16, stride=1, expand_ratio=6)
    )
    x = torch.randn(2, 16, 9, 9) / 10  # small: torchvision's ReLU6 cuts at 6
    torch.testing.assert_close(ours(x), theirs(x))


def test_convnext_is_torchvisions_with_a_scale_of_one() -> None:
    theirs = CNBlock(16, layer_scale=1.0, stochastic_depth_prob=0.0)
    theirs.block[2].eps = 1e-5  # torchvision's LayerNorm divides by a little less
    ours = late_blocks.ConvNeXtBlock(16)
    own = [p for name, p in theirs.named_parameters() if name != "layer_scale"]
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), own, strict=True):
            other.copy_(mine)
    x = torch.randn(2, 16, 9, 9)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def side_of_field(block: nn.Module, channels: int) -> int:
    return list(receptive_field(block, (channels, 28, 28)).values())[-1].size[0]


def test_three_small_kernels_see_what_a_large_one_sees_for_27_49ths() -> None:
    small, large = blocks.small_kernels(64), blocks.conv(64, 64, 7)
    assert side_of_field(small, 64) == side_of_field(large, 64) == 7
    ratio = count_macs(small, (64, 28, 28)) / count_macs(large, (64, 28, 28))
    assert ratio == pytest.approx(27 / 49)


def test_what_the_other_blocks_save() -> None:
    def macs(block: nn.Module, channels: int) -> int:
        return count_macs(block, (channels, 28, 28))

    row_and_column = macs(blocks.factorized(32, 32), 32) / macs(blocks.conv(32, 32, 7), 32)
    assert row_and_column == pytest.approx(2 / 7)
    separable = macs(late_blocks.separable(96, 96), 96) / macs(blocks.conv(96, 96, 3), 96)
    assert separable == pytest.approx(1 / 9 + 1 / 96)  # Howard et al. (2017), section 3.1
    with_1x1, without = blocks.Inception(64, 64), blocks.Inception(64, 64, squeeze=None)
    assert macs(with_1x1, 64) < 0.4 * macs(without, 64)


def test_a_dense_block_keeps_everything_it_was_given() -> None:
    x = torch.rand(2, 16, 7, 7)
    out: Tensor = blocks.DenseBlock(16, 32)(x)
    assert torch.equal(out[:, :16], x) and out.shape[1] == 32


def test_patches_without_places_are_a_bag() -> None:
    encoder = late_blocks.PatchEncoder(32, patch=8).eval()
    x = torch.rand(1, 3, 32, 32)
    order = torch.randperm(16)
    columns = nn.functional.unfold(x, 8, stride=8)[:, :, order]
    shuffled = nn.functional.fold(columns, (32, 32), 8, stride=8)
    torch.testing.assert_close(encoder(shuffled), encoder(x)[:, order])
    places = torch.randn(1, 16, 32)
    assert not torch.allclose(encoder(shuffled, places), encoder(x, places)[:, order], atol=1e-2)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: blocks.Inception(16, 30), "30 channels cannot be shared among four"),
        (lambda: blocks.DenseBlock(16, 30), "4 layers cannot share 14 channels"),
    ],
)
def test_channels_that_do_not_divide_are_refused(build: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()  # type: ignore[operator]


def test_sizes_are_kept_or_halved() -> None:
    assert blocks.Reduction(8, 24)(torch.zeros(1, 8, 12, 12)).shape == (1, 32, 6, 6)
    side = conv_size(12, 3, 2)
    assert blocks.overlapping_pool()(torch.zeros(1, 8, 12, 12)).shape[-1] == side


def test_the_table_compares_with_its_first_line() -> None:
    table = compare_costs(
        {"a": blocks.conv(8, 8, 3), "all": late_blocks.SqueezeExcite(8)}, (8, 14, 14)
    ).splitlines()
    assert table[1].split() == ["a", "592", "100%", "0.11", "3"]
    assert table[2].endswith("all") and len({len(line) for line in table}) == 1
