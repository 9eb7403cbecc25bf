"""Whether the channels of a sound cancel each other out when they are mixed, as if wires had been swapped. Pure."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline.job import SAMPLE_RATE
from pipeline.media.sound.levels import FLOOR

#: dBFS; a mix whose loudest part is louder is what people record, whatever was lost in it: nobody looks further.
SUSPECT = -30.0
_HEARD = 60  # seconds in which something can be heard, that are looked at
_CANCELLED = (
    12.0  # dB that a mix lies below what the same channels would give if they had nothing to do with each other
)


def cancels(chunks: Iterable[bytes], channels: int) -> bool:
    """Whether most of what the channels hold is lost in their mix. `chunks` of s16le, 16 kHz, channels interleaved."""
    heard = lost = 0
    for second in _seconds(chunks, channels):
        power = second.var(axis=0)
        if 10 * np.log10(max(float(power.max()), 1e-12)) < FLOOR:
            continue
        heard += 1
        mixed, unrelated = float(second.mean(axis=1).var()), float(power.sum()) / channels**2
        lost += mixed < unrelated * 10 ** (-_CANCELLED / 10)
        if heard == _HEARD:
            break
    return lost > heard / 2


def _seconds(chunks: Iterable[bytes], channels: int) -> Iterable[NDArray[np.float32]]:
    """Sound in whole seconds, a shorter rest at the end included; shape (samples, channels)."""
    size, held = 2 * channels * SAMPLE_RATE, bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= size:
            yield _samples(held[:size], channels)
            del held[:size]
    if rest := len(held) // (2 * channels) * 2 * channels:
        yield _samples(held[:rest], channels)


def _samples(pcm: bytearray, channels: int) -> NDArray[np.float32]:
    return np.frombuffer(pcm, "<i2").reshape(-1, channels).astype(np.float32) / np.float32(32768)
