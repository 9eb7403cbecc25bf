"""Both ledgers keep one contract; the one in Redis also keeps it across processes and outages."""

import time
from collections.abc import Iterator

import pytest
import redis

from pipeline.errors import TransientError
from pipeline.job import Work
from pipeline.ledger import Ledger, MemoryLedger, RedisLedger
from pipeline.settings import Redis, Settings, Steward

CUT = Work(stage="cut", job="jaaa", window=1)
INFER = Work(stage="infer", job="jaaa", window=1, index=2)


def redis_ledger(settings: Redis, lease_seconds: float = 15) -> RedisLedger:
    return RedisLedger(Settings(redis=settings, steward=Steward(lease_seconds=lease_seconds)))


@pytest.fixture(params=["memory", "redis"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    made = redis_ledger(request.getfixturevalue("redis_settings"))
    yield made
    made.close()


def test_a_lease_has_one_holder_until_it_is_given_back(ledger: Ledger) -> None:
    assert ledger.hold(CUT)
    assert not ledger.hold(CUT)
    assert ledger.hold(INFER)
    assert ledger.held([CUT, INFER]) == {CUT.name, INFER.name}
    assert ledger.busy_jobs() == {"jaaa"}
    ledger.release(CUT)
    assert ledger.held([CUT]) == frozenset()
    assert ledger.hold(CUT)


def test_tries_are_counted_restored_and_forgotten(ledger: Ledger) -> None:
    ledger.begin([CUT, INFER])
    ledger.begin([INFER])
    assert (ledger.tries(CUT), ledger.tries(INFER)) == (1, 2)
    ledger.restore(INFER, 1)
    assert ledger.tries(INFER) == 1
    ledger.end(INFER)
    assert (ledger.tries(CUT), ledger.tries(INFER)) == (1, 0)
    ledger.close_job("jaaa")
    assert ledger.tries(CUT) == 0


def test_work_is_news_once_until_its_job_ends(ledger: Ledger) -> None:
    assert [ledger.announce(work) for work in (CUT, INFER, CUT)] == [True, True, False]
    ledger.close_job("jaaa")
    assert ledger.announce(CUT)


def test_only_so_many_jobs_are_in_flight(ledger: Ledger) -> None:
    assert [ledger.admit(job, 2) for job in ("a", "b", "c")] == [True, True, False]
    assert ledger.admit("a", 2), "who is in stays in"
    ledger.close_job("a")
    assert ledger.admit("c", 2)


def test_figures_add_up_and_end_with_the_job(ledger: Ledger) -> None:
    ledger.add("jaaa", done=1.5, answers=1)
    ledger.add("jaaa", done=2.0)
    assert ledger.figures("jaaa") == {"done": 3.5, "answers": 1}
    ledger.close_job("jaaa")


def test_a_lease_is_renewed_while_its_process_lives_and_runs_out_when_it_dies(redis_settings: Redis) -> None:
    mine, other = redis_ledger(redis_settings, lease_seconds=0.6), redis_ledger(redis_settings)
    assert mine.hold(CUT)
    time.sleep(1.2)
    assert not other.hold(CUT), "renewed"
    mine.close()  # stops the renewals, as a killed process would
    deadline = time.monotonic() + 5
    while not other.hold(CUT):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    other.close()


def test_a_lease_that_ran_out_is_not_taken_from_its_next_holder(redis_settings: Redis) -> None:
    first, second = redis_ledger(redis_settings, lease_seconds=0.1), redis_ledger(redis_settings)
    first.hold(CUT)
    first._stopping.set()  # frozen: it renews nothing
    time.sleep(0.3)
    assert second.hold(CUT)
    first.release(CUT)
    assert second.held([CUT]) == {CUT.name}
    first.close()
    second.close()


def test_work_that_met_an_outage_is_put_off_longer_each_time(redis_settings: Redis) -> None:
    ledger = redis_ledger(redis_settings)
    assert [ledger.postpone(INFER) for _ in range(8)] == [2, 4, 8, 16, 32, 64, 120, 120]
    assert ledger.postponed([CUT, INFER]) == {INFER.name}
    ledger.close()


def test_everything_works_again_after_a_flush(redis_settings: Redis) -> None:
    ledger = redis_ledger(redis_settings)
    ledger.hold(CUT)
    ledger.begin([CUT])
    with redis.Redis.from_url(redis_settings.url.get_secret_value()) as client:
        client.flushall()
    assert ledger.tries(CUT) == 0
    assert ledger.hold(CUT)
    assert ledger.admit("jaaa", 1)
    ledger.close()


def test_redis_away_is_a_transient_error() -> None:
    ledger = redis_ledger(Redis(url="redis://127.0.0.1:1/0"))  # type: ignore[arg-type]
    with pytest.raises(TransientError):
        ledger.tries(CUT)
