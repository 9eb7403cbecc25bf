"""Talk made by a program: phrases with pauses, known to the sample, and other sound to put under them.

All sound is mono float32 in [-1, 1] at RATE, shape (samples,).
"""

import functools
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.tiny.voice import SAMPLE_RATE as RATE
from tests.tiny.voice import Voice, speak

Sound = NDArray[np.float32]
#: No commas: espeak-ng makes a pause at each, and a phrase must have none.
PHRASES = (
    "the committee will meet again on thursday morning",
    "nobody had expected so many letters",
    "please leave your message after the tone",
    "seven hundred and forty two",
    "she walked slowly along the river until the lights of the town were behind her",
    "yes",
    "that is what the engineers told us last winter",
    "the price of wheat has fallen by almost nine percent since the beginning of the year",
    "i would rather wait",
    "most of the houses in this street were built before the railway came",
    "could you spell that for me",
    "fish and fresh vegetables should be kept in the shade",
)
VOICES = (
    "en-us+m1",
    "en-us+f2",
    "en-gb-x-rp+m3",
    "en-gb-scotland+f4",
    "en-us+m6",
    "en+f1",
    "en-029+m2",
    "en-us-nyc+m5",
)


@dataclass(frozen=True, slots=True)
class Talk:
    """`spans`: first and one-past-last sample of each phrase."""

    sound: Sound
    spans: tuple[tuple[int, int], ...]

    @property
    def seconds(self) -> float:
        return len(self.sound) / RATE


@functools.cache
def phrase(text: str, voice: str = VOICES[0]) -> Sound:
    """A phrase without the silence that espeak-ng puts around it, at a level of -26 dBFS."""
    said = speak(text, Voice(name=voice))
    loud = np.flatnonzero(np.abs(said) > 0.01 * np.abs(said).max())
    said = said[loud[0] : loud[-1] + 1]
    return np.asarray(said * (0.05 / said.std()), np.float32)


def talk(seconds: float, *, pauses: tuple[float, float] = (0.3, 1.5), seed: int = 0, voice: str = VOICES[0]) -> Talk:
    """One voice, phrase after phrase, with pauses of a length between the two."""
    rng = random.Random(seed)
    sound = np.zeros(round(seconds * RATE), np.float32)
    spans: list[tuple[int, int]] = []
    at = round(rng.uniform(*pauses) * RATE)
    while True:
        said = phrase(rng.choice(PHRASES), voice)
        if at + len(said) > len(sound):
            return Talk(sound, tuple(spans))
        sound[at : at + len(said)] = said
        spans.append((at, at + len(said)))
        at += len(said) + round(rng.uniform(*pauses) * RATE)


def over(talk: Talk, under: Sound, snr: float) -> Talk:
    """Talk with other sound under it, `snr` dB below what is said."""
    spoken = np.concatenate([talk.sound[first:end] for first, end in talk.spans])
    gain = spoken.std() / under.std() * 10 ** (-snr / 20)
    return Talk(np.clip(talk.sound + np.float32(gain) * under, -1, 1), talk.spans)


def babble(seconds: float, *, seed: int = 100, voices: int = 6) -> Sound:
    """Several people who speak at once, nearly without pauses."""
    crowd = [
        talk(seconds, pauses=(0.05, 0.3), seed=seed + number, voice=VOICES[1 + number % (len(VOICES) - 1)]).sound
        for number in range(voices)
    ]
    return np.asarray(np.sum(crowd, axis=0) / voices, np.float32)


def music(seconds: float, *, seed: int = 0) -> Sound:
    """Chords with overtones, a bass drum on each beat and a snare between."""
    rng = np.random.default_rng(seed)
    sound = np.zeros(round(seconds * RATE) + 2 * RATE)
    beat = RATE // 2
    for number, at in enumerate(range(0, len(sound) - 2 * RATE, beat)):
        if number % 4 == 0:
            root = 110 * 2 ** (rng.integers(0, 12) / 12)
            for interval in (0, (3, 4)[rng.integers(2)], 7, 12):
                sound[at : at + 2 * RATE] += _note(root * 2 ** (interval / 12), 2.0)
        times = np.arange(beat) / RATE
        drum = np.sin(2 * np.pi * (50 + 100 * np.exp(-30 * times)) * times) * np.exp(-8 * times)
        sound[at : at + beat] += 3 * (drum if number % 2 == 0 else rng.normal(0, 0.3, beat) * np.exp(-15 * times))
    sound = sound[: round(seconds * RATE)]
    return np.asarray(0.5 * sound / np.abs(sound).max(), np.float32)


def _note(hz: float, seconds: float) -> NDArray[np.float64]:
    times = np.arange(round(seconds * RATE)) / RATE
    shape = np.minimum(times / 0.02, 1) * np.exp(-1.5 * times)
    found: NDArray[np.float64] = shape * sum(
        np.sin(2 * np.pi * hz * number * times) / number**1.3 for number in range(1, 9) if hz * number < RATE / 2
    )
    return found


def noise(seconds: float, *, colour: float = 0.0, seed: int = 0) -> Sound:
    """White noise; pink with `colour` 0.5: its amplitude falls with the frequency to that power."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.normal(0, 1, round(seconds * RATE)))
    shaped = np.fft.irfft(spectrum / (np.arange(len(spectrum)) + 1) ** colour, round(seconds * RATE))
    return np.asarray(0.1 * shaped / shaped.std(), np.float32)


def pcm(sound: Sound) -> bytes:
    """As s16le."""
    return np.round(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
