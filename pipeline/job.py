"""Every type that crosses Redis or the object store. Read this file first.

All are frozen and refuse unknown fields. Times are seconds from the start of the media, rounded to the
millisecond, so that the same work gives the same bytes. Each stage of a job writes exactly one object under a
create-only key: its output, or the Failure it became.
"""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

SAMPLE_RATE = 16_000  # Hz, of every segment: mono s16le in the bucket, float32 in an engine

Seconds = float
Stage = Literal["prepare", "cut", "infer", "finish"]
Status = Literal["done", "partial", "failed", "cancelled"]


class Record(BaseModel):
    """Base of everything stored: immutable, strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_bytes(self) -> bytes:
        """Canonical UTF-8 JSON: equal records give equal bytes."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls.model_validate_json(data)


class Media(Record):
    """One input file, already in the object store."""

    name: str  #: as the user named it; shown to people, never used as a path or a key
    key: str  #: where its bytes lie in the bucket
    sha256: str
    size: int  #: bytes


class Options(Record):
    """What the user may choose for a job."""

    language: str | None = None  #: ISO 639-1 hint; None lets the engine decide


class Job(Record):
    """One media item, one task, its options. Accepted once its `job.json` is in the bucket."""

    id: str
    task: Literal["transcribe"] = "transcribe"
    media: Media
    options: Options = Options()
    engine: str  #: engine and model asked for, as `name:model`; part of the job's identity
    submitted_at: datetime


class Failure(Record):
    """What a piece of work became when it cannot succeed."""

    outcome: Literal["failure"] = "failure"
    error: Literal["permanent", "resource", "quarantined", "internal"]
    reason: str  #: plain words, for the person who submitted the file
    detail: str = ""  #: technical evidence
    attempts: int = 1


class AudioStream(Record):
    """The audio stream that is decoded, as ffprobe describes it."""

    index: int  #: position among the *audio* streams of the file
    codec: str
    sample_rate: int  #: Hz
    channels: int


class MediaInfo(Record):
    """What the probe found. A header may lie: these figures serve to plan and to refuse early."""

    demuxer: str  #: the ffmpeg demuxer chosen from the first bytes, forced on every later call
    duration: Seconds | None  #: what the file promises; None when it promises nothing reliable
    audio: AudioStream
    audio_streams: int = 1
    has_video: bool = False


class Window(Record):
    """A stretch of the media that one worker cuts. `end` None: to the end, however long that turns out to be."""

    index: int
    start: Seconds
    end: Seconds | None


class Windows(Record):
    """What `prepare` decided for a job (`windows.json`)."""

    outcome: Literal["windows"] = "windows"
    media: MediaInfo
    clip_seconds: Seconds  #: longest speech segment the job's engine takes
    windows: tuple[Window, ...]


class Segment(Record):
    """What the model takes in one call: a clip of speech of at most `clip_seconds`."""

    window: int
    index: int
    start: Seconds
    end: Seconds


class Plan(Record):
    """The segments of one window (`plans/<window>.json`), and what is known to be missing from it."""

    outcome: Literal["plan"] = "plan"
    window: int
    start: Seconds
    end: Seconds  #: where the decoded sound really ended
    segments: tuple[Segment, ...]
    flags: tuple[str, ...] = ()  #: for example `decode_errors`
    missing: Failure | None = None  #: why sound that the file promises after `end` could not be read
    missing_until: Seconds | None = None  #: end of that missing stretch


class Span(Record):
    """Some words and when they are said."""

    start: Seconds
    end: Seconds
    text: str


class Origin(Record):
    """Which model made an answer."""

    engine: str
    model: str
    revision: str  #: a hub commit, or the sha256 of the weights
    versions: dict[str, str]  #: of the libraries that shape the text


class Answer(Record):
    """What a segment became. The times of its spans are seconds from the start of the *segment*."""

    outcome: Literal["answer"] = "answer"
    spans: tuple[Span, ...]
    flags: tuple[str, ...] = ()  #: `no_speech`, `suspect`, `quiet`, `clipped`
    origin: Origin
    language: str | None = None
    attempts: int = 1


class TextSegment(Record):
    """A line of a finished transcript. A stretch that could not be transcribed has `missing` and says why."""

    start: Seconds
    end: Seconds
    text: str
    flags: tuple[str, ...] = ()  #: `missing`, `no_speech`, `suspect`, `quiet`, `clipped`
    reason: str | None = None  #: why it is missing


class ResultMedia(Record):
    name: str
    sha256: str
    size: int  #: bytes
    duration: Seconds | None  #: of the sound that was decoded
    info: MediaInfo | None


class Provenance(Record):
    """How a result came to be; model output is always marked as such."""

    reelmill: str
    engine_asked: str
    origins: tuple[Origin, ...]
    input_sha256: str
    attempts: int  #: most tries that any part of the job took
    model_output: Literal[True] = True


class Result(Record):
    """The finished document of a job (`result.json`)."""

    job: str
    status: Status
    error: str | None  #: plain words, when the status is not `done`
    task: str
    media: ResultMedia
    language: str | None
    text: str
    segments: tuple[TextSegment, ...]
    outputs: dict[str, str]  #: format name -> key in the bucket
    failures: tuple[Failure, ...] = ()
    provenance: Provenance


class Work(Record):
    """One message: which piece of which job is due. The only thing that is ever put on a queue."""

    stage: Stage
    job: str
    window: int | None = None
    index: int | None = None

    @property
    def name(self) -> str:
        """Short and unique: it is the message's id, the lease's name and the attempt counter's name."""
        numbers = "-".join(str(number) for number in (self.window, self.index) if number is not None)
        return f"{self.stage}.{self.job}.{numbers}" if numbers else f"{self.stage}.{self.job}"


_BY_OUTCOME = Field(discriminator="outcome")
#: Readers of what a stage left: its output, or the Failure it became.
PREPARED: TypeAdapter[Windows | Failure] = TypeAdapter(Annotated[Windows | Failure, _BY_OUTCOME])
PLANNED: TypeAdapter[Plan | Failure] = TypeAdapter(Annotated[Plan | Failure, _BY_OUTCOME])
ANSWERED: TypeAdapter[Answer | Failure] = TypeAdapter(Annotated[Answer | Failure, _BY_OUTCOME])
