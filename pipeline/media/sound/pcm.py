"""A stretch of a file as 16 kHz PCM, in one streaming pass of ffmpeg."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.job import SAMPLE_RATE, MediaInfo
from pipeline.media import arguments
from pipeline.media.description import longest
from pipeline.media.ffmpeg import Ending, Ffmpeg
from pipeline.media.selftest import resampler
from pipeline.media.sound import counting, mixing
from pipeline.media.sound.along import Along, Wanted
from pipeline.media.sound.placing import Placing

BYTES_PER_SECOND = 2 * SAMPLE_RATE
# Decoders need some sound before the first good sample and resamplers some after the last.
_AROUND = 0.1  # seconds
#: Behind a place that was sought, in which decoders lose what they please. Sound begins behind it, so that it begins on
#: a sample of the result wherever a window starts, and the same samples come of it.
_LOST = 0.2  # seconds
_SPARE_BYTES = 2 * BYTES_PER_SECOND  # that ffmpeg may write beyond what it was asked for


class Pcm:
    """Iterate once over s16le chunks, exactly from `start`, at most `length` seconds (None: all that is allowed).

    The `channels` are interleaved: one for all of them mixed, or as many as the file has. The attributes tell
    afterwards how it went. Raises as `Ffmpeg.stream`.
    """

    def __init__(
        self,
        path: Path,
        info: MediaInfo,
        start: float,
        length: float | None,
        ffmpeg: Ffmpeg,
        channels: int = 1,
        along: Along | None = None,
    ) -> None:
        """`along`: where the sound comes from, if not from a process of its own."""
        self._path = path
        self._info = info
        self._start = start
        # One second more than is allowed, so that sound beyond the limit is noticed.
        self._length = max(1.0, longest(info, ffmpeg.limits) + 1 - start) if length is None else length
        # Such a file is one window.
        self._counts = start == 0 and length is None and counting.is_due(path, info.demuxer)
        self._ffmpeg = ffmpeg
        self._channels = channels
        self._along = along
        self.num_bytes = 0  #: yielded so far
        self.ending = Ending()
        self.resampler = resampler(ffmpeg)
        lead = min(start, _AROUND + _LOST)
        total = lead + self._length + _AROUND
        wanted, skip, most = (channels * _num_bytes(time) for time in (self._length, lead, total))
        self._begins, self._total, self._lost = start - lead, total, max(0.0, lead - _AROUND)
        self._wanted, self._skip, self._most = wanted, skip, most + channels * _SPARE_BYTES
        if along is not None:
            along.wanted = Wanted(self._begins, self._asked(), self._most)

    @property
    def end(self) -> float:
        """Where the decoded sound ends, in seconds of the media."""
        return round(self._start + self.num_bytes / (BYTES_PER_SECOND * self._channels), 3)

    def __iter__(self) -> Iterator[bytes]:
        skip = self._skip
        for chunk in self._chunks():
            dropped = min(skip, len(chunk))
            skip -= dropped
            kept = chunk[dropped : dropped + self._wanted - self.num_bytes]
            self.num_bytes += len(kept)
            if kept:
                yield kept

    def is_at_hand(self, num_bytes: int) -> bool:
        """Whether the first so many bytes can be read now, or end before; a process of its own waits for them."""
        return self._along is None or self._along.holds(self._skip + num_bytes)

    def _chunks(self) -> Iterator[bytes]:
        if self._along is not None:
            yield from self._along.chunks(self.ending)
            return
        binary, demuxer = self._ffmpeg.ffmpeg, self._info.demuxer
        argv = arguments.decode(binary, self._path, demuxer, self._begins, self._total, asked=self._asked())
        placing = Placing()
        for chunk in self._ffmpeg.stream(argv, self._most, self.ending, heed=placing.heed):
            # What lies behind the end is read, for the process to end well; silence in front of it would be endless.
            for placed in placing.put(chunk):
                yield placed
                if self.num_bytes == self._wanted:
                    break

    def _asked(self) -> arguments.Sound:
        audio = self._info.audio
        assert audio is not None, "who asks for sound has looked whether there is any"
        is_paced = self._info.demuxer == "mpegts" and audio.codec == "aac"
        return arguments.Sound(
            stream=audio.index,
            resampler=self.resampler,
            has_video=self._info.video is not None,
            channels=self._channels,
            mix=mixing.chosen(audio.channels, audio.layout),
            counts=self._counts,
            paced_at=audio.sample_rate if is_paced else None,
            lost=self._lost,
        )


def _num_bytes(seconds: float) -> int:
    return 2 * round(seconds * SAMPLE_RATE)
