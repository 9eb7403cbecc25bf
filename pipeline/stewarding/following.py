"""One open collection as its steward follows it: which line is next, which jobs are out, which shards have ended.

All of it is made anew from the bucket by a steward that starts: shards that ended have a tally, those that were begun
are gone through again.
"""

from collections import deque
from dataclasses import dataclass

from pipeline import keys
from pipeline.collecting.record import Closed, Collection, Line, Tally
from pipeline.collecting.shards import lines_of
from pipeline.errors import MissingObjectError
from pipeline.job import Status
from pipeline.objects import ObjectStore

#: Jobs that failed are remembered so that another line with the same bytes does not try them again; so many of them.
MAX_FAILED = 10_000


@dataclass(frozen=True, slots=True)
class Next:
    """A line that may be let in."""

    line: Line
    shard: int
    begun: bool  #: its shard was begun by an earlier steward, so that it may have ended


class _Shard:
    def __init__(self, lines: list[Line]) -> None:
        self.total = len(lines)
        self.tally = Tally()
        self.jobs: list[str] = []  #: of its lines that were let in, in order
        self.tells_jobs = all(line.media.sha256 for line in lines)  #: its lines alone tell what jobs they become


class Followed:
    """Memory: the lines of one shard, and the jobs that are out."""

    def __init__(self, store: ObjectStore, collection: Collection) -> None:
        self._store = store
        self.collection = collection
        self.tally = Tally()
        self.closed: Closed | None = None
        self.cancelled = False
        self.failed: set[str] = set()
        self._lines: deque[Next] = deque()
        self._shards: dict[int, _Shard] = {}
        self._out: dict[str, list[int]] = {}
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

    @property
    def mean_seconds(self) -> float | None:
        """Of the media of a line, as far as it is known."""
        return self.tally.seconds / self.tally.lines if self.tally.lines else None

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

    def take(self) -> Next:
        return self._lines.popleft()

    def let_in(self, job: str, shard: int) -> bool:
        """A line became this job; False: it is one that is out already."""
        is_first = job not in self._out
        self._out.setdefault(job, []).append(shard)
        self._shards[shard].jobs.append(job)
        return is_first

    def ended(self, job: str, status: Status, seconds: float) -> None:
        """A job has ended, and the lines that it was let in for; one that is not out is no error."""
        if job in self._out and status != "done" and len(self.failed) < MAX_FAILED:
            self.failed.add(job)
        for number in self._out.pop(job, ()):
            shard = self._shards[number]
            shard.tally += Tally.of(status, seconds)
            self.tally += Tally.of(status, seconds)
            if shard.tally.lines == shard.total:
                if not shard.tells_jobs:
                    self._store.create(keys.jobs_of_shard(self.collection.id, number), "\n".join(shard.jobs).encode())
                self._store.create(keys.ended_shard(self.collection.id, number), shard.tally.to_bytes())
                del self._shards[number]
                self._ended.add(number)

    def refresh(self) -> bool:
        """See whether all lines are in. False: it was opened again, and is to be followed anew from the bucket."""
        self.cancelled = self._store.exists(keys.cancelled_collection(self.collection.id))
        closed = self._read_closed()
        if self.closed is not None and closed != self.closed:
            return False
        self.closed = closed
        return True

    def _read_closed(self) -> Closed | None:
        try:
            return Closed.from_bytes(self._store.get(keys.closed_collection(self.collection.id)))
        except MissingObjectError:
            return None  # it is being submitted

    def _load(self) -> bool:
        number = self._number
        try:
            lines = list(lines_of(self._store, self.collection.id, number))
        except MissingObjectError:
            return False
        begun = self._store.exists(keys.begun_shard(self.collection.id, number))
        self._store.create(keys.begun_shard(self.collection.id, number), b"")
        self._lines.extend(Next(line, number, begun) for line in lines)
        self._shards[number] = _Shard(lines)
        self._number += 1
        return True
