"""Frames of a stretch of a video, sampled in one streaming pass of ffmpeg, each with its exact time."""

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.job import MediaInfo, SegmentLimits, VideoStream
from pipeline.media import arguments, clocks
from pipeline.media.arguments import Frames
from pipeline.media.ffmpeg import Ending, Ffmpeg
from pipeline.media.pictures import still
from pipeline.media.selftest import tone_mapping
from pipeline.media.sound.along import Along
from pipeline.media.video import cells, filters, seeking
from pipeline.media.video.choice import Choice
from pipeline.media.video.seeking import LEAD, WITHOUT_KEY_FRAMES

_MICROSECONDS = 1_000_000
_AROUND = 0.1  # seconds decoded before the first cell and behind the end: times are handed over in milliseconds


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `start` to `end`, in seconds of the media."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame that was looked at: RGB, upright, of the engine's size. Shown from `time` to `until`; seconds."""

    time: float
    until: float
    image: Image.Image


@dataclass(frozen=True, slots=True)
class Film:
    """A video file and what its frames are wanted as."""

    path: Path
    info: MediaInfo
    choice: Choice
    limits: SegmentLimits
    ffmpeg: Ffmpeg

    @property
    def video(self) -> VideoStream:
        assert self.info.video is not None, "who asks for frames has looked whether there are any"
        return self.info.video

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a finished frame: the square that the engine takes, or what fits into it."""
        side = self.limits.image_pixels
        if self.limits.image_fit == "stretch":
            return side, side
        return even(*still.fitted(self.video.width, self.video.height, side))

    @property
    def is_flattened(self) -> bool:
        """Whether HDR becomes SDR as it should; where ffmpeg was built without it, colours are pale."""
        return self.video.transfer == "sdr" or tone_mapping(self.ffmpeg)

    @property
    def is_sought(self) -> bool:
        """Whether each frame is looked for by a process of its own."""
        step = 1 / self.choice.rate
        is_worth_it = self.choice.mode == "fps" and seeking.is_worth_it(self.video, self.info.demuxer, step)
        return is_worth_it and not self.is_joined

    @property
    def is_joined(self) -> bool:
        """Whether its clock begins anew somewhere."""
        return clocks.go_back(self.path, self.info.demuxer)

    @property
    def can_be_heard(self) -> bool:
        """Whether one process can give the frames and the sound of a window.

        Not where frames are sought, for then nobody reads all of the file; and not where decoding begins between two
        key frames: what ffmpeg complains of there would be taken for damage of the sound.
        """
        is_timed = self.info.audio is not None and not self.info.is_animation
        return is_timed and not self.is_sought and self.info.demuxer not in WITHOUT_KEY_FRAMES

    def cell(self, time: float) -> int:
        """The number of the cell of 1/`rate` seconds that a time lies in."""
        return cells.cell(time, self.choice.rate)

    def begin(self, cell: int) -> float:
        """The earliest time that lies in a cell; 0 in the first one."""
        return cells.begin(cell, self.choice.rate)


class Sampling:
    """Iterate once over the samples of a stretch; `most`: so many cells at the most, then ffmpeg stops.

    Of each cell of the media, its first frame is taken if it lies in the stretch: stretches that touch give together
    what one over all of them gives. `ending` tells afterwards how it went. `along` gets the sound that it wants from
    the same process. Raises as `Ffmpeg.stream`.
    """

    def __init__(self, film: Film, stretch: Stretch, *, most: int | None = None, along: Along | None = None) -> None:
        self._film = film
        self._along = along
        self._stretch = stretch
        self._most = most
        self._size = film.size
        # Where the clock of the file begins anew, ffmpeg makes one that goes on.
        self._is_rebased = stretch.start == 0 and film.is_joined
        self._origin = 0.0 if self._is_rebased else film.info.origin
        self._times: deque[tuple[int, int]] = deque()
        self._line = b""
        self.ending = Ending()

    def __iter__(self) -> Generator[Sample, None, None]:
        width, height = self._size
        num_bytes = 3 * width * height
        held, last_cell = bytearray(), -1
        for chunk in self._chunks(num_bytes):
            held += chunk
            while len(held) >= num_bytes and self._times:
                time, duration = self._times.popleft()
                # Where picture or sound change their form, ffmpeg begins to choose anew, in the middle of a cell.
                cell = self._film.cell(time / _MICROSECONDS)
                if self._stretch.start <= time / _MICROSECONDS < self._stretch.end and cell > last_cell:
                    last_cell = cell
                    image = Image.frombytes("RGB", self._size, memoryview(held)[:num_bytes])
                    yield Sample(time / _MICROSECONDS, (time + duration) / _MICROSECONDS, image)
                del held[:num_bytes]

    def _chunks(self, frame_bytes: int) -> Iterator[bytes]:
        """What ffmpeg writes; at the end nothing once more, for frames whose times came last."""
        film, stretch = self._film, self._stretch
        first_cell = film.cell(stretch.start)
        lead = LEAD if film.info.demuxer in WITHOUT_KEY_FRAMES else _AROUND
        start = max(0.0, first_cell / film.choice.rate - lead)
        if self._along is not None and self._along.wanted is not None:
            start = min(start, self._along.wanted.start)
        length = stretch.end - start + _AROUND
        argv = arguments.frames(
            film.ffmpeg.ffmpeg, film.path, film.info.demuxer, start, length, asked=self._asked(first_cell)
        )
        # Where the picture changes its form ffmpeg begins to choose anew: it may give as many frames as there are.
        most_rate = max(film.choice.rate, film.ffmpeg.limits.frame_rate)
        most = min(self._most or int(length * most_rate) + 1, 10**9)
        others, heed = {arguments.NOTES: self._note}, None
        if self._along is not None:
            others[arguments.ASIDE], heed = self._along.put, self._along.heed
        yield from film.ffmpeg.stream(argv, most * frame_bytes, self.ending, others, heed)
        if self._along is not None:
            self._along.close(self.ending)
        yield b""

    def _asked(self, first_cell: int) -> Frames:
        film = self._film
        wanted = None if self._along is None else self._along.wanted
        mapped = film.video.transfer != "sdr" and film.is_flattened
        return Frames(
            stream=film.video.index,
            origin=self._origin,
            is_rebased=self._is_rebased,
            rate=film.choice.rate,
            first_cell=first_cell,
            filters=filters.shown(film.video, self._size, film.limits.image_fit, tone_mapping=mapped),
            is_turned=film.video.turn != "none",
            keys_only=film.choice.mode == "keyframes",
            most=self._most,
            sound=None if film.info.audio is None else film.info.audio.index,
            heard=None if wanted is None else wanted.sound,
            heard_from=0.0 if wanted is None else wanted.start + self._origin,
        )

    def _note(self, data: bytes) -> None:
        """Read the lines that tell the times: stream, time of decoding, time of showing, length, and what is not used.

        The first lines, which begin with a hash, tell about the stream.
        """
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if line and not line.startswith(b"#"):
                _, _, time, duration, *_ = line.split(b",")
                self._times.append((int(time) - round(self._origin * _MICROSECONDS), int(duration)))


def even(width: int, height: int) -> tuple[int, int]:
    """The next smaller even size, at least 2 by 2: half the resolution of colours must be whole."""
    return max(2, width // 2 * 2), max(2, height // 2 * 2)
