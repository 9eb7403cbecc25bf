"""Cut the channels of a recording into clips of speech, each by itself: those of a call are one speaker each. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.job import SAMPLE_RATE
from pipeline.media.sound.cutting import Segmenter, SpeechClip
from pipeline.media.sound.vad import Detector

_STEP_SECONDS = 10  # of sound, taken from one channel after the other
_DELAY = 0.02  # seconds by which the same sound may come later in one channel than in another
_COMPARED = 1 << 16  # samples in which the delay is looked for
_SHIFT = 0.3  # seconds by which the ends of two clips may differ that hold the same sound
#: Correlation of two clips that hold the same sound. AAC makes up noise for each channel anew: mono speech that came
#: back at 64 kb/s still had 0.995. Two people have nearly none.
_ALIKE = 0.98

Samples = NDArray[np.float32]


class ChannelSegmenter:
    """Feed it interleaved PCM, take clips with the number of their channel, from 1.

    A clip that another channel holds as well is given once, with the first of these channels. The clips and their
    order do not depend on how the stream is chunked.
    """

    def __init__(self, start: float, clip_seconds: float, channels: int, detect: Detector | None = None) -> None:
        self._segmenters = [Segmenter(start, clip_seconds, detect) for _ in range(channels)]
        self._step = 2 * SAMPLE_RATE * _STEP_SECONDS * channels  # bytes
        self._pcm = bytearray()
        self._waiting: list[SpeechClip] = []  # of the last step

    @property
    def loudest(self) -> float:
        """Level of the loudest 20 ms in any channel so far, in dBFS."""
        return max(segmenter.loudest for segmenter in self._segmenters)

    def feed(self, pcm: bytes) -> Iterator[SpeechClip]:
        """Take s16le bytes, of any length; yields the clips that are now certain."""
        self._pcm += pcm
        while len(self._pcm) >= self._step:
            yield from self._take(self._step)

    def finish(self) -> Iterator[SpeechClip]:
        """Yields the clips that were waiting for more sound."""
        yield from self._take(len(self._pcm) // (2 * len(self._segmenters)) * 2 * len(self._segmenters))
        yield from self._told_once([list(segmenter.finish()) for segmenter in self._segmenters])
        yield from self._told_once([])

    def _take(self, num_bytes: int) -> Iterator[SpeechClip]:
        samples = np.frombuffer(bytes(self._pcm[:num_bytes]), "<i2").reshape(-1, len(self._segmenters))
        del self._pcm[:num_bytes]
        yield from self._told_once(
            [list(segmenter.feed(samples[:, number].tobytes())) for number, segmenter in enumerate(self._segmenters)]
        )

    def _told_once(self, by_channel: list[list[SpeechClip]]) -> Iterator[SpeechClip]:
        """The clips of the step before this one that no channel before theirs holds, too.

        What comes late in one channel may be in another one's next step.
        """
        waiting, self._waiting = self._waiting, []
        for number, clips in enumerate(by_channel, start=1):
            for clip in clips:
                if not _is_held(clip, number, (*waiting, *self._waiting)):
                    self._waiting.append(replace(clip, channel=number))
        yield from (clip for clip in waiting if not _is_held(clip, clip.channel or 0, self._waiting))


def _is_held(clip: SpeechClip, channel: int, others: Iterable[SpeechClip]) -> bool:
    """Whether a channel before that one holds the same."""
    return any((other.channel or 0) < channel and is_same(clip, other) for other in others)


def is_same(clip: SpeechClip, other: SpeechClip) -> bool:
    """Whether two clips hold the same sound at nearly the same time, whatever encoding with loss has made of it."""
    if max(abs(clip.start - other.start), abs(clip.end - other.end)) > _SHIFT:
        return False
    start, end = max(clip.start, other.start), min(clip.end, other.end)
    if end - start <= 2 * _DELAY:
        return False
    first, second = (_samples(each, start, end) for each in (clip, other))
    if _are_alike(first, second):
        return True
    late = _delay(first, second)
    behind, before = max(0, late), max(0, -late)
    count = min(len(first), len(second)) - abs(late)
    return _are_alike(first[before : before + count], second[behind : behind + count])


def _are_alike(first: Samples, second: Samples) -> bool:
    loudness = float(np.std(first) * np.std(second))
    covariance = float(np.mean((first - first.mean()) * (second - second.mean())))
    return loudness > 0 and abs(covariance) >= _ALIKE * loudness


def _delay(first: Samples, second: Samples) -> int:
    """Samples by which the second comes later, where the two are most alike; told by their loudest stretch."""
    known = min(len(first), len(second))
    count = min(known, _COMPARED)
    power = np.cumsum(np.square(first[:known], dtype=np.float64))
    begin = int(np.argmax(power[count:] - power[:-count])) if known > count else 0
    size, most = 2 * count, round(_DELAY * SAMPLE_RATE)
    spectra = [np.fft.rfft(sound[begin : begin + count], size) for sound in (first, second)]
    likeness = np.abs(np.fft.irfft(np.conj(spectra[0]) * spectra[1], size))
    return int(np.argmax(np.concatenate((likeness[-most:], likeness[: most + 1])))) - most


def _samples(clip: SpeechClip, start: float, end: float) -> NDArray[np.float32]:
    """The stretch of a clip between two times of the media, about its mean."""
    first, count = round((start - clip.start) * SAMPLE_RATE), round((end - start) * SAMPLE_RATE)
    samples = np.frombuffer(clip.pcm, "<i2").astype(np.float32)[first : first + count]
    about_mean: NDArray[np.float32] = samples - samples.mean()
    return about_mean
