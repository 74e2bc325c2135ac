"""cnnlab: a small package beside the lessons on convolutional neural networks.

Public names are imported on first use (PEP 562), so ``import cnnlab`` itself loads nothing heavy.
Where to look: the training loop in ``training``, the data in ``data``, networks in ``models``,
receptive fields in ``fields``, drawings of networks in ``diagrams``, each lesson's figures in
``lessons``, pages and slides in ``publish``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_NAMES_OF_MODULE = {
    "runtime": "set_seed get_device versions",
    "lessons.results": "record",
    "data.splits": "ImageData",
    "data.datasets": "load_ants_and_bees load_mnist",
    "data.cifar": "load_cifar10 load_cifar100",
    "data.folders": "load_image_folder",
    "data.insects": "draw_insects",
    "data.augmentation": "augment",
    "models.backbones": "Backbone load_backbone",
    "models.small": "LeNet5 TinyResNet",
    "models.unet": "UNet",
    "training": "train_epoch fit History training_mode",
    "evaluation": "evaluate Evaluation bootstrap_interval mcnemar",
    "transfer": "replace_head freeze freeze_audit extract_features",
    "complexity": "summary",
    "fields": "receptive_field effective_receptive_field",
    "lessons.transposed": "transposed_convolution bed_of_nails overlap_count",
    "diagrams": "draw_network",
    "plotting": "show_images plot_history plot_confusion plot_filters plot_intervals",
    "lessons.arithmetic": "plot_grids",
    "notebook": "describe show_source upload_button",
}
_MODULE_OF_NAME = {
    name: module for module, names in _NAMES_OF_MODULE.items() for name in names.split()
}

__all__ = ["__version__", *_MODULE_OF_NAME]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'cnnlab' has no attribute {name!r}")
    return getattr(import_module(f"cnnlab.{_MODULE_OF_NAME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
