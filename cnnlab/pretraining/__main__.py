"""Train the embedded backbone, or measure it and write its card.

    python -m cnnlab.pretraining --data tiny-imagenet.zip --epochs 22
    torchrun --standalone --nproc-per-node 2 -m cnnlab.pretraining --data tiny-imagenet.zip
    python -m cnnlab.pretraining --data tiny-imagenet.zip --card

The data are a folder or a zip with ``train/<class>/*`` and ``val/<class>/*``.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import fields

import torch
import torch.distributed as dist

from cnnlab.data.downloads import packaged
from cnnlab.pretraining.card import write_card
from cnnlab.pretraining.train import Settings, pretrain


def main() -> None:
    """Read the command line; train or measure."""
    parser = argparse.ArgumentParser("cnnlab.pretraining", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder or zip with train/ and val/")
    parser.add_argument("--output", default="build/pretraining", help="folder for the results")
    parser.add_argument("--card", action="store_true", help="measure the embedded weights instead")
    for setting in fields(Settings):
        option = f"--{setting.name.replace('_', '-')}"
        parser.add_argument(option, type=type(setting.default), default=setting.default)
    arguments = vars(parser.parse_args())
    data, output, card = (arguments.pop(name) for name in ("data", "output", "card"))
    if card:
        weights = packaged("weights", "tiny_resnet.safetensors")
        print(write_card(weights, data))
        return
    if "RANK" in os.environ:  # torchrun started us: join the other processes
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    pretrain(data, output, Settings(**arguments))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
