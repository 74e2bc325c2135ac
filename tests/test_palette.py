"""Colors that everybody can tell apart, and text that everybody can read.

Dichromats are simulated by the matrices of Machado, Oliveira and Fernandes (2009), severity 1.
Differences are Euclidean in CIELAB (1976): about 2 is just noticeable side by side; 15 is what
we ask of lines and marks in one figure; contrast ratios are those of WCAG 2.1.
"""

from __future__ import annotations

import re
from itertools import combinations

import matplotlib
import numpy as np
import pytest
import torch
from repository import ROOT

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from cnnlab import Evaluation, History, plot_history, plot_intervals
from cnnlab.plotting import COLORS

WEB = ROOT / "data" / "web"
SMALLEST_DIFFERENCE = 15.0
TEXT_CONTRAST, MARK_CONTRAST = 4.5, 3.0  # WCAG 1.4.3 and 1.4.11
GROUNDS = ("#ffffff", "#f4f6f8", "#eef1f4")  # of pages, cards, code
SIGHT = {
    "typical": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
}  # fmt: skip
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color: str) -> np.ndarray:
    digits = color.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    values = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB, white being (1, 1, 1)."""
    ratios = XYZ @ rgb.clip(0, 1) / (XYZ @ np.ones(3))
    f = np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted(float(XYZ[1] @ linear(color)) for color in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def difference(one: str, other: str, sight: str) -> float:
    seen = [lab(SIGHT[sight] @ linear(color)) for color in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_colors_differ_for_everybody(sight: str) -> None:
    found = {pair: difference(*pair, sight) for pair in combinations(COLORS, 2)}
    assert min(found.values()) >= SMALLEST_DIFFERENCE, min(found, key=lambda pair: found[pair])


def test_the_simulation_knows_red_and_green_that_are_confused() -> None:
    red, green = "#b34733", "#6f7033"  # far apart for most, nearly alike for a deuteranope
    assert difference(red, green, "typical") > 40
    assert difference(red, green, "deuteranopia") < SMALLEST_DIFFERENCE


def test_colors_of_lines_and_marks_stand_out_from_white() -> None:
    """Two of Okabe and Ito's seven are too light for lines: the palette says so."""
    light = [color for color in COLORS if contrast(color, "#fff") < MARK_CONTRAST]
    assert light == [COLORS[4], COLORS[5]]


def test_the_shared_plots_draw_with_the_others() -> None:
    y = torch.arange(20) % 2
    evaluation = Evaluation(0.3, y, y, torch.eye(2)[y])
    history = History([{"loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5}], 0)
    rows = {str(i): (0.5, 0.4, 0.6) for i in range(9)} | {"evaluation": evaluation}
    axes = [*plot_history(history), plot_intervals(rows, dots={"1": [0.5]})]
    colors = {to_hex(line.get_color()) for ax in axes for line in ax.lines}
    plt.close("all")
    assert colors and all(contrast(color, "#fff") >= MARK_CONTRAST for color in colors)


@pytest.mark.parametrize("name", ["deck.css", "index.html.j2", "site.html.j2"])
def test_text_of_slides_and_site_can_be_read(name: str) -> None:
    text = (WEB / name).read_text(encoding="utf-8")
    colors = set(re.findall(r"(?<![-\w])color: (#[0-9a-f]{3,6})", text)) - {"#fff"}
    assert colors
    for color in colors:
        assert min(contrast(color, ground) for ground in GROUNDS) >= TEXT_CONTRAST, color


def test_contrast_is_that_of_the_guideline() -> None:
    assert contrast("#000", "#fff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
