"""The model card: every number in it is measured."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from cnnlab.data import downloads
from cnnlab.pretraining import card as model_card


def test_the_published_card_is_what_would_be_written():
    template = Path(model_card.__file__).with_name("card.md").read_text(encoding="utf-8")
    pattern = re.sub(r"\\\{.*?\\\}", "(.+)", re.escape(template))
    published = downloads.packaged("weights", "tiny_resnet.md").read_text(encoding="utf-8")
    assert re.fullmatch(pattern, published, re.S)


def test_a_card_is_written_from_measurements(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("n01", "n02"):
        (tmp_path / "val" / folder).mkdir(parents=True)
        for i in range(3):
            noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "val" / folder / f"{i}.png")
    for suffix in (".safetensors", ".sha256"):
        shutil.copy(downloads.packaged("weights", "tiny_resnet" + suffix), tmp_path)
    path = tmp_path / "tiny_resnet.safetensors"
    text = model_card.write_card(path, tmp_path)
    assert path.with_suffix(".md").read_text(encoding="utf-8") == text
    for words in ("on the 6 images", "--epochs 22"):
        assert words in text
    assert Image.open(tmp_path / "tiny_resnet_filters.png").width > 400
