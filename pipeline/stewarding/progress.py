"""How collections stand and when they will be done, told for whoever looks."""

import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime

from pipeline import keys
from pipeline.collecting.record import Progress
from pipeline.forecast import Forecast, Remaining, forecast
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
        self._promised: set[str] = set()

    def did(self, seconds: float) -> None:
        """So much media was done."""
        self._done += seconds

    def tell(self, followed: Mapping[str, Followed]) -> None:
        now = time.monotonic()
        if not self._samples or now - self._samples[-1].at >= SAMPLE_SECONDS:
            engine_seconds = self._ports.ledger.counts().get(ENGINE_MS, 0) / 1000
            self._samples.append(Sample(at=now, done=self._done, engine_seconds=engine_seconds))
        pace = measured(list(self._samples))
        amounts = {name: _likely(one) for name, one in followed.items()}
        for name, one in followed.items():
            shared = _ahead(name, amounts)
            self._tell_one(name, one, self._forecast(pace, one, shared))

    def _forecast(self, pace: Pace | None, followed: Followed, others: float) -> Forecast | None:
        if followed.closed is None:
            return None  # nobody knows yet how much it will be
        left = followed.closed.lines - followed.tally.lines
        remaining = Remaining(
            known=others,
            files=left,
            mean=followed.mean_seconds,
            counted=followed.tally.lines,
            failed=followed.tally.statuses.get("failed", 0),
            ended=followed.tally.lines,
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
        if found is not None and name not in self._promised:
            self._ports.store.create(keys.promise(name), progress.to_bytes())
            self._promised.add(name)


def _likely(followed: Followed) -> float:
    """Media-seconds that a collection still holds, as far as anybody knows."""
    lines = 0 if followed.closed is None else followed.closed.lines - followed.tally.lines
    return lines * (followed.mean_seconds or 0.0)


def _ahead(name: str, amounts: Mapping[str, float]) -> float:
    """What is done of the others until this one is done, if all share alike: of each, at most as much as of this."""
    own = amounts[name]
    return sum(min(amount, own) for other, amount in amounts.items() if other != name)
