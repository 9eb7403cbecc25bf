"""The sound of one window of a file, as it is or as clips of speech, in one streaming pass and constant memory."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import PermanentError
from pipeline.job import Failure, MediaInfo, Window
from pipeline.media.description import longest, promised_end, too_long
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.sound.along import Along
from pipeline.media.sound.channels import ChannelSegmenter
from pipeline.media.sound.cutting import Segmenter, SpeechClip
from pipeline.media.sound.levels import DITHER, QUIET
from pipeline.media.sound.pcm import Pcm
from pipeline.media.sound.phase import SUSPECT, cancels
from pipeline.media.sound.vad import Detector

TOLERANCE = 1.0  # seconds that a header may promise too much


class WindowSound:
    """Iterate once for the sound of a window, in chunks of s16le, 16 kHz; the attributes are true afterwards.

    Its channels are mixed into one, or interleaved if there are to be as many `channels` as the file has. The same file
    and window give the same bytes. Raises PermanentError when the file gives no sound at all or more than it may,
    ResourceError when decoding it takes too much.
    """

    def __init__(
        self,
        path: Path,
        info: MediaInfo,
        window: Window,
        ffmpeg: Ffmpeg,
        channels: int = 1,
        along: Along | None = None,
    ) -> None:
        self._info = info
        self._window = window
        self._limits = ffmpeg.limits
        length = None if window.end is None else window.end - window.start
        self._pcm = Pcm(path, info, window.start, length, ffmpeg, channels, along)
        self.end = window.start  #: where the decoded sound really ended, in seconds of the media
        self.flags: tuple[str, ...] = ()  #: of `decode_errors`, `resampler_fallback`
        self.missing: Failure | None = None  #: why sound that the file promises after `end` could not be read
        self.missing_until: float | None = None  #: end of that missing stretch

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._pcm:
            yield chunk
            if self._pcm.end > longest(self._info, self._limits):
                raise too_long(self._info, self._limits)
        self._conclude()

    def is_at_hand(self, num_bytes: int) -> bool:
        """Whether the first so many bytes can be read now, or end before."""
        return self._pcm.is_at_hand(num_bytes)

    def _conclude(self) -> None:
        ending = self._pcm.ending
        if not self._pcm.num_bytes and self._window.start == 0:
            raise PermanentError("no sound could be decoded from the file", ending.stderr)
        self.end = self._pcm.end
        self.flags = _flags(is_clean=not ending.stderr and not ending.code, resampler=self._pcm.resampler)
        until = missing_until(self._window, self.end, promised_end(self._info))
        if until is not None:
            reason = cut_off(self._window, self.end, until, self._info.duration or until, "sound")
            self.missing = Failure(error="permanent", reason=reason, detail=ending.stderr)
            self.missing_until = until


class WindowCut:
    """Iterate once for the clips of speech of a window. Raises as its `sound`, which tells afterwards how it went.

    Its flags tell, too, why speech may have been missed: `quiet`, where there is sound but all of it is too weak to be
    taken for speech; `out_of_phase`, where the channels cancel each other out in their mix.

    `split`: the clips of each channel by itself, as of two people on the telephone.
    """

    def __init__(
        self,
        path: Path,
        info: MediaInfo,
        window: Window,
        clip_seconds: float,
        ffmpeg: Ffmpeg,
        detect: Detector | None = None,
        *,
        split: bool = False,
        along: Along | None = None,
    ) -> None:
        #: that are cut each by itself
        self.channels = info.audio.channels if split and info.audio is not None else 1
        self.sound = WindowSound(path, info, window, ffmpeg, self.channels, along)
        self._path, self._info, self._window, self._ffmpeg = path, info, window, ffmpeg
        self._remarks: tuple[str, ...] = ()
        self._segmenter: Segmenter | ChannelSegmenter = Segmenter(window.start, clip_seconds, detect)
        if split:
            self._segmenter = ChannelSegmenter(window.start, clip_seconds, self.channels, detect)

    def __iter__(self) -> Iterator[SpeechClip]:
        is_empty = True
        for clip in self._clips():
            is_empty = False
            yield clip
        loudest = self._segmenter.loudest
        is_quiet = loudest > DITHER and (is_empty or loudest < QUIET)
        self._remarks = ("quiet",) * is_quiet + ("out_of_phase",) * self._cancels()

    @property
    def end(self) -> float:
        return self.sound.end

    @property
    def flags(self) -> tuple[str, ...]:
        return (*self.sound.flags, *self._remarks)

    @property
    def missing(self) -> Failure | None:
        return self.sound.missing

    @property
    def missing_until(self) -> float | None:
        return self.sound.missing_until

    def _clips(self) -> Iterator[SpeechClip]:
        for chunk in self.sound:
            yield from self._segmenter.feed(chunk)
        yield from self._segmenter.finish()

    def _cancels(self) -> bool:
        """Whether the mix is weak because its channels cancel each other out: weak ones are decoded once more."""
        audio = self._info.audio
        is_mixed = audio is not None and audio.channels > self.channels
        if audio is None or not is_mixed or self._segmenter.loudest > SUSPECT:
            return False
        window, channels = self._window, audio.channels
        length = None if window.end is None else window.end - window.start
        try:
            return cancels(Pcm(self._path, self._info, window.start, length, self._ffmpeg, channels), channels)
        except PermanentError:  # what is only remarked on must not cost the text
            return False


def missing_until(window: Window, end: float, promised: float | None) -> float | None:
    """End of the stretch after `end` that the file promises to this window but did not give; None when all is there."""
    if promised is None:
        return None
    until = promised if window.end is None else min(window.end, promised)
    return until if until - end > TOLERANCE else None


def cut_off(window: Window, end: float, until: float, promised: float, what: str) -> str:
    """Why the stretch from `end` to `until` is missing, in plain words. `what` there should be: sound, video."""
    if window.end is None and end > window.start:
        return f"the file is cut off: its header promises {promised:.1f} s of {what}, only {end:.1f} s could be read"
    return f"its header promises {promised:.1f} s of {what}, but none could be read from {end:.1f} s to {until:.1f} s"


def _flags(*, is_clean: bool, resampler: str) -> tuple[str, ...]:
    found = () if is_clean else ("decode_errors",)
    return found if resampler == "soxr" else (*found, "resampler_fallback")
