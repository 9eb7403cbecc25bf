"""Cut a stream of sound into clips of speech: drop long silence, pack the rest, never cut inside a word near a silence.

Pure: bytes in, clips out, at most about 90 s of sound held. The clips do not depend on how the stream is chunked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.job import SAMPLE_RATE
from pipeline.media.levels import (
    FRAME_BYTES,
    FRAMES_PER_SECOND,
    Active,
    Levels,
    levels,
    quietest,
    silences,
    threshold,
)

# All in frames of 20 ms.
_BLOCK = 10 * FRAMES_PER_SECOND  # frames that share one threshold
_BLOCKS_BEFORE, _BLOCKS_AFTER = 3, 2  # around a block, that its threshold is taken from
_MARGIN = 10  # kept around speech
_GAP = 10  # shortest silence to cut in; a shorter one is part of a word
_LONG_GAP = 200  # a silence that ends a clip
_SHORTEST = 6  # a clip is never shorter, unless the sound is


@dataclass(frozen=True, slots=True)
class SpeechClip:
    """A clip of speech: `start` and `end` in seconds of the media, `pcm` s16le, 16 kHz, mono."""

    start: float
    end: float
    pcm: bytes


def next_cut(active: Active, sound: Levels, limit: int, *, is_last: bool) -> tuple[int, int] | None:
    """First and one-past-last frame of the first clip in `active`, at most `limit` frames long; None without one.

    None also means that more must be known to decide, unless `is_last`: then the sound ends where the array ends.
    """
    known = len(active)
    speech = np.flatnonzero(active)
    if not len(speech):
        return None
    begin, last = int(speech[0]), int(speech[-1])
    start = max(0, begin - _MARGIN)
    end = start + limit
    gaps = [(first, stop) for first, stop in silences(active) if begin < first <= end and stop - first >= _GAP]
    for first, stop in gaps:
        if stop - first >= _LONG_GAP:
            return start, _end_in_gap(first, stop, end)
    if is_last and last < end:
        return start, min(last + 1 + _MARGIN, known, end)
    if not is_last and known < end + 2 * _MARGIN:
        return None
    if gaps:
        return start, _end_in_gap(*gaps[-1], end)
    latest = min(end, known - _SHORTEST) if is_last else end
    return start, quietest(sound, start + 2 * limit // 3, latest + 1)


def _end_in_gap(first: int, stop: int, end: int) -> int:
    """Where a clip ends whose last word is followed by the gap [first, stop): each side keeps its share of the gap."""
    return min(first + min(stop - first, 2 * _MARGIN) // 2, end)


class Segmenter:
    """Feed it PCM, take clips. `start` is the time of the first sample in seconds."""

    def __init__(self, start: float, clip_seconds: float) -> None:
        self._start = start
        self._limit = int(clip_seconds * FRAMES_PER_SECOND + 1e-6)
        self._base = 0  # number of the first frame that is held
        self._pcm = bytearray()  # from there on
        self._levels = np.empty(0, np.float32)  # from there on, as far as measured
        self._active = np.empty(0, np.bool_)  # from there on, as far as decided
        self._blocks: list[Levels] = []  # the last ones measured
        self._undecided = 0  # how many of them have no threshold yet

    def feed(self, pcm: bytes) -> Iterator[SpeechClip]:
        """Take s16le bytes, of any length; yields the clips that are now certain."""
        self._pcm += pcm
        while len(self._pcm) >= (len(self._levels) + _BLOCK) * FRAME_BYTES:
            self._measure(_BLOCK * FRAME_BYTES)
            if self._undecided > _BLOCKS_AFTER:
                self._decide()
                yield from self._cut(is_last=False)

    def finish(self) -> Iterator[SpeechClip]:
        """Yields the clips that were waiting for more sound."""
        if len(self._pcm) // 2 * 2 > len(self._levels) * FRAME_BYTES:
            self._measure(None)
        while self._undecided:
            self._decide()
        yield from self._cut(is_last=True)

    def _measure(self, num_bytes: int | None) -> None:
        """Levels of the next block."""
        first = len(self._levels) * FRAME_BYTES
        end = len(self._pcm) // 2 * 2 if num_bytes is None else first + num_bytes
        block = levels(bytes(self._pcm[first:end]))
        self._levels = np.concatenate((self._levels, block))
        self._blocks = [*self._blocks, block][-(_BLOCKS_BEFORE + 1 + _BLOCKS_AFTER) :]
        self._undecided += 1

    def _decide(self) -> None:
        """Which frames of the oldest undecided block are active."""
        block = len(self._blocks) - self._undecided
        around = self._blocks[max(0, block - _BLOCKS_BEFORE) : block + 1 + _BLOCKS_AFTER]
        active = self._blocks[block] > threshold(np.concatenate(around))
        self._active = np.concatenate((self._active, active))
        self._undecided -= 1

    def _cut(self, *, is_last: bool) -> Iterator[SpeechClip]:
        while found := next_cut(self._active, self._levels, self._limit, is_last=is_last):
            yield self._clip(*found)
            self._drop(found[1])
        if not is_last and not self._active.any():
            self._drop(max(0, len(self._active) - _MARGIN))

    def _clip(self, first: int, end: int) -> SpeechClip:
        pcm = bytes(self._pcm[first * FRAME_BYTES : end * FRAME_BYTES])
        start = self._start + (self._base + first) / FRAMES_PER_SECOND
        return SpeechClip(round(start, 3), round(start + len(pcm) / (2 * SAMPLE_RATE), 3), pcm[: len(pcm) // 2 * 2])

    def _drop(self, frames: int) -> None:
        self._base += frames
        del self._pcm[: frames * FRAME_BYTES]
        self._levels = self._levels[frames:]
        self._active = self._active[frames:]
