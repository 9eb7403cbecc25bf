"""Recordings of the tiny world: digits in phrases with pauses, at any level, with noise, at most one clip long."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.tiny.initial import TRAINED
from tests.tiny.voice import SAMPLE_RATE, SPEAKERS, Voice, a_voice, speak
from tests.tiny.world import Split, digit_string

MAX_SAMPLES = TRAINED.clip_samples
MOST_WORDS = 8
_SHORTEST_CLIP = 2_000  # samples
_MOST_PHRASES = 3
_PAUSE = (0.25, 1.2)  # seconds between phrases

Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and the words in it; none in silence or noise."""

    sound: Sound
    words: tuple[str, ...]


def a_clip(rng: random.Random, split: Split, speakers: Sequence[str] = SPEAKERS) -> Clip:
    """One to MOST_WORDS digits in one to three phrases, spoken by one voice."""
    while True:
        words = digit_string(rng, rng.randint(1, MOST_WORDS), split)
        voice = a_voice(rng, speakers)
        spoken = _phrases_with_pauses(words, voice, rng)
        sound = np.concatenate([_silence(rng, 0.4), spoken, _silence(rng, 0.4)])
        if _SHORTEST_CLIP < len(sound) <= MAX_SAMPLES:
            return Clip(_recorded(sound, rng), words)


def a_quiet_clip(rng: random.Random) -> Clip:
    """Silence or noise of at most one clip."""
    noise = _noise(rng.randint(4_000, MAX_SAMPLES), rng)
    level = 0.0 if rng.random() < 0.25 else 10 ** rng.uniform(-4, -1.6)
    return Clip((noise * level).astype(np.float32), ())


def _phrases_with_pauses(words: tuple[str, ...], voice: Voice, rng: random.Random) -> Sound:
    phrases = 1 if rng.random() < 0.5 else rng.randint(1, min(_MOST_PHRASES, len(words)))
    borders = [0, *sorted(rng.sample(range(1, len(words)), phrases - 1)), len(words)]
    parts: list[Sound] = []
    for start, end in itertools.pairwise(borders):
        if parts:
            parts.append(np.zeros(round(rng.uniform(*_PAUSE) * SAMPLE_RATE), np.float32))
        between = ", " if rng.random() < 0.2 else " "
        parts.append(speak(between.join(words[start:end]), voice))
    return np.concatenate(parts)


def _silence(rng: random.Random, most_seconds: float) -> Sound:
    return np.zeros(round(rng.uniform(0, most_seconds) * SAMPLE_RATE), np.float32)


def _recorded(sound: Sound, rng: random.Random) -> Sound:
    """Peak of 0.05 to 0.9; four of five recordings have noise, 15 to 40 dB below the speech."""
    sound = sound / (np.abs(sound).max() + 1e-6) * 10 ** rng.uniform(-1.3, -0.05)
    if rng.random() < 0.8:
        sound = sound + _noise(len(sound), rng) * sound.std() * 10 ** (-rng.uniform(15, 40) / 20)
    return np.clip(sound, -1, 1).astype(np.float32)


def _noise(samples: int, rng: random.Random) -> Sound:
    """White or low noise with a deviation of 1."""
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(samples)
    if rng.random() < 0.5:
        noise = np.convolve(noise, np.ones(8) / 8, "same")
    return (noise / noise.std()).astype(np.float32)
