"""Draws ants and bees, with a mask of their pixels: the data set that needs no network.

A picture is a list of coloured polygons (`Part`) in the unit square, painted from back to front:
ground, litter, insect, leaves and twigs before it. Then light, blur and grain, as in a camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray
from PIL import Image

from cnnlab.scenery import (
    BODY,
    CLEAR,
    FUR,
    LITTER,
    Colour,
    Part,
    bands,
    cast_shadow,
    chain,
    ellipse,
    fill,
    fuzzy,
    ground,
    leaf,
    limb,
    mix,
    paint,
    photograph,
    place,
    scatter,
    turn,
    twig,
    wing,
)

__all__ = ["CLASSES", "Insects", "draw_insect", "draw_insects"]

CLASSES = ("ants", "bees")
MIN_SIZE = 16  # pixels; in fewer, an insect has no legs to know it by
LITTER_PIECES = 9  # at most; things that are no insect
CANVAS_SIZE = 128  # pixels; pictures are painted at least this large, then averaged down


@dataclass(frozen=True)
class Insects:
    """Drawn insects.

    Attributes
    ----------
    images : uint8 (N, 3, H, W)
    labels : int64 (N,), index into `CLASSES`
    masks : bool (N, H, W), true where a pixel shows the insect
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]


def draw_insects(
    count: int, size: int = 64, seed: int = 0, *, litter: int = LITTER_PIECES
) -> Insects:
    """Draw `count` pictures of size x size pixels: as many ants as bees, in random order.

    The same seed gives the same pictures. Picture i does not depend on `count`: a larger data
    set begins with the smaller one. Another seed gives entirely new pictures. With less `litter`
    (berries, stones, petals on the ground) the same insects are easier to find.

    Raises
    ------
    ValueError
        If `count`, `seed` or `litter` is negative, or `size` is too small.

    Examples
    --------
    >>> insects = draw_insects(10, size=32)
    >>> insects.images.shape, insects.masks.shape
    ((10, 3, 32, 32), (10, 32, 32))
    >>> int(insects.labels.sum())  # five bees, so five ants
    5
    """
    if min(count, seed, litter) < 0:
        raise ValueError(
            "count, seed and litter must not be negative, got "
            f"count={count}, seed={seed}, litter={litter}"
        )
    check_size(size)
    # Each pair of pictures has one of each kind; a coin decides which comes first.
    coin = default_rng(seed).random((count + 1) // 2) < 0.5
    labels = np.stack([coin, ~coin], axis=1).reshape(-1)[:count].astype(np.int64)
    images = np.empty((count, 3, size, size), np.uint8)
    masks = np.empty((count, size, size), np.bool_)
    for i, label in enumerate(labels):
        rng = default_rng(SeedSequence(seed, spawn_key=(i,)))
        images[i], masks[i] = draw_insect(CLASSES[label], size, rng, litter)
    return Insects(images, labels, masks)


def draw_insect(
    kind: str | None, size: int, rng: Generator, litter: int = LITTER_PIECES
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one scene with an insect in it.

    Parameters
    ----------
    kind : "ants" or "bees"; None for the same scene without an insect
    size : height and width in pixels; the scene is the same at every size
    rng : where all chance comes from, `np.random.default_rng(seed)`
    litter : most pieces of litter on the ground

    Returns
    -------
    image : uint8 (3, H, W)
    mask : bool (H, W), true where a pixel shows the insect

    Raises
    ------
    ValueError
        If `kind` is unknown or `size` is too small.

    Examples
    --------
    >>> image, mask = draw_insect("bees", 64, np.random.default_rng(1))
    >>> image.shape, bool(0.02 < mask.mean() < 0.5)
    ((3, 64, 64), True)
    """
    anatomy = {"ants": ant, "bees": bee}
    if kind is not None and kind not in anatomy:
        raise ValueError(f"unknown kind {kind!r}: choose 'ants' or 'bees', or None for no insect")
    check_size(size)
    # A stream of chance for each layer, so that the scene is the same without its insect.
    back, middle, front, camera = rng.spawn(4)
    insect = pose(anatomy[kind](middle), middle) if kind else []
    occluders = scatter(front, (leaf, twig), 2)
    light = turn(np.array([1.0, 0.0]), camera.uniform(0, 2 * math.pi))

    canvas = ground(back, side=size * max(2, math.ceil(CANVAS_SIZE / size)))
    for layer in (scatter(back, LITTER, litter), insect, occluders):
        canvas = cast_shadow(canvas, layer, light) if layer else canvas
        paint(canvas, layer, light)
    visible = Image.new("L", canvas.size)
    fill(visible, insect, 255)
    fill(visible, occluders, 0)
    mask = np.asarray(visible.reduce(canvas.width // size)) > 127  # at least half the pixel
    return photograph(canvas, size, camera), mask


def check_size(size: int) -> None:
    if size < MIN_SIZE:
        raise ValueError(f"size must be at least {MIN_SIZE} pixels, got {size}")


# Anatomy: the head looks along +x, the body is about one unit long.


def ant(rng: Generator) -> list[Part]:
    """Slender: gaster, petiole, mesosoma, head; six long legs, elbowed antennae, no wings."""
    body, gaster, stout = mix(rng, BODY), mix(rng, BODY), rng.uniform(0.9, 1.25)
    egg = ellipse(-0.31, 0, 0.2, 0.14 * stout, taper=-0.15)
    return [
        *legs(rng, body, roots=(0.12, 0.06, 0.0), reach=0.4),
        *antennae(rng, body, root=(0.38, 0.03), scape=0.14, tip=0.16),
        Part(egg, gaster),
        *bands(egg, (0, 0, 0, 70), count=5, share=0.25),
        Part(egg, CLEAR, gloss=1.0),
        Part(ellipse(-0.09, 0, 0.05, 0.04), body, gloss=0.4),  # the petiole is an ant's waist
        Part(ellipse(0.06, 0, 0.14, 0.07 * stout, taper=-0.2), body, gloss=0.7),
        Part(ellipse(0.39, 0, 0.06, 0.045), body),  # mandibles
        Part(ellipse(0.3, 0, 0.1, 0.095 * stout, taper=0.12), body, gloss=0.9),
        *eyes(0.32, 0.07 * stout, radius=0.018),
    ]


def bee(rng: Generator) -> list[Part]:
    """Stout: banded abdomen, furry thorax, two pairs of wings, six short legs."""
    body, fur, stout = mix(rng, BODY), mix(rng, FUR + BODY[:2]), rng.uniform(0.85, 1.15)
    egg = ellipse(-0.24, 0, 0.25, 0.14 * stout, taper=-0.2, n=80)
    thorax = ellipse(0.1, 0, 0.15, 0.14 * stout, n=64)
    return [
        *legs(rng, body, roots=(0.16, 0.1, 0.02), reach=0.34),
        *antennae(rng, body, root=(0.36, 0.03), scape=0.06, tip=0.1),
        Part(fuzzy(rng, egg, 0.12), body),
        *bands(egg, mix(rng, FUR + BODY), count=5, share=rng.uniform(0.35, 0.6)),
        Part(egg, CLEAR, gloss=0.6),
        Part(ellipse(0.29, 0, 0.08, 0.11 * stout), body, gloss=0.6),
        *eyes(0.31, 0.085 * stout, radius=0.032),
        Part(fuzzy(rng, thorax, 0.35), fur),
        Part(fuzzy(rng, thorax * 0.7 + [0.03, 0], 0.4), (255, 255, 255, 20)),
        Part(fuzzy(rng, thorax * 0.4 + [0.06, 0], 0.5), (255, 255, 255, 25)),
        *wings(rng),
    ]


def legs(rng: Generator, tint: Colour, roots: tuple[float, ...], reach: float) -> list[Part]:
    """Three pairs of legs, forwards, sideways and backwards, each with a knee."""
    parts = []
    for root, direction in zip(roots, (0.9, 1.6, 2.3), strict=True):
        for side in (-1, 1):
            thigh = direction + rng.uniform(-0.25, 0.25)
            shin = thigh + math.copysign(rng.uniform(0.2, 0.8), direction - 1.3)
            joints = chain((root, 0), (0.45 * reach, thigh), (rng.uniform(0.5, 0.65) * reach, shin))
            parts.append(Part(limb(joints, 0.04) * [1, side], tint))
    return parts


def antennae(
    rng: Generator, tint: Colour, root: tuple[float, float], scape: float, tip: float
) -> list[Part]:
    """Two antennae: a straight scape, an elbow, and the rest of it."""
    parts = []
    for side in (-1, 1):
        joints = chain(root, (scape, rng.uniform(0.7, 1.2)), (tip, rng.uniform(-0.5, 0.2)))
        parts.append(Part(limb(joints, 0.034, tip=1.0) * [1, side], tint))
    return parts


def eyes(x: float, y: float, radius: float) -> list[Part]:
    outline = ellipse(x, y, radius * 1.2, radius, n=12)
    return [Part(outline * [1, side], (16, 14, 18, 255), gloss=1.0) for side in (-1, 1)]


def wings(rng: Generator) -> list[Part]:
    """Two pairs of wings, folded back or spread; the fore wings lie over the hind wings."""
    spread, alpha = rng.uniform(0.3, 1.3), int(rng.uniform(50, 120))
    parts = []
    for length, angle in ((0.32, spread), (0.46, spread + 0.25)):
        for side in (-1, 1):
            root = np.array([0.1, side * 0.05])
            parts += place(wing(rng, length, alpha), math.pi - side * angle, 1.0, root)
    return parts


def pose(parts: list[Part], rng: Generator) -> list[Part]:
    """Look at a body aslant, bend it, turn it, and put it somewhere near the middle."""
    length, slant = rng.uniform(0.46, 0.82), rng.uniform(0.8, 1.1)
    angle, centre, bend = rng.uniform(0, 2 * math.pi), rng.uniform(0.28, 0.72, 2), rng.normal()
    return place(parts, angle, np.array([length, length * slant]), centre, bend)
