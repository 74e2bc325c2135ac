"""The U-Net: shapes, skips, three ways up, and what it is known to weigh."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cnnlab import UNet, show_source
from cnnlab.models.unet import UPSAMPLERS, DoubleConv, Down, Up, upsampling_layer

SMALL = (4, 8, 16)


def outputs_of(model: nn.Module, x: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """Run the model and return the output shape of each block, without the batch."""
    shapes = {}
    for name, module in model.named_modules():
        if isinstance(module, (DoubleConv, Down, Up)):
            module.register_forward_hook(
                lambda m, inputs, output, name=name: shapes.update({name: tuple(output.shape[1:])})
            )
    model(x)
    return shapes


def test_every_level_has_half_the_size_and_twice_the_channels_and_back():
    shapes = outputs_of(UNet(), torch.zeros(1, 3, 64, 48))
    assert shapes["stem"] == (16, 64, 48)
    assert [shapes[f"downs.{i}"] for i in range(3)] == [(32, 32, 24), (64, 16, 12), (128, 8, 6)]
    assert [shapes[f"ups.{i}"] for i in range(3)] == [(64, 16, 12), (32, 32, 24), (16, 64, 48)]


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_one_answer_a_pixel_and_every_weight_learns(upsampler, skips):
    model = UNet(5, SMALL, upsampler, skips)
    logits = model(torch.rand(2, 3, 16, 24))
    assert logits.shape == (2, 5, 16, 24)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("block", [DoubleConv, Down, Up])
def test_a_block_fits_on_a_slide(block, capsys):
    show_source(block)
    assert len(capsys.readouterr().out.strip().splitlines()) <= 15


def test_the_paper_s_widths_give_its_31_million_parameters():
    with torch.device("meta"):
        model = UNet(2, (64, 128, 256, 512, 1024), "transposed")
    assert sum(p.numel() for p in model.parameters()) == 31_037_698  # with BatchNorm and RGB


def test_the_network_can_be_traced_and_stays_the_same():
    x = torch.rand(1, 3, 16, 16)
    for skips in (True, False):
        model = UNet(2, SMALL, skips=skips).eval()
        assert torch.equal(torch.fx.symbolic_trace(model)(x), model(x))


def test_without_skips_the_convolutions_are_the_same_and_no_weights_are_lost():
    with_skips, without = UNet(2, SMALL), UNet(2, SMALL, skips=False)
    for a, b in zip(with_skips.ups, without.ups, strict=True):
        assert [p.shape for p in a.conv.parameters()] == [p.shape for p in b.conv.parameters()]
    sizes = [sum(p.numel() for p in model.parameters()) for model in (with_skips, without)]
    assert sizes[0] < sizes[1]


def test_only_skips_carry_what_the_lowest_level_has_lost():
    checkerboard = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8).expand(1, 3, 16, 16)
    for skips, differs in ((True, True), (False, False)):
        torch.manual_seed(0)
        model = UNet(2, SMALL, skips=skips).eval()
        for down in model.downs:  # a bottleneck that forgets everything
            down[1][-2].weight.data.zero_()
        a, b = model(checkerboard), model(-checkerboard)
        assert torch.allclose(a, b) != differs


@pytest.mark.parametrize("kind", ["nearest", "bilinear"])
def test_a_1x1_convolution_may_come_before_the_upsampling(kind):
    convolution, upsample = upsampling_layer(kind, 6, 4)
    x = torch.rand(2, 6, 5, 7)
    assert torch.allclose(upsample(convolution(x)), convolution(upsample(x)), atol=1e-6)


def test_an_unknown_upsampler():
    with pytest.raises(ValueError, match=r"'cubic'.* nearest, bilinear, transposed"):
        UNet(upsampler="cubic")


def test_a_side_that_cannot_be_halved_often_enough_breaks_at_the_skip():
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        UNet(2, SMALL)(torch.zeros(1, 3, 16, 18))
