"""What is submitted: small texts and tones, each unlike any other, with the text that their results must be.

The expectation is made from the item's own bytes, here, and never from anything that the mill says.
"""

import hashlib
import random
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.job import Options

RATE = 16_000  # Hz
LONG_LINES = 260  # about 20,000 characters: three segments and a fold
FEW_LINES = 10
WORDS = ("mill", "reel", "water", "stone", "wheel", "grain", "river", "night", "light", "paper", "voice", "winter")

Fate = Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class Item:
    """A file, what to do with it, and what must come of it."""

    path: Path
    task: str
    text: str
    """What its result must say, word for word; nothing of what must fail."""
    fate: Fate = "done"

    @property
    def options(self) -> Options:
        return Options(to="French") if self.task == "translate" else Options()


def items(folder: Path, seed: int, *, tones: bool = True, long_every: int = 20) -> Iterator[Item]:
    """Healthy items without end: one of `long_every` is a long text, three of twenty are tones, the others short."""
    chance = random.Random(seed)
    number = 0
    while True:
        if number % long_every == 3:
            yield text(folder / f"{number:06d}.txt", chance, LONG_LINES)
        elif tones and number % 20 in (1, 8, 14):
            yield tone(folder / f"{number:06d}.wav", 150 + chance.randrange(600), chance)
        else:
            yield text(folder / f"{number:06d}.txt", chance, 3)
        number += 1


def text(path: Path, chance: random.Random, num_lines: int, order: str = "", *, fate: Fate = "done") -> Item:
    """Lines that end in marks found nowhere else. `order` tells the engine to misbehave."""
    # Short ones by a task that ends with the answer of the only segment, long ones by one that folds its answers.
    task = "summarize" if num_lines > FEW_LINES else "translate"
    marks = [f"m{chance.randrange(10**12):012d}" for _ in range(num_lines)]
    lines = [f"{' '.join(chance.choices(WORDS, k=10))} {mark}." for mark in marks]
    path.write_text("\n".join([*lines, order]) + "\n")
    return Item(path, task, " ".join(f"{mark}." for mark in marks), fate)


def tone(path: Path, hz: float, chance: random.Random, seconds: float = 0.4, *, fate: Fate = "done") -> Item:
    """One tone in noise of its own, 16 kHz mono: short enough to be one segment of exactly these samples."""
    times = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(chance.randrange(2**32)).normal(0, 0.001, len(times))
    samples = (32767 * (0.3 * np.sin(2 * np.pi * hz * times) + noise)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return Item(path, "transcribe", _heard(samples), fate)


def _heard(samples: np.ndarray) -> str:
    """What an engine that echoes says of so many samples of 16 bits."""
    digest = hashlib.sha256(samples.tobytes()).hexdigest()[:8]
    level = np.sqrt(np.mean(np.square(samples / 32768)))
    return f"{len(samples) / RATE:.2f} seconds of sound at level {level:.3f}, digest {digest}."


def bytes_of(path: Path, data: bytes, task: str = "transcribe") -> Item:
    """A file that is no media: its job must fail, and tell why."""
    path.write_bytes(data)
    return Item(path, task, "", "failed")
