"""One window of a video as groups of frames, in one streaming pass; one group is held in memory."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from pipeline.errors import PermanentError
from pipeline.job import Failure, Window
from pipeline.limits import holds_more
from pipeline.media.description import is_declaring
from pipeline.media.ffmpeg import Ending
from pipeline.media.pictures import still
from pipeline.media.sound.along import Along
from pipeline.media.sound.audio import TOLERANCE, cut_off, missing_until
from pipeline.media.video.choice import Choice
from pipeline.media.video.packets import shows
from pipeline.media.video.sampling import Film, Sample, Sampling, Stretch
from pipeline.media.video.scenes import Scenes
from pipeline.media.video.seeking import WITHOUT_KEY_FRAMES
from pipeline.payload import Frame

_MORE = 60.0  # seconds behind the end that a header tells, in which video is looked for


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """Frames in a row. `start` is when the first is shown, `end` when the next group starts; seconds of the media."""

    start: float
    end: float
    frames: tuple[Frame, ...]


class FrameCut:
    """Iterate once for the groups of a window, or over its `frames`; the attributes are true afterwards.

    The same file and window give the same frames, byte for byte, and windows that touch give together what one over
    all of them gives, in every mode: whether a frame is taken depends on its own cell and the one before it. Raises
    PermanentError when the file gives no frame at all or is longer than it may be, ResourceError when decoding it
    takes too much.
    """

    def __init__(self, film: Film, window: Window, along: Along | None = None) -> None:
        """`along` gets the sound of the window from the process that decodes the frames, if `can_hear` says it can."""
        self._film = film
        self._along = along
        self._window = window
        self._endings: list[Ending] = []
        self.end = window.start  #: where the video really ended, in seconds of the media, to within a cell
        #: of `decode_errors`, `pale`: HDR that this ffmpeg cannot bring down to SDR; `sound_unknown`: there is sound
        #: that nobody knows how to decode
        self.flags: tuple[str, ...] = ()
        self.missing: Failure | None = None  #: why video that the file promises after `end` could not be read
        self.missing_until: float | None = None  #: end of that missing stretch

    def __iter__(self) -> Iterator[FrameGroup]:
        held: list[Frame] = []
        for frame in self.frames():
            if len(held) == self._film.limits.images:
                yield FrameGroup(held[0].time, frame.time, tuple(held))
                held = []
            held.append(frame)
        if held:
            yield FrameGroup(held[0].time, self.end, tuple(held))

    def frames(self) -> Iterator[Frame]:
        """The frames of the window, one by one."""
        film, start = self._film, self._window.start
        limits = film.ffmpeg.limits
        scenes = Scenes(film.choice.rate, film.choice.every) if film.choice.mode == "scene" else None
        last: Sample | None = None
        for sample in self._samples():
            if sample.time > limits.duration_seconds:
                raise holds_more(limits, "duration_seconds", "s of video")
            if film.cell(sample.time) >= limits.frames:
                raise holds_more(limits, "frames", "frames to look at")
            is_taken = scenes is None or scenes.takes(sample.time, sample.image)
            if sample.time >= start:
                last = sample
                if is_taken:
                    yield Frame(time=sample.time, image=still.encoded(sample.image))
        self._conclude(last)

    def _samples(self) -> Iterator[Sample]:
        film, window = self._film, self._window
        start, end = window.start, window.end
        if film.choice.mode == "scene":
            start = film.begin(film.cell(start) - 1)  # to know what the first frame is compared with
        elif film.is_sought:
            start = yield from self._sought(start)
        # One second more than is allowed, so that video beyond the limit is noticed.
        yield from self._sampled(start, film.ffmpeg.limits.duration_seconds + 1 if end is None else end)

    def _sought(self, start: float) -> Generator[Sample, None, float]:
        """The frame of each cell, by a process of its own, as far as the header tells; returns where to go on."""
        film, end = self._film, self._window.end
        bounds = [bound for bound in (end, film.video.length) if bound is not None]
        for cell in range(film.cell(start), film.cell(min(bounds)) + 1):
            until = film.begin(cell + 1) if end is None else min(film.begin(cell + 1), end)
            yield from self._sampled(start, until, most=1)
            start = until
        # To decode up to the end only to see that it is the end would cost as much as some frames.
        goes_on = end is None and shows(film.path, film.info, start, start + _MORE, film.ffmpeg)
        return start if goes_on or end is not None else film.ffmpeg.limits.duration_seconds + 1

    def _sampled(self, start: float, end: float, most: int | None = None) -> Iterator[Sample]:
        if start >= end and most is None and self._endings:
            return  # all was sought
        sampling = Sampling(self._film, Stretch(start, max(start, end)), most=most, along=self._along)
        self._endings.append(sampling.ending)
        yield from sampling

    def _conclude(self, last: Sample | None) -> None:
        film, window = self._film, self._window
        told = next((ending.stderr for ending in self._endings if ending.stderr), "")
        if last is None and window.start == 0 and self._is_due_by(window.end):
            raise PermanentError("no frame could be decoded from the file", told)
        is_mute = film.info.audio is None and film.info.audio_streams > 0
        marks = {"pale": not film.is_flattened, "sound_unknown": is_mute}
        self.flags = (*self._trouble(), *(mark for mark, is_set in marks.items() if is_set))
        self.end = self._seen_until(last)
        promised = film.video.promised if is_declaring(film.info) else None
        until = missing_until(window, self.end, promised)
        # A frame may be shown for long. Only when there is none behind it either, the file is cut off.
        if until is not None and not self._goes_on(until):
            reason = cut_off(window, self.end, until, promised or until, "video")
            self.missing = Failure(error="permanent", reason=reason, detail=told)
            self.missing_until = until
        elif window.end is not None:
            self.end = window.end
        elif until is not None:
            self.end = until

    def _trouble(self) -> tuple[str, ...]:
        """What ffmpeg complains of; not where it always does, as it begins between two key frames."""
        is_noisy = self._window.start > 0 and self._film.info.demuxer in WITHOUT_KEY_FRAMES
        is_clean = all(not ending.code and (is_noisy or not ending.stderr) for ending in self._endings)
        return () if is_clean else ("decode_errors",)

    def _is_due_by(self, time: float | None) -> bool:
        """Whether there must be a frame before a time; None: the end."""
        return time is None or (self._film.choice.mode != "keyframes" and self._film.video.start < time)

    def _seen_until(self, last: Sample | None) -> float:
        """Where the video ends by the last frame that was sampled: frames follow it that were not."""
        if last is None:
            return self._window.start
        length = self._film.video.length
        following = last.time + 1 / self._film.choice.rate
        seen = max(last.until, following if length is None or length <= last.time else min(following, length))
        return round(seen if self._window.end is None else min(seen, self._window.end), 6)

    def _goes_on(self, until: float) -> bool:
        """Whether the video goes on at the end of the window; between key frames, whether there is any up to there."""
        film, end = self._film, self._window.end
        if film.choice.mode == "keyframes":
            return shows(film.path, film.info, until - TOLERANCE, until + TOLERANCE, film.ffmpeg)
        if end is None:
            return False
        every = replace(film, choice=Choice("fps", film.choice.rate))
        sampling = Sampling(every, Stretch(end, film.ffmpeg.limits.duration_seconds + 1))
        with closing(iter(sampling)) as samples:
            return next(samples, None) is not None
