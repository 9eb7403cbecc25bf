"""When it will be done, as a range, and what it takes until then. Pure: whoever calls brings the clock.

A range is from the 10 % to the 90 % quantile: in four of five cases the truth should lie within. How fast it goes is
`pace.py` for a run that is under way and `rates.py` for one that is planned. How much is left:

- Files of unknown length count as the mean of those known; u of them, by a mean of n, have a deviation of
  s * sqrt(u + u * u / n).
- Files that fail take no time: by their share among those that ended, the range from Wilson's interval (E. B. Wilson,
  "Probable inference, the law of succession, and statistical inference", JASA 22, 1927). While none has failed, none is
  taken to fail.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipeline.job import Seconds
from pipeline.pace import Pace, Z, widened
from pipeline.rates import Rate, Rates, Unit

#: Between runs more changes than within one: other files, other machines.
RUN_SPREAD = math.log(2.0)
NOT_KNOWN = "not known yet"
#: Below this, people want seconds; above that, no date.
SECONDS_BELOW, DATES_BELOW = 120.0, 100 * 365 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """What is left to do, in media-seconds, or in the unit of a Rate."""

    known: float
    files: int = 0  #: of unknown length, beside what is known
    mean: float | None = None  #: length of a file, of those that are known
    deviation: float = 0.0  #: standard deviation of that length
    counted: int = 0  #: how many files mean and deviation are from
    failed: int = 0  #: of the files that have ended
    ended: int = 0

    def amounts(self) -> tuple[float, float, float] | None:
        """Low, likely and high; None when nobody can tell."""
        if self.files and (self.mean is None or self.counted < 1):
            return None
        guessed = self.files * (self.mean or 0.0)
        deviation = self.deviation if self.counted > 1 else (self.mean or 0.0)
        spread = Z * deviation * math.sqrt(self.files + self.files**2 / max(1, self.counted))
        least, likely, most = failing(self.failed, self.ended)
        return (
            (self.known + max(0.0, guessed - spread)) * (1 - most),
            (self.known + guessed) * (1 - likely),
            (self.known + guessed + spread) * (1 - least),
        )


def deviation(number: int, total: float, squares: float) -> float:
    """Standard deviation of what so many lengths are drawn from, by their sum and the sum of their squares."""
    if number < 2:
        return 0.0
    return math.sqrt(max(0.0, squares - total * total / number) / (number - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How long it will take from now on, and what of."""

    low: Seconds
    likely: Seconds
    high: Seconds
    engine_seconds: Seconds | None = None  #: that engines will be busy; idle ones may cost, too
    cost: float | None = None  #: of those, in the currency of the price

    def document(self) -> dict[str, float | None]:
        """For a program."""
        return {
            "low_seconds": round(self.low, 1),
            "likely_seconds": round(self.likely, 1),
            "high_seconds": round(self.high, 1),
            "engine_seconds": None if self.engine_seconds is None else round(self.engine_seconds, 1),
            "cost": None if self.cost is None else round(self.cost, 4),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Forecast":
        """What `document` wrote, so that a promise can be kept with a run. Raises KeyError for anything else."""
        return cls(
            low=document["low_seconds"],
            likely=document["likely_seconds"],
            high=document["high_seconds"],
            engine_seconds=document["engine_seconds"],
            cost=document["cost"],
        )


def forecast(pace: Pace | None, remaining: Remaining, price: float | None = None) -> Forecast | None:
    """How long what is left takes at this pace; None when nobody can tell. `price`: of one engine's hour."""
    amounts = remaining.amounts()
    if pace is None or amounts is None:
        return None
    low, likely, high = (amount / pace.rate for amount in amounts)
    return _priced(
        low * math.exp(-pace.ahead(pace.faster, low)),
        likely,
        high * math.exp(pace.ahead(pace.slower, high)),
        None if pace.engine_seconds is None else amounts[1] * pace.engine_seconds,
        price,
    )


def remembered(rates: Rates, work: Mapping[Unit, Remaining], price: float | None = None) -> Forecast | None:
    """How long work takes by what earlier runs showed; None when one of its units, or its amount, is not known.

    Units are done one after the other, and are taken to be slower or faster than usual all together.
    """
    ranges = [(rates.units.get(unit, Rate()), remaining.amounts()) for unit, remaining in work.items()]
    low = likely = high = engine = 0.0
    engine_known = bool(ranges)
    for rate, amounts in ranges:
        if amounts is None or (amounts[2] > 0 and not rate.count):
            return None
        if not amounts[2] > 0:
            continue
        spread = widened(Z * math.sqrt(rate.variance), rate.weight, RUN_SPREAD)
        low += amounts[0] / rate.per_second * math.exp(-spread)
        likely += amounts[1] / rate.per_second
        high += amounts[2] / rate.per_second * math.exp(spread)
        engine += amounts[1] * (rate.engine_seconds or 0.0)
        engine_known = engine_known and rate.engine_seconds is not None
    return _priced(low, likely, high, engine if engine_known else None, price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """How far a promise was off."""

    actual: Seconds
    later: Seconds  #: than what was most likely; below 0: earlier
    share: float | None  #: of what was most likely; None where that was no time at all
    within: bool  #: whether it was done within the range

    def document(self) -> dict[str, float | bool | None]:
        """For a program."""
        return {
            "actual_seconds": round(self.actual, 1),
            "later_seconds": round(self.later, 1),
            "later_share": None if self.share is None else round(self.share, 4),
            "within_range": self.within,
        }

    def sentence(self) -> str:
        """For people."""
        place = "within" if self.within else "outside"
        return f"took {_span(self.actual)}, {self._by_how_much()} than most likely, {place} the promised range"

    def _by_how_much(self) -> str:
        direction = "longer" if self.later >= 0 else "less"
        if self.share is None:
            return f"{_span(abs(self.later))} {direction}"
        return f"{abs(self.share):.0%} {direction}"


def off(promised: Forecast, actual: Seconds) -> Miss:
    """How far a promise was off, when it really took so long from then on."""
    later = actual - promised.likely
    return Miss(
        actual=actual,
        later=later,
        share=later / promised.likely if promised.likely > 0 else None,
        within=promised.low <= actual <= promised.high,
    )


def sentence(promise: Forecast | None, now: datetime) -> str:
    """A forecast for people, in the time zone of `now`; dates are told only where it is not today."""
    if promise is None:
        return NOT_KNOWN
    return "; ".join(part for part in (_when(promise, now), _what(promise)) if part)


def _when(promise: Forecast, now: datetime) -> str:
    if promise.high < SECONDS_BELOW:
        return f"done in {promise.low:.0f} to {promise.high:.0f} s, most likely {promise.likely:.0f} s"
    if promise.high > DATES_BELOW:
        return "not done within a hundred years at this pace"
    moments = (now + timedelta(seconds=seconds) for seconds in (promise.low, promise.likely, promise.high))
    first, likely, last = (_moment(moment, now) for moment in moments)
    return f"done at about {likely}" if first == last else f"done between {first} and {last}, most likely {likely}"


def _moment(at: datetime, now: datetime) -> str:
    at = (at + timedelta(seconds=30)).replace(second=0, microsecond=0)
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def _what(promise: Forecast) -> str:
    told = "" if promise.engine_seconds is None else f"{_span(promise.engine_seconds)} of engine time"
    return told if promise.cost is None else f"{told}, which costs {promise.cost:.2f}"


def _span(seconds: Seconds) -> str:
    if seconds < SECONDS_BELOW:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def failing(failed: int, ended: int) -> tuple[float, float, float]:
    """Share of files that fail: low, likely, high. Wilson's score interval; nothing while nothing has failed."""
    if not failed or ended < failed:
        return 0.0, 0.0, 0.0
    share, square = failed / ended, Z * Z
    middle = (share + square / (2 * ended)) / (1 + square / ended)
    reach = Z / (1 + square / ended) * math.sqrt(share * (1 - share) / ended + square / (4 * ended**2))
    return min(share, max(0.0, middle - reach)), share, max(share, min(1.0, middle + reach))


def _priced(low: float, likely: float, high: float, engine_seconds: float | None, price: float | None) -> Forecast:
    cost = None if price is None or engine_seconds is None else engine_seconds / 3600 * price
    return Forecast(low=low, likely=likely, high=high, engine_seconds=engine_seconds, cost=cost)
