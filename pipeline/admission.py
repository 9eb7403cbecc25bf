"""Which waiting job is let in next. Decisions only: no Redis, no clock but the `now` it is given.

What waits are *sources*: a collection, of which only the next line is known here, or a single job. Whoever owns them
offers the head of each, asks `next`, and tells what became of it. All of this may be lost at any time: offer the heads
again, tell what is `running`, and fairness starts anew.

- Tenants share alike by media-seconds, not by jobs (`fairness.py`). A class buys no share from other tenants: it orders
  a tenant's own work (16 : 4 : 1 while all wait, so that bulk is never starved), else everybody would call everything
  urgent.
- What an urgent job needs is a place, at once. Some places take nothing but short interactive jobs, so that one of ten
  seconds waits for no archive; some take only tenants that have nothing in flight, so that nobody who comes finds every
  place held by ten-hour files. They stay empty meanwhile: the price of the promise.
- A tenant with more than `tenant_seconds` of media in flight stands aside: it is let in only while no other waits, and
  comes back without a claim to what others got meanwhile.
- A job whose engine no worker runs has no place: what waits is passed over, and what is in flight is not counted. It
  comes in, or counts again, when somebody runs its engine. While nobody runs any, all are alike.
- Within a tenant and class, those whose deadline is at risk go first, the earliest first, then the oldest. Every fourth
  one is the oldest whatever the deadlines, and a deadline that has passed counts no more: it cannot be kept.
"""

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import TypeVar

from pipeline.fairness import WEIGHTS, Ranking, TenantShares
from pipeline.job import Priority
from pipeline.waiting import Head, Line

Key = TypeVar("Key")

#: What other media counts as, in seconds of sound. Only the proportions matter. Computed, not measured, for Gemma 3n
#: E4B on one H100 in batches of 64: in one second 2,275 s of sound, 88 pictures of their own, 117 frames in groups of
#: eight, or 137,000 characters in pieces of 8,000.
PICTURE_SECONDS = 25.0
FRAME_SECONDS = 20.0
CHARACTER_SECONDS = 1 / 60


def media_seconds(*, sound: float = 0.0, pictures: int = 0, frames: int = 0, characters: int = 0) -> float:
    """How much work media is, as seconds of sound."""
    return sound + pictures * PICTURE_SECONDS + frames * FRAME_SECONDS + characters * CHARACTER_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Figures of the policy. Seconds are media-seconds if nothing else is said."""

    for_interactive: int  #: places that only short interactive jobs get
    for_newcomers: int  #: places that only tenants with nothing in flight get, as long as no more than these are free
    short: float = 600.0  #: longest job that may have a place for interactive ones
    tenant_seconds: float = 4 * 3600.0  #: in flight, beyond which a tenant stands aside
    unknown: float = 300.0  #: what a job counts as while nobody knows how long it is
    pace: float = 1.0  #: media-seconds of one source that are done in a second
    margin: float = 600.0  #: seconds of the clock that a job should be done before its deadline

    @classmethod
    def of(cls, places: int) -> "Rules":
        """An eighth of the places for interactive jobs, an eighth for newcomers."""
        return cls(for_interactive=places // 8, for_newcomers=places // 8)


def unreserved(places: int, priority: Priority) -> int:
    """How many places may be filled by whoever does not know who else waits: the others are kept."""
    rules = Rules.of(places)
    return places - rules.for_newcomers - (0 if priority == "interactive" else rules.for_interactive)


@dataclass(slots=True)
class _Flight:
    tenant: str
    priority: Priority
    seconds: float
    engine: str


class Admission:
    """What waits, what is in flight, and who is next. Each call is O(log n) in what waits."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._shares = TenantShares()
        self._heads: dict[str, Head] = {}
        self._lines: dict[tuple[str, Priority], Line] = {}  # of a tenant and a class
        self._short: dict[str, Line] = {}  # of a tenant: what is interactive and short is in this one, too
        self._flights: dict[str, _Flight] = {}
        self._served: Set[str] = frozenset()  # engines that somebody runs
        self._jobs: dict[str, int] = {}  # in flight, by tenant
        self._seconds: dict[str, float] = {}  # in flight, by tenant
        self._num_short = 0  # interactive and short, in flight
        self._urgent: Ranking[str] = Ranking()  # tenants of which something short and interactive waits
        self._newcomers: Ranking[str] = Ranking()  # tenants that wait and have nothing in flight

    @property
    def in_flight(self) -> Set[str]:
        """Jobs that were let in and have not ended."""
        return self._flights.keys()

    @property
    def engines(self) -> Set[str]:
        """Those that anything here asks for."""
        return {item.engine for items in (self._heads, self._flights) for item in items.values()} - {""}

    @property
    def num_stranded(self) -> int:
        """Jobs in flight that have no place, because nobody runs their engine."""
        return sum(not self._is_served(flight.engine) for flight in self._flights.values())

    def serve(self, engines: Set[str]) -> None:
        """These of `engines` are run by somebody now."""
        if engines == self._served:
            return
        heads = list(self._heads.values())
        for head in heads:
            self.withdraw(head.source)
        for flight in self._flights.values():
            self._count(flight, -1)
        self._served = engines
        for flight in self._flights.values():
            self._count(flight, 1)
        for head in heads:
            self.offer(head)

    def seconds_in_flight(self, tenant: str) -> float:
        """Media-seconds of a tenant's jobs in flight."""
        return self._seconds.get(tenant, 0.0)

    def offer(self, head: Head) -> None:
        """The next of a source; it takes the place of the one that was known of it."""
        if self._heads.get(head.source) == head:
            return
        self.withdraw(head.source)
        self._heads[head.source] = head
        if not self._is_served(head.engine):
            return
        estimate = self._estimate(head)
        at_risk = head.at_risk(estimate, self._rules.pace, self._rules.margin)
        self._lines.setdefault((head.tenant, head.priority), Line()).add(head, at_risk)
        if self._is_short(head.priority, estimate):
            self._short.setdefault(head.tenant, Line()).add(head, at_risk)
        self._place(head.tenant)

    def withdraw(self, source: str) -> None:
        """Nothing of this source waits any more; one that is not known is no error."""
        head = self._heads.pop(source, None)
        if head is None or not self._is_served(head.engine):
            return
        _remove(self._lines, (head.tenant, head.priority), source)
        if self._is_short(head.priority, self._estimate(head)):
            _remove(self._short, head.tenant, source)
        self._place(head.tenant)

    def next(self, *, free: int, now: float) -> Head | None:
        """Who is let in when so many places are free; None when nobody who waits may have one of them.

        It goes on waiting until it is admitted, withdrawn or replaced. `now`: of the clock of deadlines; it never goes
        back.
        """
        if free <= 0:
            return None
        held_back = max(0, self._rules.for_interactive - self._num_short)
        tenant = self._urgent.first() if held_back else None
        if tenant is not None:
            return self._short[tenant].head(now)
        ordinary = free - held_back
        if ordinary <= 0:
            return None
        tenant = self._shares.first() if ordinary > self._rules.for_newcomers else self._newcomers.first()
        if tenant is None:
            return None
        classes = (priority for priority in WEIGHTS if (tenant, priority) in self._lines)
        chosen = min(classes, key=lambda priority: self._shares.class_rank(tenant, priority))
        return self._lines[tenant, chosen].head(now)

    def admit(self, source: str, job: str) -> None:
        """The head of a source is let in as this job, and charged to its tenant. Raises KeyError: no such source."""
        head = self._heads[source]
        self._shares.charge(head.tenant, head.priority, self._estimate(head))
        self._lines[head.tenant, head.priority].take(source)
        if self._is_short(head.priority, self._estimate(head)):
            self._short[head.tenant].take(source)
        self._fly(job, _Flight(head.tenant, head.priority, self._estimate(head), head.engine))
        self.withdraw(source)

    def running(
        self, job: str, tenant: str, priority: Priority, seconds: float | None = None, engine: str = ""
    ) -> None:
        """This job was let in before, by whoever knew. One that is known to be in flight is left as it is."""
        if job in self._flights:
            return
        flight = _Flight(tenant, priority, self._rules.unknown if seconds is None else seconds, engine)
        self._shares.charge(tenant, priority, flight.seconds)
        self._fly(job, flight)
        self._place(tenant)

    def known(self, job: str, seconds: float) -> None:
        """How long a job in flight really is. The difference is charged; one that is not in flight is no error."""
        flight = self._flights.get(job)
        if flight is None or flight.seconds == seconds:
            return
        self._shares.correct(flight.tenant, flight.priority, seconds - flight.seconds)
        self._land(job)
        self._fly(job, replace(flight, seconds=seconds))
        self._place(flight.tenant)

    def ended(self, job: str, seconds: float | None = None) -> None:
        """A job has ended; `seconds`: what was done of it, where that is known. A second time is no error."""
        if seconds is not None:
            self.known(job, seconds)
        flight = self._flights.get(job)
        if flight is None:
            return
        self._land(job)
        self._place(flight.tenant)
        if not self._flights and not self._heads:
            self._shares = TenantShares()  # nobody has a claim on anybody

    def keep(self, jobs: Set[str]) -> None:
        """Those not among these have ended."""
        for job in sorted(self._flights.keys() - jobs):
            self.ended(job)

    def _estimate(self, head: Head) -> float:
        return self._rules.unknown if head.seconds is None else head.seconds

    def _is_short(self, priority: Priority, seconds: float) -> bool:
        return priority == "interactive" and seconds <= self._rules.short

    def _fly(self, job: str, flight: _Flight) -> None:
        if job in self._flights:  # two sources may hold the same job
            self._land(job)
        self._flights[job] = flight
        self._count(flight, 1)

    def _land(self, job: str) -> None:
        self._count(self._flights.pop(job), -1)

    def _is_served(self, engine: str) -> bool:
        return not engine or not self._served or engine in self._served

    def _count(self, flight: _Flight, change: int) -> None:
        """Count a job in flight, or one less."""
        if not self._is_served(flight.engine):
            return
        self._jobs[flight.tenant] = self._jobs.get(flight.tenant, 0) + change
        self._seconds[flight.tenant] = self._seconds.get(flight.tenant, 0.0) + change * flight.seconds
        self._num_short += change * self._is_short(flight.priority, flight.seconds)
        if not self._jobs[flight.tenant]:
            del self._jobs[flight.tenant], self._seconds[flight.tenant]

    def _place(self, tenant: str) -> None:
        """Put a tenant where it belongs now, in the order of all and among those with a claim to kept places."""
        aside = self.seconds_in_flight(tenant) > self._rules.tenant_seconds
        waiting = False
        for priority in WEIGHTS:
            if (tenant, priority) in self._lines:
                self._shares.enter(tenant, priority, aside=aside)
                waiting = True
            else:
                self._shares.leave(tenant, priority)
        rank = self._shares.rank(tenant)
        _put(self._urgent, tenant, rank, tenant in self._short)
        _put(self._newcomers, tenant, rank, waiting and tenant not in self._jobs)


def _remove(lines: dict[Key, Line], key: Key, source: str) -> None:
    lines[key].remove(source)
    if not lines[key]:
        del lines[key]


def _put(ranking: Ranking[str], tenant: str, rank: tuple[bool, float], belongs: bool) -> None:
    if belongs:
        ranking.put(tenant, rank)
    else:
        ranking.remove(tenant)
