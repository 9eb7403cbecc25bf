"""Frames of a stretch of a video, sampled in one streaming pass of ffmpeg, each with its exact time."""

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.job import MediaInfo
from pipeline.media import arguments, pictures
from pipeline.media.arguments import Grid
from pipeline.media.ffmpeg import Ending, Ffmpeg
from pipeline.payload import Frame

_MICROSECONDS = 1_000_000
_AROUND = 0.1  # seconds decoded before the first cell and behind the end: times are handed over in milliseconds
#: Formats without an index. Decoding begins somewhere between two key frames, and is good from the next one on.
WITHOUT_KEY_FRAMES = frozenset({"mpegts", "mpeg"})
_LEAD = 12.0  # seconds; key frames are at most ten apart wherever viewers may come in late
_SPARE_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `start` to `end`, in seconds of the media."""

    start: float
    end: float


class Sampling:
    """Iterate once over the frames of a stretch, `rate` a second, each fitted into a square of `side` pixels.

    Of every 1/`rate` seconds of the media, its first frame is taken if it lies in the stretch: stretches that touch
    give together what one over all of them gives. The attributes tell afterwards how it went. Raises as
    `Ffmpeg.stream`.
    """

    def __init__(
        self, path: Path, info: MediaInfo, stretch: Stretch, ffmpeg: Ffmpeg, *, origin: float, rate: float, side: int
    ) -> None:
        self._path = path
        self._info = info
        self._stretch = stretch
        self._ffmpeg = ffmpeg
        self._origin = round(origin * _MICROSECONDS)
        self._grid = Grid(origin=origin, rate=rate)
        assert info.video is not None, "who asks for frames has looked whether there are any"
        self._size = even(*pictures.fitted(info.video.width, info.video.height, side))
        self._times: deque[tuple[int, int]] = deque()
        self._line = b""
        self.shown_until = stretch.start  #: when the last frame stops being shown, in seconds of the media
        self.ending = Ending()

    def __iter__(self) -> Generator[Frame, None, None]:
        width, height = self._size
        num_bytes = 3 * width * height
        held = bytearray()
        for chunk in self._chunks(num_bytes):
            held += chunk
            while len(held) >= num_bytes and self._times:
                time, duration = self._times.popleft()
                if self._stretch.start <= time / _MICROSECONDS < self._stretch.end:
                    self.shown_until = (time + duration) / _MICROSECONDS
                    image = Image.frombytes("RGB", self._size, bytes(held[:num_bytes]))
                    yield Frame(time=time / _MICROSECONDS, image=pictures.jpeg(image))
                del held[:num_bytes]

    def _chunks(self, frame_bytes: int) -> Iterator[bytes]:
        """What ffmpeg writes; at the end nothing once more, for frames whose times came last."""
        lead = _LEAD if self._info.demuxer in WITHOUT_KEY_FRAMES else _AROUND
        first_cell = int(self._stretch.start * self._grid.rate + 1e-6)
        start = max(0.0, first_cell / self._grid.rate - lead)
        length = self._stretch.end - start + _AROUND
        argv = arguments.frames(
            self._ffmpeg.ffmpeg,
            self._path,
            self._info.demuxer,
            start,
            length,
            grid=self._grid,
            size=self._size,
            sound=None if self._info.audio is None else self._info.audio.index,
        )
        most = int(length * self._grid.rate) + _SPARE_FRAMES
        yield from self._ffmpeg.stream(argv, most * frame_bytes, self.ending, self._note)
        yield b""

    def _note(self, data: bytes) -> None:
        """Read the lines that tell the times: stream, time of decoding, time of showing, length, and what is not used.

        The first lines, which begin with a hash, tell about the stream.
        """
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if line and not line.startswith(b"#"):
                _, _, time, duration, *_ = line.split(b",")
                self._times.append((int(time) - self._origin, int(duration)))


def even(width: int, height: int) -> tuple[int, int]:
    """The next smaller even size, at least 2 by 2: half the resolution of colours must be whole."""
    return max(2, width // 2 * 2), max(2, height // 2 * 2)
