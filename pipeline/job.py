"""Every type that crosses Redis or the object store. Read this file first.

All are frozen and refuse unknown fields. Times are seconds from the start of the media, rounded to the
millisecond, so that the same work gives the same bytes. Each stage of a job writes exactly one object under a
create-only key: its output, or the Failure it became.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

REMOTE = "s3://"  #: begins the address of what lies in somebody else's bucket
SAMPLE_RATE = 16_000  # Hz, of every segment with sound: mono s16le in the bucket, float32 in an engine

Seconds = float
#: What a segment is made of. `fold`: the answers given so far, put together to be asked about again.
Kind = Literal["sound", "frames", "scene", "picture", "text", "fold"]
#: How a picture is scaled to the square that an engine takes: proportions kept, or each side by itself.
Fit = Literal["inside", "stretch"]
#: What makes frames upright: turned by the clock or against it, then perhaps mirrored; mirrored; half a turn.
Turn = Literal["none", "clock", "cclock", "clock_flip", "cclock_flip", "hflip", "vflip", "half"]
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
    """One input file in an object store: ours, or `s3://bucket/key`, where somebody else put it."""

    name: str  #: as the user named it; shown to people, never used as a path or a key
    key: str  #: where its bytes lie: a key in our bucket, or an s3:// address
    sha256: str | None = None  #: None for what lies elsewhere: nobody has read all of it yet
    etag: str | None = None  #: of what lies elsewhere: the store's own mark of these bytes
    size: int = 0  #: bytes

    @property
    def identity(self) -> str:
        """Equal for equal bytes, as far as anybody can tell before they are read."""
        return self.sha256 or f"{self.etag or self.key}-{self.size}"


class Options(Record):
    """What the user may choose for a job. Which of them a task needs or takes, its file in `tasks/` says."""

    language: str | None = None  #: ISO 639-1 hint of what is spoken; None lets the engine decide
    to: str | None = None  #: language to translate into, ISO 639-1 or its English name
    question: str | None = None
    json_schema: dict[str, Any] | None = None  #: JSON Schema that an answer must fit
    speech: bool = False  #: a video is captioned with what is said beside it
    frames: str | None = Field(None, max_length=40)  #: of a video, as `media/choice.py` reads it; None: by the settings
    video_stream: int | None = Field(None, ge=0)  #: number among those that are no cover art; None: the file's default
    audio_stream: int | None = Field(None, ge=0)  #: number of the audio stream; None: the file's default
    channels: Literal["mix", "split"] = "mix"  #: the channels of the sound as one, or a transcript of each
    variant: str | None = None  #: size of the model, or `auto`; None: the whole of it


#: How soon people want it: somebody waits for it, the usual, an archive.
Priority = Literal["interactive", "normal", "bulk"]


class Job(Record):
    """One media item, one task, its options. Accepted once it lies under `open/`, or in a collection's shard."""

    id: str
    tenant: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")  #: whose it is; nothing is shared between them
    priority: Priority = "normal"
    deadline: datetime | None = None  #: when it should be done
    collection: str | None = None  #: the first one that it came with
    task: str = Field("transcribe", pattern=r"^[a-z]+$")  #: one of the files in `tasks/`
    media: Media
    options: Options = Options()
    engine: str  #: engine and model asked for, as `name:model`; part of the job's identity
    submitted_at: datetime | None = None
    round: int = Field(0, ge=0)  #: how often it was opened again after it had ended

    @property
    def is_urgent(self) -> bool:
        """Whether its work goes before other work that waits."""
        return self.priority == "interactive"

    @property
    def lasting(self) -> Self:
        """What decides its result, without who asked for it and when: the same work gives the same bytes."""
        return self.model_copy(
            update={"submitted_at": None, "priority": "normal", "deadline": None, "collection": None}
        )


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
    layout: str | None = None  #: which channel is which, as the file declares it: `stereo`, `5.1(side)` ...
    language: str | None = None  #: as the file marks it


class VideoStream(Record):
    """The video stream that frames are taken from, as ffprobe describes it."""

    index: int  #: position among the video streams that are no cover art
    codec: str
    width: int  #: pixels, upright
    height: int
    start: Seconds = 0.0  #: when its first frame is shown
    length: Seconds | None = None  #: where it ends, as far as anybody knows before it is read
    promised: Seconds | None = None  #: the same, where it can be relied on
    frame_rate: float | None = None  #: frames a second, on average
    key_frame_seconds: Seconds | None = None  #: from one key frame to the next, on average; None: not measured
    turn: Turn = "none"  #: what makes its frames upright
    field: Literal["top", "bottom"] | None = None  #: of an interlaced video, the half of a frame that is shown first
    matrix: Literal["bt601", "bt709"] | None = None  #: of its colours, assumed; None: the file says
    transfer: Literal["sdr", "pq", "hlg"] = "sdr"  #: how its brightness is written


class SubtitleStream(Record):
    """Subtitles that a file brings along."""

    index: int  #: position among the subtitle streams of the file
    codec: str
    is_text: bool  #: false for pictures of text
    language: str | None = None  #: as the file names it, such as `eng`
    title: str | None = None
    output: str | None = None  #: name of the output that its text became
    flags: tuple[str, ...] = ()  #: `decode_errors`, `unreadable`


class PictureInfo(Record):
    """A picture file, as its header describes it."""

    format: str  #: `jpeg`, `png`, `webp` ...
    width: int  #: pixels, as stored
    height: int
    pages: int = 1  #: of a TIFF; each of them is a picture
    moves: bool = False  #: whether its frames are shown one after the other, as those of a video


class MediaInfo(Record):
    """What the probe found. A header may lie: these figures serve to plan and to refuse early."""

    kind: Literal["sound", "video", "picture", "text"] = "sound"
    demuxer: str = ""  #: the ffmpeg demuxer chosen from the first bytes, forced on every later call
    duration: Seconds | None = None  #: what the file promises; None when it promises nothing reliable
    audio: AudioStream | None = None
    audio_streams: int = 0
    video: VideoStream | None = None
    video_streams: int = 0  #: that are no cover art
    origin: Seconds = 0.0  #: the time, as written in the file, that counts as its start
    subtitles: tuple[SubtitleStream, ...] = ()
    picture: PictureInfo | None = None
    encoding: str | None = None  #: of a text
    characters: int | None = None  #: of a text

    @property
    def is_timed(self) -> bool:
        """Whether its places are seconds; those of a text are characters, those of a picture are pages."""
        return self.kind in ("sound", "video")

    @property
    def is_animation(self) -> bool:
        """Whether it is a video that came as a picture file: Pillow reads its frames."""
        return self.kind == "video" and self.picture is not None


class Window(Record):
    """A stretch of the media that one worker cuts. `end` None: to the end, however long that turns out to be.

    Seconds of a recording or a video; characters of a text.
    """

    index: int
    start: float
    end: float | None


class SegmentLimits(Record):
    """How large a segment may be for the job's engine."""

    clip_seconds: Seconds = 30.0  #: longest clip of speech
    images: int = 1  #: most pictures in one segment
    image_pixels: int = 768  #: side of the square that a picture is fitted into
    image_fit: Fit = "inside"
    text_characters: int = 8_000  #: longest piece of text


class Windows(Record):
    """What `prepare` decided for a job (`windows.json`)."""

    outcome: Literal["windows"] = "windows"
    media: MediaInfo
    kinds: tuple[Kind, ...] = ("sound",)  #: of the segments that the media is cut into
    limits: SegmentLimits = SegmentLimits()
    sha256: str | None = None  #: of the media, where the job did not know it
    frames: str = "fps=1.0"  #: which frames of a video are looked at
    windows: tuple[Window, ...]
    #: When the answers are put together and asked about again, until one is left: never, if there are several, always.
    fold: Literal["never", "several", "always"] = "never"


class Segment(Record):
    """What the model takes in one call: a clip of speech, a group of frames, a picture, a piece of text."""

    window: int
    index: int
    kind: Kind = "sound"
    start: float
    end: float
    channel: int | None = None  #: of the sound, from 1; None when all are mixed

    @property
    def speaker(self) -> str | None:
        """Who is heard, as a transcript calls them."""
        return None if self.channel is None else f"channel {self.channel}"


class Plan(Record):
    """The segments of one window (`plans/<window>.json`), and what is known to be missing from it.

    The plan of a fold has the number behind the last window's, the next fold the one behind that.
    """

    outcome: Literal["plan"] = "plan"
    window: int
    start: float
    end: float  #: where the decoded media really ended
    segments: tuple[Segment, ...]
    parcels: tuple[int, ...] = ()  #: how many of them travel together, one parcel after the other; (): each alone
    flags: tuple[str, ...] = ()  #: for example `decode_errors`
    missing: Failure | None = None  #: why sound that the file promises after `end` could not be read
    missing_until: Seconds | None = None  #: end of that missing stretch


class Span(Record):
    """Some words and when they are said."""

    start: Seconds
    end: Seconds
    text: str


class Origin(Record):
    """Which model made an answer, and how it was asked."""

    engine: str
    model: str
    revision: str  #: a hub commit, or the sha256 of the weights
    versions: dict[str, str]  #: of the libraries that shape the text
    variant: str | None = None  #: size of the model, where it has several
    adapter: str | None = None  #: LoRA adapter, with its revision
    precision: str | None = None  #: dtype of the weights and the device they are on
    prompt: str | None = None  #: sha256 of the words of the prompt, without the media


class Answer(Record):
    """What a segment became. The times of its spans are seconds from the start of the *segment*."""

    outcome: Literal["answer"] = "answer"
    spans: tuple[Span, ...]
    flags: tuple[str, ...] = ()  #: `no_speech`, `suspect`, `quiet`, `clipped`, `cut_short`
    origin: Origin
    language: str | None = None
    attempts: int = 1

    @property
    def text(self) -> str:
        return " ".join(span.text for span in self.spans)


class ParcelAnswers(Record):
    """What the segments of a parcel became. None: such a segment is answered by itself, and may become a Failure."""

    answers: tuple[Answer | None, ...]


class TextSegment(Record):
    """A line of a finished document. A stretch that could not be turned into text has `missing` and says why."""

    start: float
    end: float
    text: str
    kind: Kind = "sound"  #: what the text was made from
    flags: tuple[str, ...] = ()  #: `missing`, `no_speech`, `empty`, `suspect`, `quiet`, `clipped`, `cut_short`
    reason: str | None = None  #: why it is missing
    speaker: str | None = None  #: `channel 1`, where the channels of the sound were kept apart


class ResultMedia(Record):
    name: str
    sha256: str | None
    size: int  #: bytes
    duration: Seconds | None  #: of what was decoded
    info: MediaInfo | None


class Provenance(Record):
    """How a result came to be; model output is always marked as such."""

    reelmill: str
    engine_asked: str
    origins: tuple[Origin, ...]
    input_sha256: str | None
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
    text: str  #: the answer that the segments were folded into, or else the text of all of them
    folded: bool = False
    segments: tuple[TextSegment, ...]
    outputs: dict[str, str]  #: format name -> key in the bucket
    asked: Job  #: what was to be done
    failures: tuple[Failure, ...] = ()
    provenance: Provenance


class Work(Record):
    """One message: which piece of which job is due. The only thing that is ever put on a queue.

    `infer` with `last`: the segments of a parcel, from `index` on. `infer` without numbers: the job is one segment, and
    its answer is the result.
    """

    stage: Stage
    job: str
    window: int | None = None
    index: int | None = None
    last: int | None = None
    urgent: bool = False  #: goes before what is not: somebody waits for its job

    @property
    def name(self) -> str:
        """Short and unique: it is the message's id, the lease's name and the attempt counter's name."""
        numbers = "-".join(map(str, self.numbers))
        return f"{self.stage}.{self.job}.{numbers}" if numbers else f"{self.stage}.{self.job}"

    @property
    def numbers(self) -> tuple[int, ...]:
        """Window, segment, last segment: those that it has."""
        return tuple(number for number in (self.window, self.index, self.last) if number is not None)

    @property
    def each(self) -> tuple["Work", ...]:
        """The segments of a parcel, each as work of its own."""
        if self.index is None or self.last is None:
            return (self,)
        return tuple(
            self.model_copy(update={"index": index, "last": None}) for index in range(self.index, self.last + 1)
        )


def work_named(name: str) -> Work:
    """The work of a name. Raises ValueError when it is none."""
    stage, job, *numbers = name.split(".")
    window, index, last = [*(numbers[0].split("-") if numbers else ()), None, None, None][:3]
    return Work.model_validate({"stage": stage, "job": job, "window": window, "index": index, "last": last})


_BY_OUTCOME = Field(discriminator="outcome")
#: Readers of what a stage left: its output, or the Failure it became.
PREPARED: TypeAdapter[Windows | Failure] = TypeAdapter(Annotated[Windows | Failure, _BY_OUTCOME])
PLANNED: TypeAdapter[Plan | Failure] = TypeAdapter(Annotated[Plan | Failure, _BY_OUTCOME])
ANSWERED: TypeAdapter[Answer | Failure] = TypeAdapter(Annotated[Answer | Failure, _BY_OUTCOME])
