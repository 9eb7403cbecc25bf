"""How fast an engine was in earlier runs, so that a plan can say how long a new one takes. Pure.

Speeds are kept as logarithms: twice as fast and half as fast are equally far off, and no spread reaches below zero.
Mean and variance are updated as they come, by the weighted form of Welford's method, whose memory fades once there is
enough: T. Finch, "Incremental calculation of weighted mean and variance" (University of Cambridge, 2009), sections 4
and 9.
"""

import math
from typing import Literal

from pydantic import Field

from pipeline.job import Record, Seconds

#: What work is counted in: seconds of sound, pictures of their own, frames of a video, characters of a text.
Unit = Literal["sound", "pictures", "frames", "characters"]

#: A run that took at least so long counts as a whole one; a shorter one, which tells more of the start than of the
#: speed, counts for a part.
WHOLE_RUN_SECONDS = 60.0
#: Least share that a new whole run has in the mean: engines and machines change.
LEAST_SHARE = 0.1


class Rate(Record):
    """The speed of one engine with one kind of media, over all of its workers."""

    count: int = Field(0, ge=0)  #: runs it was learnt from
    weight: float = Field(0.0, ge=0)  #: the same, short runs counted in part
    mean: float = 0.0  #: of the logarithm of units done in a second of the clock
    variance: float = Field(0.0, ge=0)  #: of that logarithm
    engine_mean: float | None = None  #: of the logarithm of engine seconds for one unit

    @property
    def per_second(self) -> float:
        """Units in a second of the clock, typically."""
        return math.exp(self.mean)

    @property
    def engine_seconds(self) -> Seconds | None:
        """Engine seconds for one unit, typically."""
        return None if self.engine_mean is None else math.exp(self.engine_mean)

    def learnt(self, units: float, seconds: Seconds, engine_seconds: Seconds) -> "Rate":
        """With one more run: so many units in so many seconds of the clock. One that did nothing teaches nothing.

        `engine_seconds`: how long engines were busy with them, added up; 0 where nobody measured.
        """
        if units <= 0 or seconds <= 0:
            return self
        weight = min(1.0, seconds / WHOLE_RUN_SECONDS)
        share = max(weight / (self.weight + weight), LEAST_SHARE * weight)
        difference = math.log(units / seconds) - self.mean
        step = share * difference
        return Rate(
            count=self.count + 1,
            weight=self.weight + weight,
            mean=self.mean + step,
            variance=(1 - share) * (self.variance + difference * step),
            engine_mean=self._engine_learnt(engine_seconds / units, share),
        )

    def _engine_learnt(self, per_unit: float, share: float) -> float | None:
        if per_unit <= 0:
            return self.engine_mean
        if self.engine_mean is None:
            return math.log(per_unit)
        return self.engine_mean + share * (math.log(per_unit) - self.engine_mean)


class Rates(Record):
    """What is known of an engine, by what its work was counted in."""

    engine: str  #: as a job asks for it
    units: dict[Unit, Rate] = Field(default_factory=dict)

    def learnt(self, unit: Unit, amount: float, seconds: Seconds, engine_seconds: Seconds = 0.0) -> "Rates":
        """With one more run. Of a run with several units, the caller gives each its part of the seconds."""
        known = self.units.get(unit, Rate())
        rate = known.learnt(amount, seconds, engine_seconds)
        return self if rate is known else Rates(engine=self.engine, units={**self.units, unit: rate})
