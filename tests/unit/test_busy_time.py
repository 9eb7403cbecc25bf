"""How long the engine was busy reaches the ledger once, also over an outage."""

from types import SimpleNamespace
from typing import Any

from pipeline.errors import TransientError
from pipeline.ledger import MemoryLedger
from pipeline.stewarding.progress import ENGINE_MS
from workers.infer import BusyTime


class Flapping(MemoryLedger):
    is_away = False

    def count(self, what: str, number: int = 1) -> None:
        if self.is_away:
            raise TransientError("Redis is away")
        super().count(what, number)


def test_only_what_is_new_is_added_and_an_outage_loses_none_of_it() -> None:
    serving: Any = SimpleNamespace(busy_seconds=1.5)
    ledger = Flapping()
    busy = BusyTime(serving, ledger)
    busy.tell()
    busy.tell()
    assert ledger.counts() == {ENGINE_MS: 1500}
    ledger.is_away = True
    serving.busy_seconds = 2.0
    busy.tell()
    ledger.is_away = False
    serving.busy_seconds = 2.25
    busy.tell()
    assert ledger.counts() == {ENGINE_MS: 2250}
