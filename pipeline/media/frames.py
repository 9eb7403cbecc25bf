"""One window of a video as groups of frames, in one streaming pass; one group is held in memory."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PermanentError
from pipeline.job import Failure, MediaInfo, Window
from pipeline.limits import holds_more
from pipeline.media.audio import cut_off, missing_until
from pipeline.media.description import is_declaring
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import describe
from pipeline.media.sampling import WITHOUT_KEY_FRAMES, Sampling, Stretch
from pipeline.payload import Frame


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """Frames in a row. `start` is when the first is shown, `end` when the next group starts; seconds of the media."""

    start: float
    end: float
    frames: tuple[Frame, ...]


class FrameCut:
    """Iterate once for the groups of a window, or over its `frames`; the attributes are true afterwards.

    The same file and window give the same frames, byte for byte, and windows that touch give together what one over
    all of them gives. Raises PermanentError when the file gives no frame at all or is longer than it may be,
    ResourceError when decoding it takes too much.
    """

    def __init__(
        self, path: Path, info: MediaInfo, window: Window, ffmpeg: Ffmpeg, *, rate: float, most: int, side: int
    ) -> None:
        """`rate`: frames sampled from each second. `most`: frames of a group. `side`: of the square they fit into."""
        self._path = path
        self._info = info
        self._window = window
        self._ffmpeg = ffmpeg
        self._rate = rate
        self._most = most
        self._side = side
        self._described = describe(path, info.demuxer, ffmpeg)
        self.end = window.start  #: where the video really ended, in seconds of the media, to within 1/`rate`
        self.flags: tuple[str, ...] = ()  #: `decode_errors`
        self.missing: Failure | None = None  #: why video that the file promises after `end` could not be read
        self.missing_until: float | None = None  #: end of that missing stretch

    def __iter__(self) -> Iterator[FrameGroup]:
        held: list[Frame] = []
        for frame in self.frames():
            if len(held) == self._most:
                yield FrameGroup(held[0].time, frame.time, tuple(held))
                held = []
            held.append(frame)
        if held:
            yield FrameGroup(held[0].time, self.end, tuple(held))

    def frames(self) -> Iterator[Frame]:
        """The frames of the window, one by one."""
        limits = self._ffmpeg.limits
        limit = limits.duration_seconds
        # One second more than is allowed, so that video beyond the limit is noticed.
        sampling = self._sampling(self._window.start, limit + 1 if self._window.end is None else self._window.end)
        last: float | None = None
        for frame in sampling:
            if frame.time > limit:
                raise holds_more(limits, "duration_seconds", "s of video")
            if int(frame.time * self._rate + 1e-6) >= limits.frames:
                raise holds_more(limits, "frames", "frames to look at")
            last = frame.time
            yield frame
        self._conclude(sampling, last)

    def _sampling(self, start: float, end: float) -> Sampling:
        return Sampling(
            self._path,
            self._info,
            Stretch(start, max(start, end)),
            self._ffmpeg,
            origin=self._described.origin,
            rate=self._rate,
            side=self._side,
        )

    def _conclude(self, sampling: Sampling, last: float | None) -> None:
        ending, window = sampling.ending, self._window
        if last is None and window.start == 0 and self._is_shown_by(window.end):
            raise PermanentError("no frame could be decoded from the file", ending.stderr)
        is_noisy = window.start > 0 and self._info.demuxer in WITHOUT_KEY_FRAMES
        self.flags = ("decode_errors",) if ending.code or (ending.stderr and not is_noisy) else ()
        self.end = self._seen_until(sampling.shown_until, last)
        promised = self._described.video_extent.promise if is_declaring(self._info.demuxer) else None
        until = missing_until(window, self.end, promised)
        # A frame may be shown for long. Only when there is none behind the window either, the file is cut off.
        if until is not None and (window.end is None or not self._goes_on(window.end)):
            reason = cut_off(window, self.end, until, promised or until, "video")
            self.missing = Failure(error="permanent", reason=reason, detail=ending.stderr)
            self.missing_until = until
        elif window.end is not None:
            self.end = window.end

    def _is_shown_by(self, time: float | None) -> bool:
        return time is None or self._info.video is None or self._info.video.start < time

    def _seen_until(self, shown_until: float, last: float | None) -> float:
        """Where the video ends by the last frame that was sampled: frames follow it that were not."""
        if last is None:
            return self._window.start
        length = self._described.video_extent.length
        following = last + 1 / self._rate
        seen = max(shown_until, following if length is None or length <= last else min(following, length))
        return round(seen if self._window.end is None else min(seen, self._window.end), 6)

    def _goes_on(self, start: float) -> bool:
        """Whether there is a frame at `start` or later."""
        sampling = self._sampling(start, self._ffmpeg.limits.duration_seconds + 1)
        with closing(iter(sampling)) as frames:
            return next(frames, None) is not None
