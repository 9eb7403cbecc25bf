"""Which engines somebody runs, as infer workers tell it through a real Valkey."""

import pytest

from pipeline import served as module
from pipeline.redis_ledger import RedisLedger
from pipeline.served import served, tell_served
from pipeline.settings import Redis, Settings
from tests.watching import until
from workers.infer import Presence


def test_an_engine_is_served_as_long_as_somebody_says_so(
    redis_settings: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, other = RedisLedger(Settings(redis=redis_settings)), RedisLedger(Settings(redis=redis_settings))
    assert served({"x", "y"}, ledger) == frozenset()
    Presence("x", other)
    until(lambda: served({"x", "y"}, ledger) == {"x"})
    monkeypatch.setattr(module, "SERVED_SECONDS", 0.2)
    tell_served("y", other)
    tell_served("y", ledger)  # a second worker with the same engine
    assert served({"x", "y"}, ledger) == {"x", "y"}
    until(lambda: served({"x", "y"}, ledger) == {"x"})
    ledger.close()
    other.close()
