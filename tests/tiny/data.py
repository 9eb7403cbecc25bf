"""Training samples as the towers take them, made once by two processes and kept.

Each part is made by a process of its own, because espeak-ng speaks a little differently after what it said before.
"""

import multiprocessing
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tests.tiny.architecture import build_processor
from tests.tiny.clips import Clip, a_clip, a_quiet_clip
from tests.tiny.drawing import Picture, Placed, draw
from tests.tiny.initial import TRAINED
from tests.tiny.world import Scene, a_scene

T = TypeVar("T")

PROCESSES = 2
_PART = 500  # samples of one process


@dataclass(frozen=True, slots=True)
class Speech:
    """Log mel frames of a clip, float16 (frames, 128), extracted alone; and its words."""

    frames: NDArray[np.float16]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pixels:
    """A picture as the tower takes it, uint8 (3, H, W); and what is where in it."""

    values: NDArray[np.uint8]
    scene: Scene
    placed: tuple[Placed, ...]


def speech_samples(count: int, seed: int) -> list[Speech]:
    """Spoken clips of the training split."""
    return _in_parts(_speech_part, count, seed)


def quiet_samples(count: int, seed: int) -> list[Speech]:
    """Clips without a word."""
    return _in_parts(_quiet_part, count, seed)


def picture_samples(count: int, seed: int) -> list[Pixels]:
    """Pictures of the training split with nothing, one or two things, and the mirror image of each."""
    pictures: list[Pixels] = _in_parts(_picture_part, count, seed)
    return [*pictures, *(mirrored(picture) for picture in pictures)]


def extract_speech(clip: Clip) -> Speech:
    """What the product's processor makes of the clip alone."""
    features = _processor().feature_extractor(clip.sound, return_tensors="np")
    return Speech(features["input_features"][0].astype(np.float16), clip.words)


def extract_pixels(picture: Picture) -> Pixels:
    """What the product's processor makes of the picture, before it is scaled to [0, 1]."""
    pixels = _processor().image_processor(picture.image, return_tensors="np")["pixel_values"][0]
    return Pixels((np.asarray(pixels) * 255).round().astype(np.uint8), picture.scene, picture.placed)


def mirrored(picture: Pixels) -> Pixels:
    """The picture in a mirror: what was left of something is now right of it."""
    placed = tuple(replace(item, x=1 - item.x) for item in picture.placed)
    scene = picture.scene
    if scene.relation == "left of":
        scene = replace(scene, things=scene.things[::-1])
        placed = placed[::-1]
    return Pixels(np.ascontiguousarray(picture.values[..., ::-1]), scene, placed)


def things_wanted(rng: random.Random) -> int:
    """How many things a picture shows: few show nothing, most show two."""
    return rng.choices((0, 1, 2), weights=(5, 30, 65))[0]


@cache
def _processor() -> Any:
    return build_processor(TRAINED)


def _speech_part(rng: random.Random, count: int) -> list[Speech]:
    return [extract_speech(a_clip(rng, "train")) for _ in range(count)]


def _quiet_part(rng: random.Random, count: int) -> list[Speech]:
    return [extract_speech(a_quiet_clip(rng)) for _ in range(count)]


def _picture_part(rng: random.Random, count: int) -> list[Pixels]:
    return [extract_pixels(draw(a_scene(rng, things_wanted(rng), "train"), rng)) for _ in range(count)]


def _in_parts(make: Callable[[random.Random, int], list[T]], count: int, seed: int) -> list[T]:
    starts = range(0, count, _PART)
    orders = [(make, f"{make.__name__} {seed} {start}", min(_PART, count - start)) for start in starts]
    with multiprocessing.get_context("spawn").Pool(PROCESSES, maxtasksperchild=1) as pool:
        parts: Sequence[list[T]] = pool.map(_make_part, orders, chunksize=1)
    return [sample for part in parts for sample in part]


def _make_part(order: tuple[Callable[[random.Random, int], list[T]], str, int]) -> list[T]:
    make, seed, count = order
    torch.set_num_threads(1)
    return make(random.Random(seed), count)
