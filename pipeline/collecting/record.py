"""What lies under `collections/`: the collection, its lines, and what became of them."""

from collections.abc import Mapping
from datetime import datetime

from pydantic import Field

from pipeline.identity import Asked, new_job
from pipeline.job import Job, Media, Options, Priority, Record, Status

#: Lines of one shard.
SHARD_LINES = 1_000


class Collection(Record):
    """Jobs submitted together (`collection.json`). What a line does not say, the collection does."""

    id: str
    name: str  #: for people
    tenant: str = "default"
    priority: Priority = "normal"
    deadline: datetime | None = None
    engine: str  #: as a job carries it
    submitted_at: datetime
    webhook: str | None = None  #: who is told when it has ended
    webhook_each: bool = True  #: and when each of its jobs has

    @property
    def asked(self) -> Asked:
        return Asked(self.tenant, self.priority, self.deadline, self.id)


class Line(Record):
    """One job of a collection, in a shard of JSON lines."""

    media: Media
    task: str = "transcribe"
    options: Options = Options()
    custom_id: str | None = None  #: what its submitter calls it
    seen: str | None = None  #: what told these bytes from others when it was submitted: a time of change, an ETag
    is_new: bool = False  #: nobody of this tenant had these bytes before, so that there can be no result
    force: bool = False  #: done anew, whatever there is

    def job(self, collection: Collection) -> Job:
        return new_job(self.media, self.task, self.options, collection.engine, collection.asked)

    def to_line(self) -> bytes:
        return self.model_dump_json(exclude_defaults=True).encode() + b"\n"


class Closed(Record):
    """All lines are in (`closed.json`)."""

    lines: int
    refused: int = 0  #: files that did not become lines
    closed_at: datetime
    again: bool = False  #: it had been closed before, and was opened again since


class Tally(Record):
    """What became of lines. Of a shard once all have ended (`ended/`); a sum of shards is one, too."""

    lines: int = 0  #: that have ended
    statuses: dict[Status, int] = Field(default_factory=dict)
    seconds: float = 0.0  #: of media, as `admission.media_seconds` counts it
    squares: float = 0.0  #: of the seconds of each line, added up: how much they differ

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            lines=self.lines + other.lines,
            statuses=_sum(self.statuses, other.statuses),
            seconds=self.seconds + other.seconds,
            squares=self.squares + other.squares,
        )

    @classmethod
    def of(cls, status: Status, seconds: float, lines: int = 1) -> "Tally":
        """Of lines whose job is the same one. `seconds`: of each."""
        return cls(lines=lines, statuses={status: lines}, seconds=lines * seconds, squares=lines * seconds**2)


class Progress(Record):
    """How a collection stands, as its steward saw it last."""

    tally: Tally
    lines: int | None  #: of all; None while it is being submitted
    in_flight: int
    low: float | None = None  #: seconds until it is done, as a range
    likely: float | None = None
    high: float | None = None
    engine_seconds: float | None = None  #: that are still needed
    cost: float | None = None  #: of those
    at: datetime


class Ended(Record):
    """The end of a collection (`ended.json`)."""

    tally: Tally
    ended_at: datetime


def _sum(one: Mapping[Status, int], other: Mapping[Status, int]) -> dict[Status, int]:
    return {status: one.get(status, 0) + other.get(status, 0) for status in (*one, *(set(other) - set(one)))}
