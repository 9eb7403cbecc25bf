"""One open collection as its steward follows it: which line is next, which jobs are out, which shards have ended.

All of it is made anew from the bucket by a steward that starts: shards that ended have a tally, those that were begun
are gone through again.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from pipeline import keys
from pipeline.collecting.record import Closed, Collection, Line, Tally
from pipeline.collecting.shards import lines_of
from pipeline.errors import MissingObjectError
from pipeline.job import Status
from pipeline.objects import ObjectStore
from pipeline.stewarding.troubles import Troubles

#: Jobs that failed are remembered so that another line with the same bytes does not try them again; so many of them.
MAX_FAILED = 10_000


@dataclass(frozen=True, slots=True)
class Next:
    """A line that may be let in."""

    line: Line
    shard: int
    begun: bool  #: its shard was begun by an earlier steward, so that it may have ended
    since: datetime  #: when its shard was written, by the clock of the store


class _Shard:
    def __init__(self, lines: list[Line]) -> None:
        self.total = len(lines)
        self.tally = Tally()
        self.jobs: list[str] = []  #: of its lines that were let in, in order
        self.tells_jobs = all(line.media.sha256 for line in lines)  #: its lines alone tell what jobs they become


class Followed:
    """Memory: the lines of one shard, and the jobs that are out."""

    def __init__(self, store: ObjectStore, collection: Collection, troubles: Troubles) -> None:
        self._store = store
        self._troubles = troubles
        self.collection = collection
        self.tally = Tally()
        self.closed: Closed | None = None
        self.cancelled = False
        self.called_back: set[str] = set()  #: jobs that were to end because it was cancelled
        self._failed: set[str] = set()
        self._lines: deque[Next] = deque()
        self._shards: dict[int, _Shard] = {}
        self._out: dict[str, list[int]] = {}  #: by job, the shards of the lines that wait for it
        self._number = 0
        self._ended: set[int] = set()
        for key in store.list(keys.ended_shards(collection.id)):
            self._ended.add(keys.numbers(key)[0])
            self.tally += Tally.from_bytes(store.get(key))

    @property
    def num_out(self) -> int:
        return len(self._out)

    @property
    def out(self) -> tuple[str, ...]:
        """The jobs that are out."""
        return tuple(self._out)

    def has_out(self, job: str) -> bool:
        return job in self._out

    def has_failed(self, job: str) -> bool:
        """Whether a line of the same bytes was let in and failed."""
        return job in self._failed

    @property
    def mean_seconds(self) -> float | None:
        """Of the media of a line, as far as it is known."""
        return self.tally.seconds / self.tally.lines if self.tally.lines else None

    @property
    def num_left(self) -> int:
        """Lines that have not ended, as far as they are in."""
        if self.closed is not None:
            return self.closed.lines - self.tally.lines
        return len(self._lines) + sum(len(shards) for shards in self._out.values())

    @property
    def is_done(self) -> bool:
        if self.cancelled:
            return not self._out
        return self.closed is not None and self.tally.lines >= self.closed.lines

    def head(self) -> Next | None:
        """The next line; None when all that are in by now were let in, or no more are."""
        if self.cancelled:
            return None
        while not self._lines:
            if self._number in self._ended:
                self._number += 1
            elif not self._load():
                return None
        return self._lines[0]

    def let_in(self, job: str) -> bool:
        """The next line becomes this job; False: it is one that is out already."""
        number = self._lines.popleft().shard
        is_first = job not in self._out
        self._out.setdefault(job, []).append(number)
        self._shards[number].jobs.append(job)
        return is_first

    def ended(self, job: str, status: Status, seconds: float) -> None:
        """A job has ended, and the lines that it was let in for; one that is not out is no error.

        What is stored of it is stored first: where that raises, nothing was counted, and it may be told again.
        """
        waited = self._out.get(job, [])
        told = {number: Tally.of(status, seconds, lines=waited.count(number)) for number in waited}
        whole = {number for number, tally in told.items() if self._is_whole(number, tally)}
        for number in sorted(whole):
            self._store_end(number, self._shards[number].tally + told[number])
        for number, tally in told.items():
            self._shards[number].tally += tally
            self.tally += tally
        for number in whole:
            del self._shards[number]
        self._ended |= whole
        if waited and status != "done" and len(self._failed) < MAX_FAILED:
            self._failed.add(job)
        self._out.pop(job, None)

    def refresh(self) -> bool:
        """See whether all lines are in. False: it was opened again, and is to be followed anew from the bucket."""
        self.cancelled = self._store.exists(keys.cancelled_collection(self.collection.id))
        closed = self._read_closed()
        if self.closed is not None and closed != self.closed:
            return False
        self.closed = closed
        return True

    def _is_whole(self, number: int, more: Tally) -> bool:
        shard = self._shards[number]
        return shard.tally.lines + more.lines == shard.total

    def _store_end(self, number: int, tally: Tally) -> None:
        name, shard = self.collection.id, self._shards[number]
        if not shard.tells_jobs:
            self._store.create(keys.jobs_of_shard(name, number), "\n".join(shard.jobs).encode())
        self._store.create(keys.ended_shard(name, number), tally.to_bytes())

    def _read_closed(self) -> Closed | None:
        try:
            return Closed.from_bytes(self._store.get(keys.closed_collection(self.collection.id)))
        except MissingObjectError:
            return None  # it is being submitted

    def _load(self) -> bool:
        """Go on to the next shard; False: there is none yet. One that cannot be read is left for whoever mends it."""
        name, number = self.collection.id, self._number
        try:
            lines = list(lines_of(self._store, name, number))
            since = self._store.written(keys.shard(name, number))
        except MissingObjectError:
            return False
        except ValueError:
            self._troubles.tell(f"shard {number} of collection {name}")
            self._number += 1
            return True
        begun = self._store.exists(keys.begun_shard(name, number))
        self._store.create(keys.begun_shard(name, number), b"")
        self._lines.extend(Next(line, number, begun, since) for line in lines)
        self._shards[number] = _Shard(lines)
        self._number += 1
        return True
