"""Sound, frames, scenes and texts of a window as the payloads that a task asks for, and what puts them together.

Each is iterated once, in bounded memory.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.job import SAMPLE_RATE, MediaInfo
from pipeline.media import documents
from pipeline.media.sound.along import Spool
from pipeline.media.sound.audio import WindowCut, WindowSound
from pipeline.media.told import Pieces, Reading, length
from pipeline.media.video.frames import FrameCut
from pipeline.payload import BYTES_PER_SECOND, Frame, Payload, Piece
from pipeline.settings import Limits

_SHORTEST_SCENE = 0.1  # seconds of sound, in a scene without a frame


class SoundPieces(Reading):
    """The clips of speech. `counts`: how much of the media is done is told by them."""

    def __init__(self, cut: WindowCut, *, counts: bool) -> None:
        super().__init__()
        self._cut = cut
        self._counts = counts

    def __iter__(self) -> Iterator[Piece]:
        for clip in self._cut:
            # Of several channels each is a part of the same time.
            covers = length(clip.start, clip.end) / self._cut.channels if self._counts else 0.0
            yield Piece(clip.start, clip.end, Payload(kind="sound", pcm=clip.pcm, covers=covers), clip.channel)
        self._learn(self._cut)


class FramePieces(Reading):
    """Groups of frames. `counts` as in `SoundPieces`."""

    def __init__(self, cut: FrameCut, *, counts: bool) -> None:
        super().__init__()
        self._cut = cut
        self._counts = counts

    def __iter__(self) -> Iterator[Piece]:
        for group in self._cut:
            covers = length(group.start, group.end) if self._counts else 0.0
            yield Piece(group.start, group.end, Payload(kind="frames", frames=group.frames, covers=covers))
        self._learn(self._cut)


class ScenePieces(Reading):
    """What is seen and heard together: frames and the sound of the same stretch, both read as they are needed.

    A stretch has at most `most` frames and `clip_seconds` of sound; it may have no frame, or no sound.
    """

    def __init__(self, cut: FrameCut, sound: WindowSound, start: float, *, most: int, clip_seconds: float) -> None:
        super().__init__()
        self._cut = cut
        self._sound = sound
        self._start = start
        self._most = most
        self._clip_seconds = clip_seconds

    def __iter__(self) -> Iterator[Piece]:
        heard, waiting = _Reader(self._sound), _Waiting()
        place = self._start
        for end, frames in stretches(self._cut.frames(), place, self._most, self._clip_seconds):
            if end is not None:
                waiting.put(place, end, frames)
                place = end
            while waiting and (end is None or self._sound.is_at_hand(_num_bytes(waiting.next_end - self._start))):
                begin, until, shown = waiting.take()
                yield from _scene(begin, until, shown, heard.up_to(_num_bytes(until - self._start)))
            if end is None:
                yield from self._last(place, frames, heard)
        self._learn(self._cut, self._sound)

    def _last(self, place: float, frames: tuple[Frame, ...], heard: "_Reader") -> Iterator[Piece]:
        """The stretch behind the last border, and those for which there is only sound left."""
        goes_on = True
        while goes_on:
            end = place + self._clip_seconds
            pcm = heard.up_to(_num_bytes(end - self._start))
            goes_on = len(pcm) >= _num_bytes(self._clip_seconds)
            if not goes_on:
                end = max(place + len(pcm) / BYTES_PER_SECOND, min(end, self._cut.end))
            yield from _scene(place, end, frames, pcm)
            place, frames = end, ()


class TextPieces(Reading):
    """A text in pieces of at most `longest` characters; one of white space alone is left out."""

    def __init__(self, path: Path, info: MediaInfo, longest: int, limits: Limits) -> None:
        assert info.encoding is not None, "the media is a text"
        self._text = documents.read(path, info.encoding, limits)
        self._longest = longest
        super().__init__(end=float(len(self._text)))

    def __iter__(self) -> Iterator[Piece]:
        for piece in documents.pieces(self._text, self._longest):
            if piece.text.strip():
                payload = Payload(kind="text", text=piece.text, covers=float(len(piece.text)))
                yield Piece(float(piece.start), float(piece.end), payload)


class MediaCut(Reading):
    """The pieces of several kinds of one window, one kind after the other."""

    def __init__(self, parts: Sequence[Pieces]) -> None:
        super().__init__()
        self._parts = parts

    def __iter__(self) -> Iterator[Piece]:
        for part in self._parts:
            yield from part
        self._learn(*self._parts)


def stretches(
    frames: Iterable[Frame], start: float, most: int, clip_seconds: float
) -> Iterator[tuple[float | None, tuple[Frame, ...]]]:
    """Divide the time from `start` on: where each stretch ends, and its frames. The last one's end is not known here.

    A stretch ends before the frame that is one too many, or when it is as long as may be.
    """
    held: list[Frame] = []
    for frame in frames:
        while frame.time >= (end := round(start + clip_seconds, 6)):  # both to the microsecond, or sums would differ
            start = end
            yield start, tuple(held)
            held = []
        if len(held) == most:
            start = frame.time
            yield start, tuple(held)
            held = []
        held.append(frame)
    yield None, tuple(held)


class _Waiting:
    """Stretches whose sound has not come yet, in order. In some files it lies far behind the frames."""

    def __init__(self) -> None:
        self._places: deque[tuple[float, float, tuple[tuple[float, int], ...]]] = deque()
        self._images = Spool()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def next_end(self) -> float:
        return self._places[0][1]

    def put(self, start: float, end: float, frames: tuple[Frame, ...]) -> None:
        for frame in frames:
            self._images.put(frame.image)
        self._places.append((start, end, tuple((frame.time, len(frame.image)) for frame in frames)))

    def take(self) -> tuple[float, float, tuple[Frame, ...]]:
        start, end, sizes = self._places.popleft()
        return start, end, tuple(Frame(time, self._images.take(size)) for time, size in sizes)


class _Reader:
    """Takes bytes from chunks, as many as are asked for."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = bytearray()
        self._taken = 0

    def up_to(self, end: int) -> bytes:
        """What follows what was taken before, up to byte number `end`, or less at the end of the chunks."""
        while self._taken + len(self._held) < end and (chunk := next(self._chunks, None)) is not None:
            self._held += chunk
        found = bytes(self._held[: end - self._taken])
        del self._held[: len(found)]
        self._taken += len(found)
        return found


def _scene(start: float, end: float, frames: tuple[Frame, ...], pcm: bytes) -> Iterator[Piece]:
    """A scene, unless there is nothing to be seen and next to nothing to be heard."""
    if frames or len(pcm) >= _SHORTEST_SCENE * BYTES_PER_SECOND:
        start, end = round(start, 6), round(end, 6)
        yield Piece(start, end, Payload(kind="scene", frames=frames, pcm=pcm, covers=length(start, end)))


def _num_bytes(seconds: float) -> int:
    return 2 * round(seconds * SAMPLE_RATE)
