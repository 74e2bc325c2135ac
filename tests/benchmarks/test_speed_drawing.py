"""How fast insects are drawn, with their masks."""

from __future__ import annotations

import time

import pytest

import cnnlab

pytestmark = pytest.mark.benchmark


def test_two_hundred_insects_a_second_and_core(report):
    cnnlab.draw_insects(10)
    rates = []
    for seed in range(5):
        start = time.process_time()
        insects = cnnlab.draw_insects(1000, size=64, seed=seed)
        rates.append(1000 / (time.process_time() - start))
        assert insects.masks.any(axis=(1, 2)).all()
    report(
        "drawing 1,000 insects with masks at 64 × 64",
        "no other side",
        rates,
        target=200,
        unit=" /s and core",
    )
