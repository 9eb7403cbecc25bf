"""Live state that may be lost at any second: leases, tries, progress. Correctness never rests on it.

One contract, two ledgers: memory for one process (here), Redis for the fleet (`redis_ledger`).
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from pipeline.job import Status, Work

#: What `start` tells instead of a number of tries: somebody alive works on it, or it was done before.
Taken = Literal["held", "ended"]
ENDED: Taken = "ended"
HELD: Taken = "held"


class Ending(NamedTuple):
    """How a job ended."""

    job: str
    status: Status
    seconds: float  #: of media, as `admission.media_seconds` counts it
    round: int = 0  #: of the job: one that was opened again since has not ended


class Ledger(Protocol):
    """Raises TransientError when the ledger is away."""

    def start(self, work: Work, *, count: bool) -> int | Taken:
        """Take the lease on a piece of work; gives how often it was begun before without being ended.

        `count`: this counts as begun. Where it raises, nothing was begun: what had an effect is taken back.
        """

    def end(self, work: Work) -> None:
        """Give the lease back: the work is done, and a second message about it is none."""

    def release(self, work: Work) -> None:
        """Give the lease back: the work is not done."""

    def held(self, works: Iterable[Work]) -> frozenset[str]:
        """Names of those with a live lease."""

    def busy_jobs(self) -> frozenset[str]:
        """Jobs of which some work has a live lease."""

    def tries(self, work: Work) -> int:
        """How often it was begun without being ended."""

    def tried(self, works: Sequence[Work]) -> bool:
        """Whether any of these works of one job was begun without being ended."""

    def begin(self, works: Iterable[Work]) -> None:
        """Count a try, before the work starts."""

    def restore(self, work: Work, tries: int) -> None:
        """Set the count back: an outage stopped the work, which is no try.

        Never raises: what cannot be told now is told when the ledger is back.
        """

    def postpone(self, work: Work) -> float:
        """Let the steward leave it alone for a while, longer each time; returns the seconds."""

    def postponed(self, works: Iterable[Work]) -> frozenset[str]: ...

    def announce(self, works: Sequence[Work]) -> Sequence[Work]:
        """Those works of one job that are news, so that a stage sends them; their windows now lack them."""

    def expect(self, works: Sequence[Work]) -> None:
        """What a job lacks, by the bucket: whatever was thought of these works before, they are to be done."""

    def answered(self, work: Work, seconds: float, left: int = 0) -> bool:
        """A segment or parcel is answered, and so many seconds of media are done; whether its window lacks no other.

        `left`: so many of the parcel's segments are not, and will be answered alone. A hint: only False may be wrong.
        """

    def admit(self, job: str, most: int | None = None) -> bool:
        """Let a job in if fewer than `most` are in flight (or it is already in); None: whoever asks has counted."""

    def in_flight(self) -> frozenset[str]:
        """The jobs that were let in and have not ended."""

    def dismiss(self, jobs: Iterable[str]) -> None:
        """Take jobs that have ended out of those in flight."""

    def add(self, job: str, **amounts: float) -> None:
        """Add to a job's live figures."""

    def figures(self, job: str) -> dict[str, float]: ...

    def close_job(self, job: str, ending: Ending | None = None) -> None:
        """Drop everything about a job that ended. `ending`: what `endings` tells of it."""

    def endings(self) -> Sequence[Ending]:
        """The jobs that have ended since this was asked last; some may be missing."""

    def note(self, name: str, text: str) -> None:
        """Remember a text for whoever looks."""

    def noted(self, name: str) -> str | None: ...

    def count(self, what: str, number: int = 1) -> None:
        """Count something that happened to the mill, such as a repair."""

    def counts(self) -> dict[str, int]: ...

    def lead(self, office: str, who: str, seconds: float) -> bool:
        """Whether `who` holds an office that one alone should hold, for so many seconds from now."""

    def is_led(self, office: str) -> bool:
        """Whether anybody holds an office now."""

    def resign(self, office: str, who: str) -> None:
        """Leave an office, if `who` holds it, so that another need not wait for it."""

    def is_blank(self) -> bool:
        """Whether everything was forgotten since this was asked last (or never anything known)."""


class MemoryLedger:
    """The ledger of a mill that runs in one process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._leases: set[str] = set()
        self._states: dict[str, dict[str, int | Literal["ended"]]] = defaultdict(dict)
        self._lacking: dict[tuple[str, int | None], int] = defaultdict(int)
        self._in_flight: set[str] = set()
        self._figures: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._counts: dict[str, int] = defaultdict(int)
        self._endings: list[Ending] = []
        self._notes: dict[str, str] = {}
        self._is_blank = True

    def start(self, work: Work, *, count: bool) -> int | Taken:
        with self._lock:
            state = self._states[work.job].get(work.name, 0)
            if state == "ended":
                return ENDED
            if work.name in self._leases:
                return HELD
            self._leases.add(work.name)
            if count:
                self._states[work.job][work.name] = state + 1
            return state

    def end(self, work: Work) -> None:
        with self._lock:
            self._leases.discard(work.name)
            if work.job in self._states:
                self._states[work.job][work.name] = "ended"

    def release(self, work: Work) -> None:
        with self._lock:
            self._leases.discard(work.name)

    def held(self, works: Iterable[Work]) -> frozenset[str]:
        with self._lock:
            return frozenset(work.name for work in works) & self._leases

    def busy_jobs(self) -> frozenset[str]:
        with self._lock:
            return frozenset(job_of(name) for name in self._leases)

    def tries(self, work: Work) -> int:
        with self._lock:
            state = self._states[work.job].get(work.name, 0)
            return 0 if state == "ended" else state

    def tried(self, works: Sequence[Work]) -> bool:
        return any(self.tries(work) for work in works)

    def begin(self, works: Iterable[Work]) -> None:
        with self._lock:
            for work in works:
                self._states[work.job][work.name] = self.tries(work) + 1

    def restore(self, work: Work, tries: int) -> None:
        with self._lock:
            if self._states[work.job].get(work.name) != "ended":
                self._states[work.job][work.name] = tries

    def postpone(self, work: Work) -> float:
        del work
        return 0.0

    def postponed(self, works: Iterable[Work]) -> frozenset[str]:
        del works
        return frozenset()

    def announce(self, works: Sequence[Work]) -> Sequence[Work]:
        with self._lock:
            news = [work for work in dict.fromkeys(works) if work.name not in self._states[work.job]]
            for work in news:
                self._states[work.job][work.name] = 0
                if is_segment(work):
                    self._lacking[work.job, work.window] += 1
            return news

    def expect(self, works: Sequence[Work]) -> None:
        with self._lock:
            for work in works:
                if self._states[work.job].get(work.name, "ended") == "ended":
                    self._states[work.job][work.name] = 0
            for place in {(work.job, work.window) for work in works if is_segment(work)}:
                self._lacking[place] = sum(is_segment(work) and (work.job, work.window) == place for work in works)

    def answered(self, work: Work, seconds: float, left: int = 0) -> bool:
        with self._lock:
            place = work.job, work.window
            if self._states[work.job].get(work.name) != "ended":
                self._states[work.job][work.name] = "ended"
                self._figures[work.job]["done"] += seconds
                self._lacking[place] += left - 1
            return self._lacking[place] == 0

    def admit(self, job: str, most: int | None = None) -> bool:
        with self._lock:
            if most is None or job in self._in_flight or len(self._in_flight) < most:
                self._in_flight.add(job)
                return True
            return False

    def in_flight(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._in_flight)

    def dismiss(self, jobs: Iterable[str]) -> None:
        with self._lock:
            self._in_flight.difference_update(jobs)

    def add(self, job: str, **amounts: float) -> None:
        with self._lock:
            for name, amount in amounts.items():
                self._figures[job][name] += amount

    def figures(self, job: str) -> dict[str, float]:
        with self._lock:
            return dict(self._figures.get(job, {}))

    def close_job(self, job: str, ending: Ending | None = None) -> None:
        with self._lock:
            if ending is not None:
                self._endings.append(ending)
            self._in_flight.discard(job)
            self._states.pop(job, None)
            self._figures.pop(job, None)
            for place in [place for place in self._lacking if place[0] == job]:
                del self._lacking[place]

    def endings(self) -> Sequence[Ending]:
        with self._lock:
            endings, self._endings = self._endings, []
            return endings

    def note(self, name: str, text: str) -> None:
        with self._lock:
            self._notes[name] = text

    def noted(self, name: str) -> str | None:
        with self._lock:
            return self._notes.get(name)

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self._counts[what] += number

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def lead(self, office: str, who: str, seconds: float) -> bool:
        del office, who, seconds
        return True

    def is_led(self, office: str) -> bool:
        del office
        return True

    def resign(self, office: str, who: str) -> None:
        del office, who

    def is_blank(self) -> bool:
        with self._lock:
            was_blank, self._is_blank = self._is_blank, False
            return was_blank


def is_segment(work: Work) -> bool:
    """Whether it is one of a window's segments, or a parcel of them."""
    return work.stage == "infer" and work.window is not None


def job_of(name: str) -> str:
    """The job in a work's name."""
    return name.split(".")[1]
