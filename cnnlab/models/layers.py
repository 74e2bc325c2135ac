"""Layers of any network by name: find them, and record what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from cnnlab.evaluation import eval_mode

__all__ = ["find_modules", "record_outputs"]


@contextmanager
def record_outputs(
    model: nn.Module, layers: Sequence[str], keep: Callable[[Any], Any] | None = None
) -> Iterator[dict[str, list[Any]]]:
    """Record what the named layers return while the block runs, in eval mode.

    This is the only recorder by hooks in the package; the hooks are gone after the block.

    Parameters
    ----------
    model : nn.Module
        The network.
    layers : sequence of str
        Names as in ``model.named_modules()``.
    keep : callable, optional
        What to keep of each output, such as its mean. Without it, the output itself is kept,
        attached to the graph, and the network goes on with a copy of it: a ReLU in place after
        the layer does not change what was recorded.

    Yields
    ------
    dict
        Layer -> list with one entry for each call of it.

    Raises
    ------
    ValueError
        If the model has no layer of that name.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True))
    >>> with record_outputs(model, ["0"]) as outputs:
    ...     logits = model(torch.zeros(1, 1, 8, 8))
    >>> outputs["0"][0].shape
    torch.Size([1, 4, 6, 6])
    """
    outputs: dict[str, list[Any]] = {name: [] for name in layers}

    def hook_for(name: str) -> Callable[..., Tensor | None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
            outputs[name].append(keep(output) if keep else output)
            return output.clone() if keep is None and isinstance(output, Tensor) else None

        return hook

    modules = find_modules(model, layers)
    hooks = [
        module.register_forward_hook(hook_for(name))
        for name, module in zip(layers, modules, strict=True)
    ]
    try:
        with eval_mode(model):
            yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def find_modules(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return the modules of these names.

    Raises
    ------
    ValueError
        If the model has no module of that name; says which it has.
    """
    known = dict(model.named_modules())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"no module is called {', '.join(unknown)}; the model has "
            f"{', '.join(name for name, _ in model.named_children())}"
        )
    return [known[name] for name in names]
