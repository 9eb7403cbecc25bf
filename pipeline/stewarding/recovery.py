"""Starting from nothing: what only Redis knew, from the bucket."""

from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import monotonic

from pipeline import keys
from pipeline.job import Work, work_named
from pipeline.stages import Ports
from pipeline.stages.reconcile import open_jobs

#: Between two sweeps.
SWEEP_SECONDS = 300.0
#: An upload that was begun so long ago and has not ended is taken for abandoned.
STALE_UPLOAD = timedelta(days=1)
#: Jobs that are remembered because they were begun twice without a record of it.
MAX_DOUBTFUL = 10_000


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found."""

    jobs: int  #: open
    collections: int  #: open
    tries: int  #: pieces of work that had been begun more than once


def recover(ports: Ports) -> Recovered:
    """Give a ledger that knows nothing the tries that were counted.

    What is open is let in and sent by the steward's next looks, which read nothing but the bucket.
    """
    is_open = frozenset(open_jobs(ports))
    tries: dict[Work, int] = {}
    for key in ports.store.list(keys.TRIES):
        if _job_tried(key) in is_open:
            with suppress(ValueError):  # of a newer version, or put there by somebody else
                name, number = keys.work_tried(key)
                tries[work_named(name)] = max(tries.get(work_named(name), 0), number)
    for work, number in tries.items():
        if ports.ledger.tries(work) < number:
            ports.ledger.restore(work, number)
    collections = sum(1 for _ in ports.store.list(keys.OPEN_COLLECTIONS))
    ports.ledger.count("recoveries")
    return Recovered(len(is_open), collections, len(tries))


class Sweeper:
    """Removes what nobody needs any more, now and then: two listings, of places that are mostly empty.

    Records of tries at jobs that have ended, and uploads of media that were never ended. Of a job that was tried more
    than once, media that served its work as well: one who is slow may have put it there behind the back of whoever
    ended the job. What is written later than two sweeps after the end stays.
    """

    def __init__(self, ports: Ports, *, seconds: float = SWEEP_SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._ports = ports
        self._seconds = seconds
        self._clock = clock
        self._next = clock()
        self._stale_before: frozenset[str] = frozenset()
        self._doubtful: dict[str, bool] = {}  #: jobs, and whether they had ended at the last sweep

    def doubt(self, jobs: Iterable[str]) -> None:
        """Of these jobs some work may be done twice, and no record of tries tells that: the ledger was lost."""
        self._doubtful |= dict.fromkeys(islice(jobs, MAX_DOUBTFUL - len(self._doubtful)), False)

    def sweep(self, is_open: Set[str]) -> int:
        """Look, if it is time; returns how many were removed: those that two looks in a row found of no open job."""
        if self._clock() < self._next:
            return 0
        self._next = self._clock() + self._seconds
        found = self._ports.store.list(keys.TRIES)
        stale = frozenset(key for key in found if _job_tried(key) not in is_open)
        gone = sorted(stale & self._stale_before)
        ended = {job for job, had_ended in self._doubtful.items() if had_ended and job not in is_open}
        left = [key for job in sorted(ended | {_job_tried(key) for key in gone}) for key in self._left(job)]
        self._ports.store.delete([*left, *gone])
        self._stale_before = stale
        self._doubtful = {job: job not in is_open for job in self._doubtful.keys() - ended}
        number = len(left) + len(gone) + self._drop_uploads()
        if number:
            self._ports.ledger.count("swept", number)
        return number

    def _left(self, job: str) -> list[str]:
        """Media that served the work of a job that has ended."""
        found = list(self._ports.store.list(keys.job_prefix(job)))
        left = [key for key in found if key == keys.whole(job) or key.startswith(keys.segments_of(job))]
        if not left or keys.result(job) not in found or any(self._ports.store.list(keys.open_job(job))):
            return []
        return left

    def _drop_uploads(self) -> int:
        return self._ports.store.drop_uploads(keys.MEDIA, datetime.now(UTC) - STALE_UPLOAD)


def _job_tried(key: str) -> str:
    return key.removeprefix(keys.TRIES).split("/", 1)[0]
