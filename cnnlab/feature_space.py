"""The space of features: who is whose neighbour, and whether its axes are special."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.backbones import find_head
from cnnlab.evaluation import model_device

__all__ = ["coherence", "features_of", "neighbour_agreement"]


@torch.no_grad()
def features_of(model: nn.Module, X: Tensor) -> Tensor:
    """Return what the head of the model receives, in eval mode.

    Parameters
    ----------
    model : nn.Module
        A network with a head, see ``find_head``.
    X : Tensor
        Preprocessed pictures, shape (B, 3, H, W).

    Returns
    -------
    Tensor
        Shape (B, D), on the CPU.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> features_of(TinyResNet(), torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 256])
    """
    received: list[Tensor] = []
    _, head = find_head(model)
    hook = head.register_forward_pre_hook(lambda _head, inputs: received.append(inputs[0].cpu()))
    was_training = model.training
    model.eval()
    try:
        for batch in X.split(32):
            model(batch.to(model_device(model)))
    finally:
        model.train(was_training)
        hook.remove()
    return torch.cat(received).flatten(1)


def neighbour_agreement(features: Tensor, labels: Tensor, count: int = 5) -> float:
    """Return the share of each picture's nearest neighbours that have its label.

    Parameters
    ----------
    features : Tensor
        Shape (N, D).
    labels : Tensor
        Shape (N,).
    count : int
        Neighbours of each picture, which does not count as its own.

    Examples
    --------
    >>> features, labels = torch.tensor([[0.0], [1.0], [9.0], [8.0]]), torch.tensor([0, 0, 1, 1])
    >>> neighbour_agreement(features, labels, count=1)
    1.0
    """
    apart = torch.cdist(features, features).fill_diagonal_(torch.inf)
    neighbours = apart.topk(count, largest=False).indices  # (N, count)
    return (labels[neighbours] == labels[:, None]).double().mean().item()


def coherence(features: Tensor, directions: Tensor, count: int = 9) -> Tensor:
    """Return how alike the pictures are that lie furthest along each direction.

    Source of the question: Szegedy et al. (2014), *ICLR*, section 3.

    Parameters
    ----------
    features : Tensor
        Shape (N, D).
    directions : Tensor
        Shape (D, K); the identity stands for the channels themselves.
    count : int
        Pictures to compare for each direction.

    Returns
    -------
    Tensor
        Mean cosine similarity of their centred features, shape (K,); about 0 for random pictures.

    Examples
    --------
    >>> coherence(torch.randn(50, 8), torch.eye(8)).shape
    torch.Size([8])
    """
    centred = features - features.mean(dim=0)
    unit = F.normalize(centred, dim=1)
    top = (centred @ directions).topk(count, dim=0).indices.T  # (K, count)
    alike = unit[top] @ unit[top].mT  # (K, count, count)
    return (alike.sum(dim=(1, 2)) - count) / (count * (count - 1))  # without self-similarity
