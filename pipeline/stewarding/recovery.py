"""Starting from nothing: what only Redis knew, from the bucket."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic

from pipeline import keys
from pipeline.job import work_named
from pipeline.ledger import job_of
from pipeline.stages import Ports
from pipeline.stages.reconcile import open_jobs

#: Between two sweeps.
SWEEP_SECONDS = 300.0
#: An upload that was begun so long ago and has not ended is taken for abandoned.
STALE_UPLOAD = timedelta(days=1)


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
    tries: dict[str, int] = {}
    for key in ports.store.list(keys.TRIES):
        name, number = keys.work_tried(key)
        if job_of(name) in is_open:
            tries[name] = max(tries.get(name, 0), number)
    for name, number in tries.items():
        work = work_named(name)
        if ports.ledger.tries(work) < number:
            ports.ledger.restore(work, number)
    collections = sum(1 for _ in ports.store.list(keys.OPEN_COLLECTIONS))
    ports.ledger.count("recoveries")
    return Recovered(len(is_open), collections, len(tries))


class Sweeper:
    """Removes what nobody needs any more, now and then: two listings, of places that are mostly empty.

    Records of tries at jobs that have ended, and uploads of media that were never ended.
    """

    def __init__(self, ports: Ports, *, seconds: float = SWEEP_SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._ports = ports
        self._seconds = seconds
        self._clock = clock
        self._next = clock()
        self._stale_before: frozenset[str] = frozenset()

    def sweep(self, is_open: Set[str]) -> int:
        """Look, if it is time; returns how many were removed: those that two looks in a row found of no open job."""
        if self._clock() < self._next:
            return 0
        self._next = self._clock() + self._seconds
        found = self._ports.store.list(keys.TRIES)
        stale = frozenset(key for key in found if job_of(keys.work_tried(key)[0]) not in is_open)
        gone = sorted(stale & self._stale_before)
        self._ports.store.delete(gone)
        self._stale_before = stale
        number = len(gone) + self._ports.store.drop_uploads(keys.MEDIA, datetime.now(UTC) - STALE_UPLOAD)
        if number:
            self._ports.ledger.count("swept", number)
        return number
