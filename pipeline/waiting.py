"""The line of those of one tenant and class that wait: who of them is first. Pure."""

from dataclasses import dataclass

from pipeline.fairness import Ranking
from pipeline.job import Priority

#: So many go for their deadline, then one that waits longest: else those without a deadline might wait for ever.
DEADLINES_IN_A_ROW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The next of a source that may be let in."""

    source: str  #: the collection it is the next line of, or the job itself
    tenant: str = "default"
    priority: Priority = "normal"
    engine: str = ""  #: the one that must do it, as jobs name it; empty: any
    since: float  #: when it was submitted, seconds of the clock
    seconds: float | None = None  #: media-seconds that it holds, as estimated; None: not known
    behind: float = 0.0  #: media-seconds of its source that come after it
    deadline: float | None = None  #: when its source should be done, seconds of the clock

    def at_risk(self, estimate: float, pace: float, margin: float) -> float | None:
        """From when on its deadline is at risk, if `pace` media-seconds are done in a second of the clock."""
        return None if self.deadline is None else self.deadline - margin - (estimate + self.behind) / pace


class Line:
    """Those whose deadline is at risk first, the earliest first, then the oldest."""

    def __init__(self) -> None:
        self._heads: dict[str, Head] = {}
        self._oldest: Ranking[str] = Ranking()
        self._later: Ranking[str] = Ranking()  # by when their deadline will be at risk
        self._at_risk: Ranking[str] = Ranking()  # by deadline
        self._deadlines: dict[str, tuple[float, float]] = {}  # from when on it is at risk, and the deadline
        self._in_a_row = 0

    def __len__(self) -> int:
        return len(self._heads)

    def add(self, head: Head, at_risk: float | None) -> None:
        """`at_risk`: from when on its deadline is."""
        self._heads[head.source] = head
        self._oldest.put(head.source, (head.since, head.source))
        if at_risk is not None and head.deadline is not None:
            self._deadlines[head.source] = (at_risk, head.deadline)
            self._later.put(head.source, (at_risk, head.source))

    def remove(self, source: str) -> None:
        del self._heads[source]
        self._deadlines.pop(source, None)
        for ranking in (self._oldest, self._later, self._at_risk):
            ranking.remove(source)

    def head(self, now: float) -> Head:
        """Who is first. Raises KeyError when nobody is in it."""
        self._look_at_clock(now)
        source = self._at_risk.first() if self._in_a_row < DEADLINES_IN_A_ROW else None
        source = source if source is not None else self._oldest.first()
        if source is None:
            raise KeyError("nobody waits in this line")
        return self._heads[source]

    def take(self, source: str) -> None:
        """This one goes; whoever removes it does so after."""
        overtakes = source in self._at_risk and source != self._oldest.first()
        self._in_a_row = self._in_a_row + 1 if overtakes else 0

    def _look_at_clock(self, now: float) -> None:
        while (source := self._later.first()) is not None and self._deadlines[source][0] <= now:
            self._later.remove(source)
            self._at_risk.put(source, (self._deadlines[source][1], source))
        while (source := self._at_risk.first()) is not None and self._deadlines[source][1] < now:
            self._at_risk.remove(source)
