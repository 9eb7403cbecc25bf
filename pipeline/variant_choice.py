"""Which size of the model works next, when jobs were promised an answer within some time.

Decisions only: no torch, no clock. Sizes are names, from the largest to the smallest; work is counted in an engine's
own cost units (see `Engine.cost`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

#: A larger size takes over only when it would clear the backlog within this share of the promise. The gap between one
#: half and the whole keeps a load that is close to what a size can do from switching back and forth.
CLEAR_SHARE = 0.5
#: How fast a larger size is taken to be, in terms of a smaller one, until it has been measured: E4B has twice E2B's
#: width.
UNMEASURED_SPEED = 0.5
#: What a measurement keeps of those before it.
MEMORY = 0.9


class Rates:
    """What each size got through, in cost units per second of work. Old measurements fade."""

    def __init__(self) -> None:
        self._cost: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    def observe(self, size: str, cost: float, seconds: float) -> None:
        """Add a stretch of work. Only seconds in which the engine was busy count, not those it waited for work."""
        self._cost[size] = MEMORY * self._cost.get(size, 0.0) + cost
        self._seconds[size] = MEMORY * self._seconds.get(size, 0.0) + seconds

    def measured(self) -> dict[str, float]:
        """The rate of every size that has done something."""
        return {size: cost / self._seconds[size] for size, cost in self._cost.items() if cost and self._seconds[size]}


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoVariant:
    """The `auto` policy: the largest size that keeps the promise."""

    sizes: tuple[str, ...]  #: largest first
    promise: float  #: seconds from a segment's arrival to its answer

    def __post_init__(self) -> None:
        if not self.sizes or len(set(self.sizes)) != len(self.sizes) or not self.promise > 0:
            raise ValueError(f"no choice between {self.sizes} within {self.promise} s")

    def choose(self, current: str, *, backlog: float, rates: Mapping[str, float]) -> str:
        """The size to use next: `current`, or one step away from it.

        `backlog`: cost units that wait. `rates`: measured cost units per second, of the sizes that were measured.
        """
        at = self.sizes.index(current)
        if current in rates and backlog > self.promise * rates[current]:
            return next((size for size in self.sizes[at + 1 :] if _is_faster(size, current, rates)), current)
        if at > 0:
            larger = self.sizes[at - 1]
            rate = rates.get(larger, UNMEASURED_SPEED * rates.get(current, 0.0))
            if backlog <= CLEAR_SHARE * self.promise * rate:
                return larger
        return current


def _is_faster(size: str, current: str, rates: Mapping[str, float]) -> bool:
    """Whether a smaller size helps; one that was never measured is believed to."""
    return size not in rates or rates[size] > rates[current]
