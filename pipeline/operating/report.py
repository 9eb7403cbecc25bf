"""A collection looked back upon: what was promised and what came of it, how fast it was, what failed and why."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline import keys
from pipeline.collecting.record import Progress, Tally
from pipeline.collecting.shards import read_closed
from pipeline.errors import MissingObjectError
from pipeline.forecast import Forecast, Miss, off
from pipeline.objects import ObjectStore
from pipeline.operating.outcomes import outcomes
from pipeline.operating.standing import Standing, promised, standing
from pipeline.planning.tally import EXAMPLES, MOST_GROUPS, group
from pipeline.stages import Ports

_OTHER = "other reasons"


@dataclass(slots=True)
class Failing:
    """Lines that are not done for one reason, whatever the figures in it."""

    lines: int = 0
    examples: list[dict[str, str | None]] = field(default_factory=list)  #: the first ones


@dataclass(frozen=True, slots=True)
class Report:
    """Seconds are seconds of the clock, if nothing else is said."""

    standing: Standing
    promise: Forecast | None  #: as told first, since all lines were in
    promised_at: datetime | None
    miss: Miss | None  #: how far off it was; None while nobody knows
    seconds: float | None  #: from its submission to its end; None where it ended before and was opened again
    failing: dict[str, Failing]

    @property
    def pace(self) -> float | None:
        """Media-seconds done in a second."""
        return None if not self.seconds else self.standing.tally.seconds / self.seconds

    @property
    def lines_per_hour(self) -> float | None:
        return None if not self.seconds else self.standing.tally.lines / self.seconds * 3600

    @property
    def worst(self) -> list[tuple[str, Failing]]:
        """Reasons, the most frequent first."""
        return sorted(self.failing.items(), key=lambda item: (-item[1].lines, item[0]))

    def document(self) -> dict[str, Any]:
        """For a program, beside how the collection stands."""
        return {
            "promised": None if self.promise is None else self.promise.document(),
            "promised_at": None if self.promised_at is None else self.promised_at.isoformat(),
            "actual": None if self.miss is None else self.miss.document(),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "media_seconds_per_second": None if self.pace is None else round(self.pace, 3),
            "lines_per_hour": None if self.lines_per_hour is None else round(self.lines_per_hour, 1),
            "failures": [
                {"reason": reason, "lines": found.lines, "examples": found.examples} for reason, found in self.worst
            ],
        }


def report(ports: Ports, collection: str) -> Report:
    """Raises UsageError when there is none of that id.

    Reads the results of those shards alone in which some failed, or that are under way. The promise is that of the last
    time when all lines were in; of what was opened again, nobody tells how long all of it took.
    """
    seen = standing(ports, collection)
    closed = read_closed(ports.store, collection)
    was_reopened = closed is not None and closed.again
    promise = _promise(ports.store, collection)
    forecast = None if promise is None else promised(promise)
    end = seen.ended_at if seen.state != "cancelled" else None
    return Report(
        standing=seen,
        promise=forecast,
        promised_at=None if promise is None else promise.at,
        miss=None
        if promise is None or forecast is None or end is None
        else off(forecast, (end - promise.at).total_seconds()),
        seconds=None if end is None or was_reopened else (end - seen.collection.submitted_at).total_seconds(),
        failing=failing(ports.store, collection),
    )


def failing(store: ObjectStore, collection: str) -> dict[str, Failing]:
    """Why lines are not done, by reason; what fails for yet another reason than so many is counted as one group."""
    found: dict[str, Failing] = {}
    for outcome in outcomes(store, collection, not_all_done(store, collection)):
        if outcome.result is None or outcome.state == "done":
            continue
        reason = outcome.result.error or outcome.state
        name = group(reason)
        if name not in found and len(found) >= MOST_GROUPS:
            name = _OTHER
        one = found.setdefault(name, Failing())
        one.lines += 1
        if len(one.examples) < EXAMPLES:
            line = outcome.line
            one.examples.append(
                {"name": line.media.name, "custom_id": line.custom_id, "job": outcome.job, "reason": reason}
            )
    return found


def not_all_done(store: ObjectStore, collection: str) -> Callable[[int], bool]:
    """Which shards, by number, hold lines that have ended and are not done, as far as anybody knows."""
    all_done = {}
    for key in store.list(keys.ended_shards(collection)):
        tally = Tally.from_bytes(store.get(key))
        all_done[keys.numbers(key)[0]] = tally.statuses.get("done", 0) == tally.lines

    def wanted(number: int) -> bool:
        if number in all_done:
            return not all_done[number]
        return store.exists(keys.begun_shard(collection, number))

    return wanted


def _promise(store: ObjectStore, collection: str) -> Progress | None:
    with suppress(MissingObjectError):
        return Progress.from_bytes(store.get(keys.promise(collection)))
    return None
