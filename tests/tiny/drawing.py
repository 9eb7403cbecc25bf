"""Pictures of the tiny world, drawn with Pillow: shapes on a quiet background, any size and aspect."""

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.tiny.world import COLOURS, Scene, Thing

_CANVAS = 256  # pixels; pictures are drawn on a square of this side and then resized
_RESIZED = (96, 256)  # sides of the finished picture

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a thing is drawn: centre and radius as shares of the picture's side."""

    thing: Thing
    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture and what is where in it."""

    image: Image.Image
    scene: Scene
    placed: tuple[Placed, ...]


def draw(scene: Scene, rng: random.Random) -> Picture:
    """The scene at places, sizes, angles and on a background that are drawn from `rng`."""
    noise = np.random.default_rng(rng.getrandbits(32))
    placed = tuple(place(scene, rng))
    canvas = Image.fromarray(_background(rng, noise))
    pen = ImageDraw.Draw(canvas)
    for item in rng.sample(placed, len(placed)):
        colour = np.clip(np.array(COLOURS[item.thing.colour]) + noise.uniform(-12, 12, 3), 0, 255).astype(int)
        _draw_thing(pen, item, (int(colour[0]), int(colour[1]), int(colour[2])), rng.uniform(-0.2, 0.2))
    size = (rng.randint(*_RESIZED), rng.randint(*_RESIZED))
    return Picture(canvas.resize(size, Image.Resampling.BILINEAR), scene, placed)


def place(scene: Scene, rng: random.Random) -> list[Placed]:
    """Places that make the scene's relation plain."""
    if len(scene.things) < 2:
        return [
            Placed(thing, rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.75), rng.uniform(0.12, 0.24))
            for thing in scene.things
        ]
    along = (rng.uniform(0.2, 0.3), rng.uniform(0.7, 0.8))
    first = rng.uniform(0.32, 0.68)
    across = (first, min(max(rng.uniform(0.32, 0.68), first - 0.2), first + 0.2))
    centres = list(zip(along, across, strict=True))
    if scene.relation == "above":
        centres = [(x, y) for y, x in centres]
    return [Placed(thing, x, y, rng.uniform(0.1, 0.18)) for thing, (x, y) in zip(scene.things, centres, strict=True)]


def _background(rng: random.Random, noise: np.random.Generator) -> NDArray[np.uint8]:
    """Two tints of one grey that run into each other, sometimes with grain."""
    base = rng.randint(15, 245)
    tints = [np.clip(base + noise.uniform(-22, 22, 3) + noise.uniform(-15, 15), 0, 255) for _ in range(2)]
    ramp = np.linspace(0, 1, _CANVAS)
    ramp = ramp[:, None, None] if rng.random() < 0.5 else ramp[None, :, None]
    grain = noise.normal(0, rng.choice((0, 0, 6, 12)), (_CANVAS, _CANVAS, 3))
    return np.clip(tints[0] * (1 - ramp) + tints[1] * ramp + grain, 0, 255).astype(np.uint8)


def _draw_thing(pen: ImageDraw.ImageDraw, item: Placed, colour: tuple[int, int, int], angle: float) -> None:
    x, y, radius = item.x * _CANVAS, item.y * _CANVAS, item.radius * _CANVAS
    if item.thing.shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        return
    turned = [_turn(point, angle) for point in _outline(item.thing.shape)]
    pen.polygon([(x + radius * a, y + radius * b) for a, b in turned], fill=colour)


def _outline(shape: str) -> list[Point]:
    """Corners around (0, 0), for a radius of 1."""
    if shape == "square":
        return _ring([1.15], 4, math.pi / 4)
    if shape == "triangle":
        return _ring([1.2], 3)
    if shape == "star":
        return _ring([1.25, 0.5], 10)
    arm, end = 0.4, 1.1
    quarter: list[Point] = [(arm, -end), (arm, -arm), (end, -arm)]
    return [_turn(point, quarters * math.pi / 2) for quarters in range(4) for point in quarter]


def _ring(radii: list[float], corners: int, start: float = 0.0) -> list[Point]:
    angles = [start + 2 * math.pi * index / corners for index in range(corners)]
    lengths = [radii[index % len(radii)] for index in range(corners)]
    return [
        (length * math.sin(angle), -length * math.cos(angle)) for length, angle in zip(lengths, angles, strict=True)
    ]


def _turn(point: Point, angle: float) -> Point:
    x, y = point
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
