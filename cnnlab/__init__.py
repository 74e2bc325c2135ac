"""cnnlab: teaching notebooks on convolutional neural networks, and the code they share.

Public names are imported on first use (PEP 562), so ``import cnnlab`` itself loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULE_OF_NAME = {
    "set_seed": "runtime",
    "get_device": "runtime",
    "versions": "runtime",
    "fetch": "storage",
    "ImageData": "datasets",
    "Split": "datasets",
    "load_ants_and_bees": "datasets",
    "load_image_folder": "datasets",
    "load_mnist": "datasets",
    "write_image_folder": "folders",
    "upload_button": "uploads",
    "draw_insects": "insects",
    "augment": "augmentation",
    "Backbone": "backbones",
    "LeNet5": "models",
    "TinyResNet": "models",
    "load_backbone": "backbones",
    "summary": "ledger",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "mcnemar": "evaluation",
    "History": "history",
    "fit": "training",
    "train_epoch": "training",
    "training_mode": "training",
    "extract_features": "transfer",
    "freeze": "transfer",
    "freeze_audit": "transfer",
    "replace_head": "transfer",
    "describe": "plotting",
    "plot_confusion": "plotting",
    "plot_feature_maps": "plotting",
    "plot_filters": "plotting",
    "plot_history": "plotting",
    "plot_intervals": "plotting",
    "show_images": "plotting",
    "show_source": "plotting",
}

__all__ = ["__version__", *_MODULE_OF_NAME]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'cnnlab' has no attribute {name!r}")
    return getattr(import_module(f"cnnlab.{_MODULE_OF_NAME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
