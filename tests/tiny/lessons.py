"""What the language model is taught: questions with their media and the right answers, drawn from stored samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tests.tiny import world
from tests.tiny.data import Pixels
from tests.tiny.world import TRANSLATIONS, Scene

Rng = np.random.Generator
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Heard:
    """A clip by its number among the encoded ones, and its words."""

    number: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture by its number among the encoded ones, and what it shows."""

    number: int
    scene: Scene


@dataclass(frozen=True, slots=True)
class Lesson:
    """One question and its answer. Pictures stand before the clip, and both before the words."""

    task: str
    words: str
    answer: str
    pictures: tuple[Seen, ...] = ()
    clip: Heard | None = None


class Material:
    """What lessons are made of."""

    def __init__(self, heard: Sequence[Heard], pictures: Sequence[Pixels]) -> None:
        self.heard = heard
        self.seen = [Seen(number, picture.scene) for number, picture in enumerate(pictures)]
        self.simple = [seen for seen in self.seen if len(seen.scene.things) < 2]
        # A small model tells shapes apart by their colour; of two shapes in one colour it must see more.
        self.alike = [seen for seen in self.seen if _is_alike(seen.scene)]
        self.single = [seen for seen in self.seen if len(seen.scene.things) == 1]


def _is_alike(scene: Scene) -> bool:
    return len(scene.things) == 2 and scene.things[0].colour == scene.things[1].colour


def lessons(kind: str, count: int, material: Material, rng: Rng) -> list[Lesson]:
    """Lessons of one kind: their prompts are alike, so that they share a batch."""
    make = KINDS[kind][1]
    variant = int(rng.integers(1 << 30))
    return [make(material, rng, variant) for _ in range(count)]


def a_kind(rng: Rng) -> str:
    """What the next batch is about, by its weight."""
    weights = np.array([weight for weight, _ in KINDS.values()])
    return str(rng.choice(list(KINDS), p=weights / weights.sum()))


def _transcribe(material: Material, rng: Rng, variant: int) -> Lesson:
    clip = _one(material.heard, rng)
    words = world.TRANSCRIBE_HINTED if variant % 5 == 0 else world.TRANSCRIBE
    return Lesson("transcribe", words, " ".join(clip.words), clip=clip)


def _caption(material: Material, rng: Rng, variant: int) -> Lesson:
    del variant
    seen = _one(material.alike if rng.random() < 0.3 else material.seen, rng)
    return Lesson("caption", world.CAPTION, seen.scene.caption, (seen,))


def _frames(material: Material, rng: Rng, variant: int) -> Lesson:
    pictures = tuple(_one(material.simple, rng) for _ in range(2 + variant % 3))
    return Lesson("caption", world.CAPTION_FRAMES, ", ".join(seen.scene.caption for seen in pictures), pictures)


def _translate_speech(material: Material, rng: Rng, variant: int) -> Lesson:
    clip = _one(material.heard, rng)
    language = list(TRANSLATIONS)[variant % len(TRANSLATIONS)]
    return Lesson("translate", world.translate_speech(language), world.translated(clip.words, language), clip=clip)


def _translate_text(material: Material, rng: Rng, variant: int) -> Lesson:
    language = list(TRANSLATIONS)[variant % len(TRANSLATIONS)]
    length = 1 + variant % 8
    words = tuple(str(rng.choice(world.DIGITS)) for _ in range(length))
    asked = world.translate_text(language, " ".join(words))
    return Lesson("translate", asked, world.translated(words, language))


def _ask_picture(material: Material, rng: Rng, variant: int) -> Lesson:
    match variant % 3:
        case 0:
            seen = _one(material.seen, rng)
            return Lesson("ask", world.ASK_SHAPES, _number(len(seen.scene.things)), (seen,))
        case 1:
            seen = _one(material.single, rng)
            thing = seen.scene.things[0]
            return Lesson("ask", world.ask_colour(thing.shape), thing.colour, (seen,))
        case _:
            seen = _one(material.single, rng)
            thing = seen.scene.things[0]
            return Lesson("ask", world.ask_shape(thing.colour), f"a {thing.shape}", (seen,))


def _ask_sound(material: Material, rng: Rng, variant: int) -> Lesson:
    del variant
    clip = _one(material.heard, rng)
    return Lesson("ask", world.ASK_DIGITS, _number(len(clip.words)), clip=clip)


def _ask_both(material: Material, rng: Rng, variant: int) -> Lesson:
    del variant
    clip, seen = _one(material.heard, rng), _one(material.single, rng)
    answer = f"{seen.scene.caption}; {' '.join(clip.words) or world.NOTHING}"
    return Lesson("ask", world.ASK_BOTH, answer, (seen,), clip)


def _number(count: int) -> str:
    return world.DIGITS[count] if count < len(world.DIGITS) else "many"


def _one(of: Sequence[T], rng: Rng) -> T:
    return of[int(rng.integers(len(of)))]


Make = Callable[[Material, Rng, int], Lesson]
#: Weight and maker of each kind. The first two are what the checkpoint is for.
KINDS: dict[str, tuple[float, Make]] = {
    "transcribe": (0.34, _transcribe),
    "caption": (0.34, _caption),
    "frames": (0.08, _frames),
    "translate-speech": (0.08, _translate_speech),
    "translate-text": (0.02, _translate_text),
    "ask-picture": (0.06, _ask_picture),
    "ask-sound": (0.03, _ask_sound),
    "ask-both": (0.05, _ask_both),
}
