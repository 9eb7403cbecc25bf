"""What lies in the bucket for segments: sound, frames or text, in one object that says what it is.

The object is a line of JSON that tells the parts and their lengths, then the parts themselves, one behind the other.
The line also holds the job, so that answering needs no other object. Equal parcels give equal bytes.

Neighbours in a window travel together, up to a size: a store that takes milliseconds of its machine's CPU for each
request would otherwise cost more than a fast engine does.
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise

from pydantic import ValidationError

from pipeline.errors import PermanentError
from pipeline.job import SAMPLE_RATE, Job, Kind, Plan, Record, Seconds, Windows

BYTES_PER_SECOND = 2 * SAMPLE_RATE  # s16
#: Most segments and most bytes of a parcel, unless one segment is larger. Answers of a parcel are lost together.
PARCEL_SEGMENTS = 16
PARCEL_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture, or a frame of a video. `time` is in seconds of the media, exact to the microsecond."""

    time: Seconds
    image: bytes  #: JPEG, upright


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The media of one segment."""

    kind: Kind
    pcm: bytes = b""  #: s16le, 16 kHz, mono
    frames: tuple[Frame, ...] = ()
    text: str = ""
    covers: float = 0.0  #: how much of the media is done when this is answered; of two kinds only one counts

    @property
    def seconds(self) -> float:
        """Length of its sound."""
        return len(self.pcm) / BYTES_PER_SECOND

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        return len(self.pcm) + sum(len(frame.image) for frame in self.frames) + len(self.text)


@dataclass(frozen=True, slots=True)
class Piece:
    """A payload with its place in the media: seconds, or characters of a text."""

    start: float
    end: float
    payload: Payload
    channel: int | None = None  #: see `Segment`


@dataclass(frozen=True, slots=True)
class Parcel:
    """Payloads of segments that travel together, and all that must be known to answer them."""

    payloads: tuple[Payload, ...]
    job: Job
    windows: Windows | None = None  #: of a job that is one segment, with its plan
    plan: Plan | None = None


class _Part(Record):
    """One payload: its kind, and how many bytes each of its parts has."""

    kind: Kind
    pcm: int
    times: tuple[float, ...]
    images: tuple[int, ...]
    text: int
    covers: float

    @property
    def lengths(self) -> tuple[int, ...]:
        return (self.pcm, *self.images, self.text)


class _Head(Record):
    job: Job
    windows: Windows | None
    plan: Plan | None
    parts: tuple[_Part, ...]


def pack(parcel: Parcel) -> bytes:
    """The object that stands for a parcel."""
    parts: list[_Part] = []
    body: list[bytes] = []
    for payload in parcel.payloads:
        images, text = [frame.image for frame in payload.frames], payload.text.encode()
        parts.append(
            _Part(
                kind=payload.kind,
                pcm=len(payload.pcm),
                times=tuple(frame.time for frame in payload.frames),
                images=tuple(map(len, images)),
                text=len(text),
                covers=payload.covers,
            )
        )
        body += (payload.pcm, *images, text)
    head = _Head(job=parcel.job, windows=parcel.windows, plan=parcel.plan, parts=tuple(parts))
    return b"".join((head.model_dump_json().encode(), b"\n", *body))


def unpack(data: bytes) -> Parcel:
    """The parcel in an object. Raises PermanentError when the object is damaged."""
    line, _, body = data.partition(b"\n")
    try:
        head = _Head.model_validate_json(line)
    except ValidationError as error:
        raise PermanentError("the segment in the object store is damaged", str(error)) from error
    ends = list(accumulate((length for part in head.parts for length in part.lengths), initial=0))
    if ends[-1] != len(body) or any(len(part.times) != len(part.images) for part in head.parts):
        raise PermanentError("the segment in the object store is damaged", f"{len(body)} bytes, not {ends[-1]}")
    pieces = iter(body[start:end] for start, end in pairwise(ends))
    payloads = tuple(_payload(part, [next(pieces) for _ in part.lengths]) for part in head.parts)
    return Parcel(payloads, head.job, head.windows, head.plan)


def _payload(part: _Part, pieces: list[bytes]) -> Payload:
    pcm, *images, text = pieces
    frames = tuple(Frame(time, image) for time, image in zip(part.times, images, strict=True))
    return Payload(kind=part.kind, pcm=pcm, frames=frames, text=text.decode(), covers=part.covers)
