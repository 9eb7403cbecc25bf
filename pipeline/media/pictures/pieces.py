"""Picture files as the payloads that a task asks for: pages and animations.

Each is iterated once, in bounded memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.errors import PermanentError
from pipeline.job import Failure, MediaInfo, SegmentLimits
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.pictures import in_process
from pipeline.media.pictures.animations import Shown
from pipeline.media.told import Reading, length
from pipeline.payload import Frame, Payload, Piece


class PicturePieces(Reading):
    """The pictures of a picture file, page by page. The place of a picture is the number of its page, from 0 on.

    Pages that are broken are missing; raises the first one's error when all of them are.
    """

    def __init__(self, path: Path, info: MediaInfo, engine: SegmentLimits, ffmpeg: Ffmpeg) -> None:
        assert info.picture is not None, "the media is a picture"
        self._path = path
        self._picture = info.picture
        self._engine = engine
        self._ffmpeg = ffmpeg
        super().__init__(end=float(info.picture.pages - 1))

    def __iter__(self) -> Iterator[Piece]:
        name, engine = self._picture.format, self._engine
        broken: dict[int, PermanentError] = {}
        for page in range(self._picture.pages):
            try:
                found = in_process.read(self._path, name, engine.image_pixels, self._ffmpeg, engine.image_fit, page)
            except PermanentError as error:
                broken[page] = error
                continue
            self.flags = tuple(dict.fromkeys((*self.flags, *found.flags)))
            place = float(page)
            yield Piece(place, place, Payload(kind="picture", frames=(Frame(place, found.image),)))
        if len(broken) == self._picture.pages:
            raise broken[0]
        self.missing = _missing(broken) if broken else None


def _missing(broken: Mapping[int, PermanentError]) -> Failure:
    """What is said of these pages. Which they are is seen by those that are there."""
    reason = "; ".join(dict.fromkeys(error.reason for error in broken.values()))
    detail = "\n".join(f"page {page + 1}: {error.reason} {error.detail}" for page, error in broken.items())
    return Failure(error="permanent", reason=reason, detail=detail)


class AnimationPieces(Reading):
    """Groups of the frames of an animation, `rate` a second. `counts` as in `SoundPieces`.

    Of one that is cut off or broken behind its first frames, these are given, and what is behind them is missing.
    """

    def __init__(
        self, path: Path, info: MediaInfo, engine: SegmentLimits, ffmpeg: Ffmpeg, *, rate: float, counts: bool
    ) -> None:
        super().__init__()
        assert info.picture is not None, "the media came as a picture file"
        self._most = engine.images
        self._counts = counts
        name, side = info.picture.format, engine.image_pixels
        self._frames = in_process.animation(path, name, rate, side, ffmpeg, engine.image_fit)

    def __iter__(self) -> Iterator[Piece]:
        held: list[Shown] = []
        for shown in self._readable():
            if len(held) == self._most:
                yield self._piece(held)
                held = []
            held.append(shown)
            self.end = shown.end
        if held:
            yield self._piece(held)

    def _readable(self) -> Iterator[Shown]:
        try:
            yield from self._frames
        except PermanentError as error:
            if not self.end:
                raise
            self.missing = Failure(error="permanent", reason=error.reason, detail=error.detail)

    def _piece(self, shown: Sequence[Shown]) -> Piece:
        start, end = shown[0].start, shown[-1].end
        frames = tuple(Frame(frame.start, frame.image) for frame in shown)
        covers = length(start, end) if self._counts else 0.0
        return Piece(start, end, Payload(kind="frames", frames=frames, covers=covers))
