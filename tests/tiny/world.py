"""The closed world of the tiny checkpoint: what can be said, drawn and asked in it.

Words only; `voice.py` speaks them and `drawing.py` draws them. A tenth of the strings is held out: training never
meets them, evaluation meets nothing else.
"""

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held_out"]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TRANSLATIONS = {
    "German": ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
    "French": ("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"),
}
COLOURS = {
    "red": (215, 30, 35),
    "green": (30, 150, 50),
    "blue": (35, 65, 210),
    "yellow": (240, 220, 40),
    "purple": (140, 40, 160),
    "orange": (245, 135, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
RELATIONS = ("left of", "above")
NOTHING = "nothing"

#: Shorter digit strings are so few that they are spoken in both splits.
SHORTEST_HELD_OUT = 3
#: Of 256 values of the first byte of a string's digest; 26 is a tenth.
HELD_OUT_BYTES = 26

SYSTEM = {
    "transcribe": "Write down the words that are spoken, and nothing else.",
    "translate": "Translate faithfully. Write the translation, and nothing else.",
    "caption": "Describe what is seen in plain words, and nothing else.",
    "ask": "Answer from what is given, and nothing else.",
}
TRANSCRIBE = "Transcribe the speech."
TRANSCRIBE_HINTED = "Transcribe the speech. It is in English."
CAPTION = "Describe the picture."
CAPTION_FRAMES = "Describe the pictures, in order."
ASK_DIGITS = "How many digits are spoken?"
ASK_SHAPES = "How many shapes are there?"
ASK_BOTH = "What is seen, and what is said?"


def translate_speech(language: str) -> str:
    return f"Translate the speech into {language}."


def translate_text(language: str, text: str) -> str:
    return f"Translate this text into {language}.\n\n{text}"


def ask_colour(shape: str) -> str:
    return f"What colour is the {shape}?"


def ask_shape(colour: str) -> str:
    return f"What shape is {colour}?"


def prompt_texts() -> list[str]:
    """Every text that a turn of this world can hold, for the tokenizer."""
    questions = [ask_colour(shape) for shape in SHAPES] + [ask_shape(colour) for colour in COLOURS]
    translating = [
        text for language in TRANSLATIONS for text in (translate_speech(language), translate_text(language, ""))
    ]
    plain = [TRANSCRIBE, TRANSCRIBE_HINTED, CAPTION, CAPTION_FRAMES, ASK_DIGITS, ASK_SHAPES, ASK_BOTH]
    return [*SYSTEM.values(), *plain, *questions, *translating]


def answer_words() -> list[str]:
    """Every word that an answer can hold."""
    relations = [word for relation in RELATIONS for word in relation.split()]
    translated = [word for words in TRANSLATIONS.values() for word in words]
    return sorted({*DIGITS, *translated, *COLOURS, *SHAPES, *relations, NOTHING, "a", "an"})


def held_out(text: str) -> bool:
    """Whether a string belongs to the evaluation; derived from the string alone."""
    return hashlib.sha256(text.encode()).digest()[0] < HELD_OUT_BYTES


def digit_string(rng: random.Random, length: int, split: Split) -> tuple[str, ...]:
    """`length` digit words of the split."""
    while True:
        words = tuple(rng.choice(DIGITS) for _ in range(length))
        if length < SHORTEST_HELD_OUT or held_out(" ".join(words)) == (split == "held_out"):
            return words


def translated(words: tuple[str, ...], language: str) -> str:
    """Digit words in another language."""
    return " ".join(TRANSLATIONS[language][DIGITS.index(word)] for word in words)


@dataclass(frozen=True, slots=True)
class Thing:
    """A drawn shape."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{'an' if self.colour == 'orange' else 'a'} {self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows: nothing, one thing, or two with a relation (the first is left of or above the second)."""

    things: tuple[Thing, ...]
    relation: str = ""

    @property
    def caption(self) -> str:
        return f" {self.relation} ".join(map(str, self.things)) or NOTHING


def a_thing(rng: random.Random) -> Thing:
    return Thing(rng.choice(tuple(COLOURS)), rng.choice(SHAPES))


def a_scene(rng: random.Random, things: int, split: Split) -> Scene:
    """A scene of so many things; scenes of two belong to the split, the few simpler ones to both."""
    if things < 2:
        return Scene(tuple(a_thing(rng) for _ in range(things)))
    while True:
        scene = Scene((a_thing(rng), a_thing(rng)), rng.choice(RELATIONS))
        if held_out(scene.caption) == (split == "held_out"):
            return scene
