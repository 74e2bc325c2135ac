"""Colors that everybody can tell apart, and text that everybody can read.

Color vision deficiencies are simulated by colorspacious, after Machado, Oliveira and Fernandes
(2009). Differences are Euclidean in CIELAB (1976): about 2 is just noticeable side by side; 15 is
what we ask of lines and marks in one figure. Contrast ratios are those of WCAG 2.1, which asks
for 3 between a mark and its ground, and for 4.5 between text and its ground.
"""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from colorspacious import cspace_convert
from matplotlib.colors import to_rgb
from repository import ROOT

from cnnlab.plotting import COLORS

WEB = ROOT / "cnnlab" / "web"
SMALLEST_DIFFERENCE = 15.0
TEXT_CONTRAST, MARK_CONTRAST = 4.5, 3.0
GROUNDS = ("#ffffff", "#f4f6f8", "#eef1f4")  # of pages, cards, code
SIGHT = ("typical", "protanomaly", "deuteranomaly")


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.1, from 1 to 21; Y is the relative luminance."""
    luminances = (cspace_convert(to_rgb(color), "sRGB1", "XYZ1")[1] for color in (one, other))
    darker, lighter = sorted(luminances)
    return (lighter + 0.05) / (darker + 0.05)


def difference(one: str, other: str, sight: str) -> float:
    """Return the distance of two colors in CIELAB, as somebody with this sight sees them."""
    seen = np.array([to_rgb(one), to_rgb(other)])
    if sight != "typical":
        anomaly = {"name": "sRGB1+CVD", "cvd_type": sight, "severity": 100}
        seen = cspace_convert(seen, anomaly, "sRGB1").clip(0, 1)
    first, second = cspace_convert(seen, "sRGB1", "CIELab")
    return float(np.linalg.norm(first - second))


@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_colors_differ_for_everybody(sight: str) -> None:
    found = {pair: difference(*pair, sight) for pair in combinations(COLORS, 2)}
    assert min(found.values()) >= SMALLEST_DIFFERENCE, min(found, key=lambda pair: found[pair])


def test_the_simulation_knows_red_and_green_that_are_confused() -> None:
    red, green = "#b34733", "#6f7033"  # far apart for most, nearly alike for a deuteranope
    assert difference(red, green, "typical") > 40
    assert difference(red, green, "deuteranomaly") < SMALLEST_DIFFERENCE


def test_marks_stand_out_from_white() -> None:
    found = {color: contrast(color, "#fff") for color in COLORS}
    assert min(found.values()) >= MARK_CONTRAST, found


@pytest.mark.parametrize(
    "name", sorted(path.name for path in WEB.glob("*.*") if path.suffix != ".js")
)
def test_text_of_slides_and_site_can_be_read(name: str) -> None:
    text = (WEB / name).read_text(encoding="utf-8")
    for color in set(re.findall(r"(?<![-\w])color: (#[0-9a-f]{3,6})", text)) - {"#fff"}:
        assert min(contrast(color, ground) for ground in GROUNDS) >= TEXT_CONTRAST, color


def test_contrast_is_that_of_the_guideline() -> None:
    assert contrast("#000", "#fff") == pytest.approx(21, rel=1e-3)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
