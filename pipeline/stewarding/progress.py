"""How collections stand and when they will be done, told for whoever looks."""

import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime

from pipeline import keys
from pipeline.collecting.record import Progress
from pipeline.forecast import Forecast, Remaining, deviation, forecast
from pipeline.pace import Pace, Sample, measured
from pipeline.stages import Ports
from pipeline.stewarding.following import Followed

#: Seconds between two samples of what is done, and how many are kept.
SAMPLE_SECONDS = 2.0
MAX_SAMPLES = 900
#: Counted by the infer workers: milliseconds that their engines were busy.
ENGINE_MS = "engine_ms"


def note_name(collection: str) -> str:
    """Under which name the ledger has a collection's progress."""
    return f"collection:{collection}"


class Prospects:
    """Measures how fast the mill is, and tells of each open collection when it will be done."""

    def __init__(self, ports: Ports, price: float | None) -> None:
        """`price`: of an hour of one engine."""
        self._ports = ports
        self._price = price
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._done = 0.0
        self._busy = 0.0  #: seconds in which some job was in flight: what idles has no pace
        self._looked_at: float | None = None
        self._was_in_flight = False
        self._promised: dict[str, datetime] = {}  #: by collection, when all its lines were in

    def did(self, seconds: float) -> None:
        """So much media was done."""
        self._done += seconds

    def tell(self, followed: Mapping[str, Followed]) -> None:
        self._look()
        if not self._samples or self._busy - self._samples[-1].at >= SAMPLE_SECONDS:
            engine_seconds = self._ports.ledger.counts().get(ENGINE_MS, 0) / 1000
            self._samples.append(Sample(at=self._busy, done=self._done, engine_seconds=engine_seconds))
        pace = measured(list(self._samples))
        amounts = {name: _likely(one) for name, one in followed.items()}
        for name, one in followed.items():
            shared = _ahead(name, amounts)
            self._tell_one(name, one, self._forecast(pace, one, shared))

    def _look(self) -> None:
        """Count the time since the last look, if work was in flight then or is now."""
        now, in_flight = time.monotonic(), bool(self._ports.ledger.in_flight())
        if self._looked_at is not None and (in_flight or self._was_in_flight):
            self._busy += now - self._looked_at
        self._looked_at, self._was_in_flight = now, in_flight

    def _forecast(self, pace: Pace | None, followed: Followed, others: float) -> Forecast | None:
        if followed.closed is None:
            return None  # nobody knows yet how much it will be
        tally = followed.tally
        left = followed.closed.lines - tally.lines
        remaining = Remaining(
            known=others,
            files=left,
            mean=followed.mean_seconds,
            deviation=deviation(tally.lines, tally.seconds, tally.squares),
            counted=tally.lines,
            failed=tally.statuses.get("failed", 0),
            ended=tally.lines,
        )
        return forecast(pace, remaining, self._price)

    def _tell_one(self, name: str, followed: Followed, found: Forecast | None) -> None:
        progress = Progress(
            tally=followed.tally,
            lines=None if followed.closed is None else followed.closed.lines,
            in_flight=followed.num_out,
            low=None if found is None else found.low,
            likely=None if found is None else found.likely,
            high=None if found is None else found.high,
            engine_seconds=None if found is None else found.engine_seconds,
            cost=None if found is None else found.cost,
            at=datetime.now(UTC),
        )
        self._ports.ledger.note(note_name(name), progress.model_dump_json())
        closed = followed.closed
        if found is not None and closed is not None and self._promised.get(name) != closed.closed_at:
            self._ports.store.create(keys.promise(name), progress.to_bytes())
            self._promised[name] = closed.closed_at


def _likely(followed: Followed) -> float:
    """Media-seconds that a collection still holds, as far as anybody knows."""
    lines = 0 if followed.closed is None else followed.closed.lines - followed.tally.lines
    return lines * (followed.mean_seconds or 0.0)


def _ahead(name: str, amounts: Mapping[str, float]) -> float:
    """What is done of the others until this one is done, if all share alike: of each, at most as much as of this."""
    own = amounts[name]
    return sum(min(amount, own) for other, amount in amounts.items() if other != name)
