"""Cut a stream of sound into clips of speech: pack them full, drop the silence between them, never cut inside a word.

Pure: bytes in, clips out, at most about two minutes of sound held. How the stream is chunked makes no difference.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.job import SAMPLE_RATE
from pipeline.media.sound.levels import FRAME_BYTES, FRAMES_PER_SECOND, SILENCE, Levels, levels, pause_frames, threshold
from pipeline.media.sound.packing import WIDEST_MARGIN, Heard, next_clip
from pipeline.media.sound.vad import Detector, voice

_BLOCK = 10 * FRAMES_PER_SECOND  # frames that share one threshold
_BLOCKS_BEFORE, _BLOCKS_AFTER = 3, 2  # around a block, that its threshold is taken from
_LEAD = 25  # frames that the detector hears before the first one it is asked about


@dataclass(frozen=True, slots=True)
class SpeechClip:
    """A clip of speech: `start` and `end` in seconds of the media, `pcm` s16le, 16 kHz, mono.

    `channel`: the one it was heard in, from 1; None when all are mixed.
    """

    start: float
    end: float
    pcm: bytes
    channel: int | None = None


class Segmenter:
    """Feed it PCM, take clips. `start` is the time of the first sample in seconds.

    `detect` is asked where levels do not tell whether somebody speaks; without it they alone must do.
    """

    def __init__(self, start: float, clip_seconds: float, detect: Detector | None = None) -> None:
        self._start = start
        self._detect = detect
        self._limit = int(clip_seconds * FRAMES_PER_SECOND + 1e-6)
        self._base = 0  # number of the first frame that is held
        self._pcm = bytearray()  # from there on
        self._levels = np.empty(0, np.float32)  # from there on, as far as measured
        self._active = np.empty(0, np.bool_)  # from there on, as far as decided
        self._needed = np.empty(0, np.int16)  # as many: see `Heard`
        self._blocks: list[Levels] = []  # the last ones measured
        self._undecided = 0  # how many of them have no threshold yet
        self.loudest = SILENCE  #: level of the loudest 20 ms so far, in dBFS

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
        self.loudest = max(self.loudest, float(block.max(initial=SILENCE)))

    def _decide(self) -> None:
        """Which frames of the oldest undecided block are active."""
        block = len(self._blocks) - self._undecided
        around = np.concatenate(self._blocks[max(0, block - _BLOCKS_BEFORE) : block + 1 + _BLOCKS_AFTER])
        active = self._blocks[block] > threshold(around)
        self._active = np.concatenate((self._active, active))
        self._needed = np.concatenate((self._needed, np.full(len(active), pause_frames(around), np.int16)))
        self._undecided -= 1

    def _cut(self, *, is_last: bool) -> Iterator[SpeechClip]:
        speaks = None if self._detect is None else self._voice
        while found := next_clip(self._heard(), self._limit, speaks, is_last=is_last):
            yield self._clip(*found)
            self._drop(found[1])
        if not is_last and not self._active.any():
            self._drop(max(0, len(self._active) - WIDEST_MARGIN))  # speech may follow

    def _heard(self) -> Heard:
        return Heard(self._active, self._levels, self._needed)

    def _voice(self, first: int, end: int) -> NDArray[np.float32]:
        assert self._detect is not None, "it is asked only if there is one"
        begin = max(0, first - _LEAD)
        return voice(self._detect, self._pcm[begin * FRAME_BYTES : end * FRAME_BYTES])[first - begin :]

    def _clip(self, first: int, end: int) -> SpeechClip:
        pcm = bytes(self._pcm[first * FRAME_BYTES : end * FRAME_BYTES])
        start = self._start + (self._base + first) / FRAMES_PER_SECOND
        return SpeechClip(round(start, 3), round(start + len(pcm) / (2 * SAMPLE_RATE), 3), pcm[: len(pcm) // 2 * 2])

    def _drop(self, frames: int) -> None:
        self._base += frames
        del self._pcm[: frames * FRAME_BYTES]
        self._levels = self._levels[frames:]
        self._active = self._active[frames:]
        self._needed = self._needed[frames:]
