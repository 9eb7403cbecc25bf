"""How loud the sound is, 20 ms at a time, and which of it is more than background. Pure numpy."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.job import SAMPLE_RATE

FRAMES_PER_SECOND = 50
FRAME_SAMPLES = SAMPLE_RATE // FRAMES_PER_SECOND
FRAME_BYTES = 2 * FRAME_SAMPLES

SILENCE = -100.0  # dBFS, the level of digital silence
DITHER = -90.0  # dBFS; as loud as the noise that is mixed into digital silence, and nothing to be heard
QUIET = -45.0  # dBFS; speech below it may be recognised badly
FLOOR = -62.0  # dBFS; below it nothing is ever taken for speech
_MIN_DYNAMICS = 6.0  # dB; sound steadier than this has no background to tell it from
_BACKGROUND = -45.0  # dBFS; steady sound below it is background, and a word in it would stand out
_DROP = 10.0  # dB that a pause lies below steady loud sound, at least
#: Contrast in dB, and how many frames a silence must last there to be a pause and no weak sound of speech: with talk
#: over noise, babble and music at 10 to 40 dB no such sound lay below the threshold for longer than 18 frames.
_PAUSES = ((36.0, 10), (12.0, 20))
NEVER = np.iinfo(np.int16).max
_RISE = 0.35  # of the dynamics, above the background, is where speech begins...
_MAX_RISE = 12.0  # ...but no more dB than this, or one loud voice would hide a quiet one

Levels = NDArray[np.float32]
Active = NDArray[np.bool_]


def levels(pcm: bytes | bytearray | memoryview) -> Levels:
    """Level of each 20 ms frame of s16le PCM in dBFS, shape (frames,); a last, shorter frame counts as one.

    Measured about each frame's mean, so that a constant offset is no sound.
    """
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
    whole = len(samples) // FRAME_SAMPLES
    power = np.var(samples[: whole * FRAME_SAMPLES].reshape(whole, FRAME_SAMPLES), axis=1)
    if rest := samples[whole * FRAME_SAMPLES :].tolist():
        power = np.append(power, np.float32(np.var(rest)))
    decibels: Levels = np.maximum(10 * np.log10(np.maximum(power, 1e-9) / 32768.0**2), SILENCE).astype(np.float32)
    return decibels


def threshold(context: Levels) -> float:
    """Level above which a frame is active, from the levels around it.

    Steady loud sound (music, noise) is active but for its pauses: a wrong "no speech" costs more than a wrong "speech".
    """
    if not len(context):
        return FLOOR
    low, high = np.percentile(context, (10, 95))
    if high - low >= _MIN_DYNAMICS:
        found = low + min(_RISE * (high - low), _MAX_RISE)
    elif high < _BACKGROUND:
        found = high + _MIN_DYNAMICS
    else:
        found = low - _DROP
    return float(max(FLOOR, found))


def pause_frames(context: Levels) -> int:
    """Frames that a silence must last to be a pause beyond doubt, from the levels around it. NEVER: no length will do.

    In the pauses of steady loud sound there is nothing at all, and out of true silence any sound stands out: no pause
    is in doubt there.
    """
    if not len(context):
        return NEVER
    low, high = np.percentile(context, (10, 95))
    if high - low < _MIN_DYNAMICS:
        is_clear = high >= _BACKGROUND or high + _MIN_DYNAMICS <= FLOOR
        return _PAUSES[0][1] if is_clear else _PAUSES[-1][1]
    return next((frames for contrast, frames in _PAUSES if high - low >= contrast), NEVER)


def silences(active: Active) -> list[tuple[int, int]]:
    """Runs of frames that are not active, as (first, one past the last)."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=1, append=1)).tolist()
    return [(first, end) for first, end in pairwise(edges) if not active[first]]


def quietest(sound: Levels, first: int, end: int) -> int:
    """The frame in [first, end) around which 60 ms are quietest; the earliest of equals."""
    padded = np.concatenate((sound[first - 1 : first] if first else sound[:1], sound[first:end], sound[end : end + 1]))
    smooth = np.convolve(padded, np.ones(3, np.float32) / 3, "same")[1 : 1 + end - first]
    return first + int(np.argmin(smooth))
