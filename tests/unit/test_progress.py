"""What a steward foretells of collections: how fast the mill is while it works, and how far the rest may differ."""

import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import keys
from pipeline.collecting.record import Closed, Progress, Tally
from pipeline.ledger import MemoryLedger
from pipeline.stages import Ports
from pipeline.stewarding.progress import Prospects, note_name
from tests.doubles import MemoryStore


class Watch:
    """A mill whose clock is set by hand, and one collection of which the steward tells."""

    def __init__(self, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.ports = Ports(store=MemoryStore(), ledger=MemoryLedger(), send=lambda work: None)
        self.prospects = Prospects(self.ports, None)
        self.closed = Closed(lines=lines, closed_at=datetime.now(UTC))
        self.tally = Tally()

    def look(self, *ended: float, in_flight: bool) -> None:
        """Two seconds later, files of so many seconds have ended."""
        self.now += 2.0
        if in_flight:
            self.ports.ledger.admit("j1")
        else:
            self.ports.ledger.close_job("j1")
        self.prospects.did(sum(ended))
        for seconds in ended:
            self.tally += Tally.of("done", seconds)
        self.tell()

    def tell(self) -> None:
        mean = self.tally.seconds / self.tally.lines if self.tally.lines else None
        followed: Any = SimpleNamespace(closed=self.closed, tally=self.tally, mean_seconds=mean, num_out=1)
        self.prospects.tell({"c1": followed} if self.tally.lines else {})

    def told(self) -> Progress:
        text = self.ports.ledger.noted(note_name("c1"))
        assert text is not None
        return Progress.model_validate_json(text)


def test_what_idles_is_not_counted_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(100, monkeypatch)
    for _ in range(750):  # 25 minutes
        watch.look(in_flight=False)
    for _ in range(5):
        watch.look(60.0, 60.0, in_flight=True)
    told = watch.told()
    assert told.likely == pytest.approx(90.0, rel=0.25), "one file a second, and 90 are left"
    assert told.low is not None
    assert told.high is not None
    assert told.low < 90.0 < told.high


def test_work_that_stands_still_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(100, monkeypatch)
    for _ in range(5):
        watch.look(60.0, 60.0, in_flight=True)
    before = watch.told().likely
    for _ in range(20):
        watch.look(in_flight=True)
    after = watch.told().likely
    assert before is not None
    assert after is not None
    assert after > 3 * before


def test_files_that_differ_much_give_a_wider_range(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = []
    for lengths in ([60.0] * 40, [1.0] * 39 + [2361.0]):
        watch = Watch(60, monkeypatch)
        for _ in range(20):
            watch.look(60.0, 60.0, in_flight=True)  # the pace is the same for both
        watch.tally = sum((Tally.of("done", length) for length in lengths), Tally())
        watch.look(in_flight=True)
        told = watch.told()
        assert told.low is not None
        assert told.high is not None
        ranges.append(told.high - told.low)
    assert ranges[1] > 2 * ranges[0]


def test_each_time_that_all_lines_are_in_has_a_promise_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(100, monkeypatch)
    for _ in range(3):
        watch.look(60.0, in_flight=True)
    key = keys.promise("c1")
    first = watch.ports.store.get(key)
    watch.look(60.0, in_flight=True)
    assert watch.ports.store.get(key) == first
    watch.ports.store.delete([key])  # whoever opens it again does so
    watch.look(60.0, in_flight=True)
    assert not watch.ports.store.exists(key), "nobody has said yet that all lines are in"
    watch.closed = Closed(lines=200, closed_at=datetime.now(UTC), again=True)
    watch.look(60.0, in_flight=True)
    assert Progress.from_bytes(watch.ports.store.get(key)).lines == 200
