"""Cut the channels of a recording into clips of speech, each by itself: those of a call are one speaker each. Pure."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.job import SAMPLE_RATE
from pipeline.media.sound.cutting import Segmenter, SpeechClip
from pipeline.media.sound.vad import Detector

_STEP_SECONDS = 10  # of sound, taken from one channel after the other
_SHIFT = 0.3  # seconds by which the ends of two clips may differ that hold the same sound
#: Correlation of two clips that hold the same sound. AAC makes up noise for each channel anew: mono speech that came
#: back at 64 kb/s still had 0.995. Two people have nearly none.
_ALIKE = 0.98


class ChannelSegmenter:
    """Feed it interleaved PCM, take clips with the number of their channel, from 1.

    A clip that another channel holds as well is given once, with the first of these channels. The clips and their
    order do not depend on how the stream is chunked.
    """

    def __init__(self, start: float, clip_seconds: float, channels: int, detect: Detector | None = None) -> None:
        self._segmenters = [Segmenter(start, clip_seconds, detect) for _ in range(channels)]
        self._step = 2 * SAMPLE_RATE * _STEP_SECONDS * channels  # bytes
        self._pcm = bytearray()

    def feed(self, pcm: bytes) -> Iterator[SpeechClip]:
        """Take s16le bytes, of any length; yields the clips that are now certain."""
        self._pcm += pcm
        while len(self._pcm) >= self._step:
            yield from self._take(self._step)

    def finish(self) -> Iterator[SpeechClip]:
        """Yields the clips that were waiting for more sound."""
        yield from self._take(len(self._pcm) // (2 * len(self._segmenters)) * 2 * len(self._segmenters))
        yield from _told_once([list(segmenter.finish()) for segmenter in self._segmenters])

    def _take(self, num_bytes: int) -> Iterator[SpeechClip]:
        samples = np.frombuffer(bytes(self._pcm[:num_bytes]), "<i2").reshape(-1, len(self._segmenters))
        del self._pcm[:num_bytes]
        yield from _told_once(
            [list(segmenter.feed(samples[:, number].tobytes())) for number, segmenter in enumerate(self._segmenters)]
        )


def _told_once(by_channel: list[list[SpeechClip]]) -> Iterator[SpeechClip]:
    """The clips of each channel that no channel before it holds."""
    given: list[SpeechClip] = []
    for number, clips in enumerate(by_channel, start=1):
        fresh = [clip for clip in clips if not any(is_same(clip, other) for other in given)]
        given += fresh
        yield from (replace(clip, channel=number) for clip in fresh)


def is_same(clip: SpeechClip, other: SpeechClip) -> bool:
    """Whether two clips hold the same sound at the same time, whatever encoding with loss has made of it."""
    if max(abs(clip.start - other.start), abs(clip.end - other.end)) > _SHIFT:
        return False
    start, end = max(clip.start, other.start), min(clip.end, other.end)
    first, second = (_samples(each, start, end) for each in (clip, other))
    loudness = float(np.std(first) * np.std(second))
    return loudness > 0 and abs(float(np.mean(first * second))) >= _ALIKE * loudness


def _samples(clip: SpeechClip, start: float, end: float) -> NDArray[np.float32]:
    """The stretch of a clip between two times of the media, about its mean."""
    first, count = round((start - clip.start) * SAMPLE_RATE), round((end - start) * SAMPLE_RATE)
    samples = np.frombuffer(clip.pcm, "<i2").astype(np.float32)[first : first + count]
    about_mean: NDArray[np.float32] = samples - samples.mean()
    return about_mean
