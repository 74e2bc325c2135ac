"""Pictures made to excite a channel: without help they are noise, with help they can be read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cnnlab.evaluation import model_device
from cnnlab.inspection import recording

__all__ = ["high_frequency_share", "maximise_activation"]


def maximise_activation(
    model: nn.Module,
    layer: str,
    channels: Sequence[int],
    *,
    preprocess: nn.Module | None = None,
    size: int = 64,
    steps: int = 64,
    lr: float = 0.05,
    jitter: int = 4,
    fourier: bool = True,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Climb from noise to pictures that excite one channel each, all at once.

    Two aids make them readable (Olah, Mordvintsev and Schubert 2017, *Distill*). ``jitter``
    shifts the picture a little before each step, so that it must work wherever it lies.
    ``fourier`` changes waves instead of pixels, each in proportion to its length, so that
    steps go to coarse structure first.

    Parameters
    ----------
    model : nn.Module
        The network; its weights are not changed.
    layer : str
        Name of a layer that gives maps (B, C, h, w).
    channels : sequence of int
        One picture each.
    preprocess : nn.Module, optional
        From pixels in [0, 1] to the model's input.
    size : int
        Side of the pictures.
    steps : int
        Steps of Adam.
    lr : float
        Step size.
    jitter : int
        Largest shift in pixels; 0 for none.
    fourier : bool
        Whether to change waves instead of pixels.
    seed : int
        Of the first noise and the shifts.

    Returns
    -------
    pictures : Tensor
        Shape (len(channels), 3, size, size), in [0, 1].
    activations : Tensor
        Mean activation of each channel on its picture, shape (len(channels),).

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> pictures, reached = maximise_activation(TinyResNet(), "layer1", [0, 5], size=32, steps=2)
    >>> pictures.shape, reached.shape
    (torch.Size([2, 3, 32, 32]), torch.Size([2]))
    """
    device, generator = model_device(model), torch.Generator().manual_seed(seed)
    preprocess = preprocess or nn.Identity()
    shape = (
        (len(channels), 3, size, size // 2 + 1, 2) if fourier else (len(channels), 3, size, size)
    )
    point = (0.1 * torch.randn(shape, generator=generator)).to(device).requires_grad_()
    wavelengths = _wavelengths(size).to(device)
    optimizer = torch.optim.Adam([point], lr=lr)

    def pixels() -> Tensor:
        if not fourier:
            return torch.sigmoid(point)
        waves = torch.view_as_complex(point) * wavelengths
        return torch.sigmoid(torch.fft.irfft2(waves, s=(size, size), norm="ortho"))

    def reached(X: Tensor) -> Tensor:
        with recording(model, [layer]) as outputs:
            model(preprocess(X))
        maps = outputs[layer]  # (len(channels), C, h, w)
        return torch.stack([maps[i, channel].mean() for i, channel in enumerate(channels)])

    for _ in range(steps):
        down, right = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
        loss = -reached(pixels().roll((down, right), dims=(2, 3))).sum()
        (point.grad,) = torch.autograd.grad(loss, point)  # leaves the weights' gradients alone
        optimizer.step()
    with torch.no_grad():
        X = pixels()
        return X.cpu(), reached(X).cpu()


def _wavelengths(size: int) -> Tensor:
    """Return the length of each wave of rfft2, relative to their root mean square."""
    down, right = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    lengths = 1 / torch.hypot(down, right).clamp(min=1 / size)  # (size, size // 2 + 1)
    return lengths / lengths.square().mean().sqrt()


def high_frequency_share(pictures: Tensor) -> Tensor:
    """Return the share of each picture's energy in waves of four pixels or less, as (B,).

    Examples
    --------
    >>> chequers = torch.ones(1, 3, 8, 8)
    >>> chequers[..., ::2, ::2] = chequers[..., 1::2, 1::2] = 0
    >>> high_frequency_share(chequers).item()
    1.0
    """
    size = pictures.shape[-1]
    waves = pictures - pictures.mean(dim=(2, 3), keepdim=True)
    energy = torch.fft.fft2(waves).abs().square().sum(dim=1)  # (B, H, W)
    steps = torch.fft.fftfreq(size)
    high = torch.hypot(steps[:, None], steps[None]) >= 0.25
    return (energy * high).sum(dim=(1, 2)) / energy.sum(dim=(1, 2))
