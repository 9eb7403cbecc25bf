"""How fast the work goes, from samples of what was done until when, and how much that says about what lies ahead. Pure.

- The recent past is divided into at most 10 stretches of equal length, whatever that length is, and the speed of each
  is taken. The more there is to look at, the longer the stretches and the less they differ: this is the method of batch
  means (A. M. Law, "Simulation Modeling and Analysis", on steady-state means; B. Schmeiser, "Batch size effects in the
  analysis of simulation output", Operations Research 30, 1982: more than 10 to 30 of them gain little). The speed is
  that over all of it; its spread is that of the 10 % and 90 % quantiles of the stretches around it, in logarithms.
- Stretches that resemble the one before show less than there is: the spread grows by sqrt((1 + r) / (1 - r)), where r
  is their correlation with the one before, put right for its bias of -1 / n. This is the variance of the mean of a
  first-order autoregressive process (the same book, on correlated output).
- Few stretches show too little, too: the spread grows by sqrt((n + 1) / (n - 1)), close to quantiles of Student's t,
  and is averaged with a prior, a factor of two either way, that counts as three stretches.
- What ends now and then, as files do, ends by chance: k of them, counted as the samples that brought something, have a
  deviation of sqrt(k) (Poisson), which adds 1 / k to the square of the spread.
- What lies ahead is one more stretch of length T, predicted by the mean of n of length b: its spread is
  sqrt(max(1, b / T) + 1 / n) times that of one. That a longer one would average out more is not counted on, since a
  speed that drifts does not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.job import Seconds

Z = 1.2816  # the 90 % quantile of the normal distribution
MOST_STRETCHES = 10
LEAST_SPAN = 1e-3  # seconds; of less, a clock tells nothing
RECENT_SECONDS = 2 * 3600.0  # what is older says little about now
PRIOR_SPREAD = math.log(2.0)
PRIOR_WEIGHT = 3.0
MOST_CORRELATION = 0.6
#: Beyond a factor of seven either way a range says nothing more. With a spread of 2 or less, more work is never done
#: earlier.
MOST_SPREAD = math.log(7.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was done until some moment, counted from any beginning. A count that falls began anew."""

    at: float  #: seconds of any clock that does not stand still
    done: float  #: media-seconds
    engine_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast it goes. Spreads are logarithms of factors, for one stretch."""

    rate: float  #: media-seconds done in a second of the clock
    slower: float  #: spread to the slow side
    faster: float
    stretch: Seconds
    stretches: int
    engine_seconds: float | None = None  #: for one media-second

    def ahead(self, spread: float, seconds: Seconds) -> float:
        """The spread of the mean speed over so many seconds ahead.

        What is shorter than a stretch spreads more, up to (2 / spread)^2: beyond that, less work would be done later.
        """
        shorter = self.stretch / seconds if seconds > 0 else math.inf
        return spread * math.sqrt(min(max(1.0, shorter), (2.0 / spread) ** 2) + 1 / self.stretches)


def measured(samples: Sequence[Sample]) -> Pace | None:
    """The pace of this run, by samples in the order of time; None while they show nothing done."""
    recent = _recent(samples)
    if len(recent) < 2:
        return None
    span, done = recent[-1].at - recent[0].at, recent[-1].done - recent[0].done
    if span < LEAST_SPAN or done <= 0:
        return None
    grew = sum(one.done < other.done for one, other in pairwise(recent))
    stretches = min(MOST_STRETCHES, len(recent) - 1)
    borders = np.linspace(recent[0].at, recent[-1].at, stretches + 1)
    counts = np.interp(borders, [one.at for one in recent], [one.done for one in recent])
    speeds = np.diff(counts) / np.diff(borders)
    slow, fast = np.quantile(speeds, [0.1, 0.9])
    alike = _likeness(speeds)
    rate = done / span
    busy = recent[-1].engine_seconds - recent[0].engine_seconds
    return Pace(
        rate=rate,
        slower=_counted(widened(alike * _log_factor(rate, float(slow)), stretches, PRIOR_SPREAD), grew),
        faster=_counted(widened(alike * _log_factor(float(fast), rate), stretches, PRIOR_SPREAD), grew),
        stretch=span / stretches,
        stretches=stretches,
        engine_seconds=busy / done if busy > 0 else None,
    )


def widened(spread: float, number: float, prior: float) -> float:
    """The spread that so many observations show, and what they are too few to show."""
    if number <= 1:
        return prior
    seen = spread**2 * (number + 1) / (number - 1)
    mixed = ((number - 1) * seen + PRIOR_WEIGHT * prior**2) / (number - 1 + PRIOR_WEIGHT)
    return min(MOST_SPREAD, math.sqrt(mixed))


def _counted(spread: float, number: int) -> float:
    """With what chance alone makes of so many things that ended."""
    return min(MOST_SPREAD, math.hypot(spread, Z / math.sqrt(number)))


def _recent(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those since the count last began anew, and not too old."""
    start = len(samples) - 1
    while start > 0 and samples[start - 1].done <= samples[start].done:
        start -= 1
    newest = samples[-1].at if samples else 0.0
    return [one for one in samples[max(0, start) :] if newest - one.at <= RECENT_SECONDS]


def _likeness(speeds: NDArray[np.float64]) -> float:
    """By what the spread grows because each stretch resembles the one before."""
    around = speeds - speeds.mean()
    total = float(around @ around)
    if len(speeds) < 4 or total <= 0:
        return 1.0
    correlation = float(around[1:] @ around[:-1]) / total + 1 / len(speeds)
    correlation = min(MOST_CORRELATION, max(0.0, correlation))
    return math.sqrt((1 + correlation) / (1 - correlation))


def _log_factor(larger: float, smaller: float) -> float:
    """How far apart two speeds are; as far as counts where the smaller is nothing."""
    if larger <= smaller:
        return 0.0
    return MOST_SPREAD if smaller <= 0 else min(MOST_SPREAD, math.log(larger / smaller))
