"""What lies in the bucket for one segment: sound, frames or text, in one object that says what it is.

The object is a line of JSON that tells the parts and their lengths, then the parts themselves, one behind the other.
The line also holds the job, so that answering needs no other object. Equal parcels give equal bytes.
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise

from pydantic import ValidationError

from pipeline.errors import PermanentError
from pipeline.job import SAMPLE_RATE, Job, Kind, Plan, Record, Seconds, Windows

BYTES_PER_SECOND = 2 * SAMPLE_RATE  # s16


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


@dataclass(frozen=True, slots=True)
class Piece:
    """A payload with its place in the media: seconds, or characters of a text."""

    start: float
    end: float
    payload: Payload
    channel: int | None = None  #: see `Segment`


@dataclass(frozen=True, slots=True)
class Parcel:
    """A payload, and all that must be known to answer it."""

    payload: Payload
    job: Job
    windows: Windows | None = None  #: of a job that is this one segment, with its plan
    plan: Plan | None = None


class _Head(Record):
    job: Job
    windows: Windows | None
    plan: Plan | None
    kind: Kind
    pcm: int
    times: tuple[float, ...]
    images: tuple[int, ...]
    text: int
    covers: float


def pack(parcel: Parcel) -> bytes:
    """The object that stands for a parcel."""
    payload = parcel.payload
    text = payload.text.encode()
    head = _Head(
        job=parcel.job,
        windows=parcel.windows,
        plan=parcel.plan,
        kind=payload.kind,
        pcm=len(payload.pcm),
        times=tuple(frame.time for frame in payload.frames),
        images=tuple(len(frame.image) for frame in payload.frames),
        text=len(text),
        covers=payload.covers,
    )
    images = b"".join(frame.image for frame in payload.frames)
    return b"".join((head.model_dump_json().encode(), b"\n", payload.pcm, images, text))


def unpack(data: bytes) -> Parcel:
    """The parcel in an object. Raises PermanentError when the object is damaged."""
    line, _, body = data.partition(b"\n")
    try:
        head = _Head.model_validate_json(line)
    except ValidationError as error:
        raise PermanentError("the segment in the object store is damaged", str(error)) from error
    ends = list(accumulate((head.pcm, *head.images, head.text), initial=0))
    if ends[-1] != len(body) or len(head.times) != len(head.images):
        raise PermanentError("the segment in the object store is damaged", f"{len(body)} bytes, not {ends[-1]}")
    pcm, *images, text = (body[start:end] for start, end in pairwise(ends))
    frames = tuple(Frame(time, image) for time, image in zip(head.times, images, strict=True))
    payload = Payload(kind=head.kind, pcm=pcm, frames=frames, text=text.decode(), covers=head.covers)
    return Parcel(payload, head.job, head.windows, head.plan)
