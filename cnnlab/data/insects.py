"""Draws ants and bees, with a mask of their pixels: the data set that needs no network.

A picture is a list of colored polygons (`Part`) in the unit square, painted from back to front:
ground, litter, insect, leaves and twigs before it. Then light, blur and grain, as in a camera.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

Points = NDArray[np.float64]  # (N, 2): x to the right, y downwards
Color = tuple[int, ...]  # red, green, blue, alpha: 0 to 255

# Both classes wear the same colors: color alone must not give the answer away.
BODY = [(28, 24, 26), (62, 38, 26), (118, 52, 24), (156, 84, 30), (196, 138, 52)]
FUR = [(70, 52, 34), (150, 104, 44), (206, 156, 66), (190, 172, 132)]
LEAF = [(52, 96, 40), (110, 146, 54), (164, 126, 54), (112, 62, 34)]
STONE = [(70, 62, 58), (128, 120, 112), (190, 182, 170), (122, 74, 50)]
TWIG = [(58, 40, 28), (124, 92, 60), (176, 150, 96)]
PETAL = [(240, 236, 226), (226, 120, 160), (238, 196, 60), (136, 110, 196)]
GROUNDS = {
    "soil": [(96, 70, 48), (146, 114, 82)],
    "sand": [(176, 152, 112), (214, 198, 160)],
    "moss": [(58, 92, 44), (120, 150, 70)],
    "rock": [(104, 100, 98), (170, 168, 162)],
    "rose": [(176, 96, 124), (226, 172, 184)],
    "sunflower": [(190, 150, 60), (226, 200, 116)],
}
CLEAR = (0, 0, 0, 0)


class Part(NamedTuple):
    """A polygon, its color, and how strongly it shines in the light."""

    outline: Points
    color: Color
    gloss: float = 0.0


# Shapes and colors.


def ellipse(x: float, y: float, rx: float, ry: float, taper: float = 0.0, n: int = 28) -> Points:
    """Outline (n, 2) of an ellipse; with `taper`, of an egg with its thin end at +x."""
    angle = np.arange(n) * (2 * np.pi / n)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x + rx * cos, y + ry * sin * (1 - taper * cos)], axis=1)


def fuzzy(rng: Generator, outline: Points, length: float) -> Points:
    """The outline with hair: every other point moves outwards by a random amount."""
    center = outline.mean(axis=0)
    stretch = 1 + length * rng.random(len(outline)) * (np.arange(len(outline)) % 2)
    return center + (outline - center) * stretch[:, None]


def chain(root: tuple[float, float], *bones: tuple[float, float]) -> Points:
    """Joints (n, 2) of a limb from its bones, each a length and a direction in radians."""
    steps = [(length * math.cos(angle), length * math.sin(angle)) for length, angle in bones]
    return np.cumsum([root, *steps], axis=0)


def limb(joints: ArrayLike, width: float, tip: float = 0.6) -> Points:
    """Outline of a limb through its joints that narrows to `tip` times its width."""
    line = np.asarray(joints)
    steps = line[1:] - line[:-1]
    along = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]])
    normal = along[:, ::-1] * [-1, 1] / np.sqrt((along**2).sum(axis=1, keepdims=True))
    half = normal * np.linspace(width, width * tip, len(line))[:, None] / 2
    return np.concatenate([line + half, (line - half)[::-1]])


def place(
    parts: list[Part], angle: float, scale: float | Points, center: Points, bend: float = 0.0
) -> list[Part]:
    """Scale parts, bend their x axis to an arc of curvature `bend`, turn them, and move them."""
    points = np.concatenate([part.outline for part in parts]) * scale
    if bend:
        sin, cos, y = np.sin(bend * points[:, 0]), np.cos(bend * points[:, 0]), points[:, 1]
        points = np.stack([sin / bend - sin * y, (1 - cos) / bend + cos * y], axis=1)
    points = turn(points, angle) + center
    ends = np.cumsum([len(part.outline) for part in parts]).tolist()
    return [
        Part(points[end - len(part.outline) : end], part.color, part.gloss)
        for part, end in zip(parts, ends, strict=True)
    ]


def turn(points: Points, angle: float) -> Points:
    """Rotate points about the origin by an angle in radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def mix(rng: Generator, palette: list[tuple[int, int, int]]) -> Color:
    """A random mixture of two colors of a palette, up to a fifth lighter or darker."""
    one, other = rng.integers(len(palette), size=2)
    share, light = rng.random(), rng.uniform(0.8, 1.2)
    mixed = (a + (b - a) * share for a, b in zip(palette[one], palette[other], strict=True))
    return (*(min(255, int(light * c)) for c in mixed), 255)


def bands(egg: Points, tint: Color, count: int, share: float) -> list[Part]:
    """Bands across an egg, each over a share of its segment; point -i mirrors point i."""
    step = 0.42 * len(egg) / count
    spans = [np.arange(int(i * step + 2), int((i + share) * step + 3)) for i in range(1, count)]
    return [Part(egg[np.concatenate([span, -span[::-1]])], tint) for span in spans]


def wing(rng: Generator, length: float, alpha: int) -> list[Part]:
    glass = (*(int(c) for c in rng.uniform(190, 245, 3)), alpha)
    vein = limb([(0, 0), (length * 0.5, length * 0.06), (length * 0.9, 0)], 0.012)
    blade = ellipse(length / 2, 0, length / 2, length * 0.19, taper=-0.35)
    return [Part(blade, glass), Part(vein, (60, 48, 40, alpha))]


# Scenery: what lies on the ground and what hides a piece of the insect.


def leaf(rng: Generator) -> list[Part]:
    t = np.linspace(0, 1, 14)
    half = rng.uniform(0.12, 0.3) * np.sin(np.pi * t)
    outline = np.concatenate([np.stack([t, half], 1), np.stack([t, -half], 1)[::-1]]) - [0.5, 0]
    rib = limb([(-0.6, 0), (0, 0.01), (0.5, 0)], 0.035, tip=0.2)
    return [Part(outline, mix(rng, LEAF), gloss=0.3), Part(rib, (255, 255, 220, 60))]


def stone(rng: Generator) -> list[Part]:
    outline = ellipse(0, 0, 0.4, rng.uniform(0.2, 0.4), n=9) * rng.uniform(0.85, 1.1, (9, 1))
    return [Part(outline, mix(rng, STONE), gloss=0.6)]


def twig(rng: Generator) -> list[Part]:
    joints = [(x, rng.uniform(-0.15, 0.15)) for x in (-1, -0.3, 0.3, 1)]
    return [Part(limb(joints, rng.uniform(0.05, 0.12)), mix(rng, TWIG))]


def winged_seed(rng: Generator) -> list[Part]:
    """Like an abdomen, often with bands or a wing, so that neither alone tells a bee."""
    egg = ellipse(0, 0, 0.4, rng.uniform(0.2, 0.28), taper=0.15)
    stripes = bands(egg, mix(rng, FUR), 5, share=rng.uniform(0.3, 0.6))
    husk = wing(rng, 0.9, int(rng.uniform(50, 120)))
    return [
        Part(egg, mix(rng, BODY)),
        *(stripes if rng.random() < 0.6 else []),
        Part(egg, CLEAR, gloss=0.8),
        *(husk if rng.random() < 0.6 else []),
    ]


def blossom(rng: Generator) -> list[Part]:
    tint, petal = mix(rng, PETAL), ellipse(0.26, 0, 0.22, 0.13, n=16)
    turns = np.linspace(0, 2 * math.pi, int(rng.integers(5, 9)), endpoint=False)
    petals = [Part(turn(petal, angle), tint, gloss=0.4) for angle in turns]
    return [*petals, Part(ellipse(0, 0, 0.11, 0.11, n=16), (226, 172, 50, 255), gloss=0.5)]


LITTER = (leaf, stone, winged_seed, winged_seed, twig, twig, blossom)


def scatter(rng: Generator, things: Sequence[Callable], most: int) -> list[Part]:
    """Up to `most` things, but at least a third of it, anywhere in the picture."""
    parts = []
    for _ in range(rng.integers(most // 3, most + 1)):
        thing = things[int(rng.integers(len(things)))](rng)
        angle, scale = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.4)
        parts += place(thing, angle, scale, center=rng.random(2))
    return parts


def ground(rng: Generator, side: int) -> Image.Image:
    """Two shades of one ground, mixed by smooth noise: an RGB image."""
    shades = list(GROUNDS.values())[rng.integers(len(GROUNDS))]
    one, other = (Image.new("RGB", (side, side), mix(rng, shades)[:3]) for _ in range(2))
    noise = 128 + 40 * smooth_noise(rng, 4, 64) + 25 * smooth_noise(rng, 20, 64)
    share = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    return Image.composite(one, other, share.resize((side, side), Image.Resampling.BILINEAR))


# Painting.


def fill(image: Image.Image, parts: list[Part], value: int) -> None:
    """Set a grayscale image to the value wherever one of the parts lies."""
    pencil = ImageDraw.Draw(image)
    for part in parts:
        pencil.polygon((part.outline * image.width).ravel().tolist(), fill=value)


def paint(canvas: Image.Image, parts: list[Part], light: Points) -> None:
    """Paint parts in order, with highlights on the side of the light."""
    pencil = ImageDraw.Draw(canvas, "RGBA")  # this mode blends translucent colors
    for part in parts:
        pixels = part.outline * canvas.width
        pencil.polygon(pixels.ravel().tolist(), fill=part.color)
        if part.gloss:
            center = pixels.mean(axis=0)
            center_of_light = center + light * np.abs(pixels - center).min(axis=1).max() / 2
            for scale, alpha in ((0.75, 35), (0.4, 60)):
                spot = pixels * scale + center_of_light * (1 - scale)
                white = (255, 255, 255, int(alpha * part.gloss))
                pencil.polygon(spot.ravel().tolist(), fill=white)


def cast_shadow(canvas: Image.Image, parts: list[Part], light: Points) -> Image.Image:
    """The canvas, darker away from the light behind the parts, with a soft edge."""
    shadow = Image.new("L", (64, 64))
    fill(shadow, [part._replace(outline=part.outline - light * 0.015) for part in parts], 130)
    soft = shadow.filter(ImageFilter.GaussianBlur(1)).resize(canvas.size, Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", canvas.size), canvas, soft)


def photograph(canvas: Image.Image, size: int, rng: Generator) -> NDArray[np.uint8]:
    """Take a picture (3, size, size): blur, dappled light, tint, exposure and grain."""
    blur = ImageFilter.GaussianBlur(rng.uniform(0, 0.012) * size)
    picture = np.asarray(canvas.reduce(canvas.width // size).filter(blur), np.float32)
    light = np.exp(smooth_noise(rng, 3, size) * rng.uniform(0.05, 0.25))
    tint = rng.uniform(0.9, 1.1, 3) * rng.uniform(0.6, 1.15)
    grain = smooth_noise(rng, 63, size) * rng.uniform(2, 10)
    exposed = picture * light[:, :, None] * tint + grain[:, :, None]  # (H, W, 3)
    return exposed.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


def smooth_noise(rng: Generator, cells: int, side: int) -> NDArray[np.float32]:
    """Noise (side, side) of about unit variance that changes over 1/cells of the picture."""
    grid = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC))


CLASSES = ("ants", "bees")
MIN_SIZE = 16  # pixels; in fewer, an insect has no legs to know it by
PIECES = 9  # at most; things that are no insect
CANVAS_SIZE = 128  # pixels; pictures are painted at least this large, then averaged down


class Insects(NamedTuple):
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


def draw_insects(count: int, size: int = 64, seed: int = 0, *, litter: int = PIECES) -> Insects:
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
        raise ValueError(f"count, seed, litter must not be negative: {count=}, {seed=}, {litter=}")
    if size < MIN_SIZE:
        raise ValueError(f"size must be at least {MIN_SIZE} pixels, got {size}")
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
    kind: str | None, size: int, rng: Generator, litter: int = PIECES
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one scene with an insect in it.

    Parameters
    ----------
    kind : "ants" or "bees"; None for the same scene without an insect
    size : height and width in pixels, at least 16; the scene is the same at every size
    rng : where all chance comes from, `np.random.default_rng(seed)`
    litter : most pieces of litter on the ground

    Returns
    -------
    image : uint8 (3, H, W)
    mask : bool (H, W), true where a pixel shows the insect

    Raises
    ------
    ValueError
        If `kind` is unknown.

    Examples
    --------
    >>> image, mask = draw_insect("bees", 64, np.random.default_rng(1))
    >>> image.shape, bool(0.02 < mask.mean() < 0.5)
    ((3, 64, 64), True)
    """
    anatomy = {"ants": ant, "bees": bee}
    if kind is not None and kind not in anatomy:
        raise ValueError(f"unknown kind {kind!r}: choose 'ants' or 'bees', or None for no insect")
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


def legs(rng: Generator, tint: Color, roots: tuple[float, ...], reach: float) -> list[Part]:
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
    rng: Generator, tint: Color, root: tuple[float, float], scape: float, tip: float
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
    angle, center, bend = rng.uniform(0, 2 * math.pi), rng.uniform(0.28, 0.72, 2), rng.normal()
    return place(parts, angle, np.array([length, length * slant]), center, bend)
