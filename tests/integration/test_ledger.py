"""Both ledgers keep one contract; the one in Redis also keeps it across processes and outages."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from pipeline.errors import TransientError, WorldError
from pipeline.job import Work
from pipeline.ledger import ENDED, HELD, Ledger, MemoryLedger
from pipeline.redis_ledger import TRYING_SECONDS, RedisLedger, Suspect
from pipeline.settings import Redis, Settings, Steward
from tests.watching import until

CUT = Work(stage="cut", job="jaaa", window=1)
INFER = Work(stage="infer", job="jaaa", window=1, index=2)


def redis_ledger(settings: Redis, lease_seconds: float = 15) -> RedisLedger:
    return RedisLedger(Settings(redis=settings, steward=Steward(lease_seconds=lease_seconds)))


def takes(ledger: Ledger, work: Work) -> bool:
    """Take the lease on work that nobody has done."""
    return ledger.start(work, count=False) != HELD


@pytest.fixture(params=["memory", "redis"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    made = redis_ledger(request.getfixturevalue("redis_settings"))
    yield made
    made.close()


def test_a_lease_has_one_holder_until_it_is_given_back(ledger: Ledger) -> None:
    assert takes(ledger, CUT)
    assert not takes(ledger, CUT)
    assert takes(ledger, INFER)
    assert ledger.held([CUT, INFER]) == {CUT.name, INFER.name}
    assert ledger.busy_jobs() == {"jaaa"}
    ledger.release(CUT)
    assert ledger.held([CUT]) == frozenset()
    assert takes(ledger, CUT)


def test_tries_are_counted_restored_and_forgotten(ledger: Ledger) -> None:
    assert ledger.start(CUT, count=True) == 0
    ledger.begin([INFER])
    ledger.begin([INFER])
    assert (ledger.tries(CUT), ledger.tries(INFER)) == (1, 2)
    ledger.restore(INFER, 1)
    assert ledger.start(INFER, count=False) == 1
    ledger.end(INFER)
    assert (ledger.tries(CUT), ledger.tries(INFER)) == (1, 0)
    ledger.close_job("jaaa")
    assert ledger.tries(CUT) == 0


def test_a_second_message_about_what_is_done_is_none(ledger: Ledger) -> None:
    ledger.announce([CUT])
    ledger.start(CUT, count=True)
    ledger.end(CUT)
    assert ledger.start(CUT, count=True) == ENDED
    ledger.expect([CUT])  # the bucket lacks it after all
    assert ledger.start(CUT, count=True) == 0


def test_what_ends_behind_the_end_of_its_job_leaves_nothing(ledger: Ledger) -> None:
    ledger.start(CUT, count=True)
    ledger.close_job("jaaa")
    ledger.end(CUT)
    assert ledger.start(CUT, count=False) == 0


def test_what_comes_behind_the_end_of_its_job_leaves_nothing_in_redis(redis_settings: Redis) -> None:
    ledger = redis_ledger(redis_settings)
    ledger.announce([CUT, INFER])
    ledger.close_job("jaaa")
    assert not ledger.answered(INFER, 1.0)
    assert ledger._redis.keys(f"{ledger._prefix}job:*") == []
    ledger.start(CUT, count=True)
    ledger.end(CUT)
    ledger.start(INFER, count=False)
    assert not ledger.answered(INFER, 1.0)
    ledger.end(INFER)
    assert ledger._redis.keys(f"{ledger._prefix}job:*") == []
    ledger.start(CUT, count=True)  # and dies
    (left,) = ledger._redis.keys(f"{ledger._prefix}job:*")
    assert 0 < ledger._redis.ttl(left) <= TRYING_SECONDS
    assert ledger.tries(CUT) == 1
    ledger.announce([INFER])
    assert ledger._redis.ttl(left) > TRYING_SECONDS, "the job is open after all"
    ledger.close()


def test_what_was_in_the_hands_of_a_process_that_died_is_suspect_until_it_is_given_back(redis_settings: Redis) -> None:
    ledger = redis_ledger(redis_settings, lease_seconds=0.1)
    ledger.announce([INFER])
    assert not isinstance(ledger.start(INFER, count=False), Suspect)
    ledger._stopping.set()  # dead: it renews nothing
    until(lambda: not ledger.held([INFER]))
    heir = redis_ledger(redis_settings)
    found = heir.start(INFER, count=False)
    assert isinstance(found, Suspect)
    assert found == 0, "nobody knows that it was its doing"
    assert heir.tries(INFER) == 0
    heir.release(INFER)
    assert not isinstance(heir.start(INFER, count=False), Suspect)
    heir.close()
    ledger.close()


def test_work_is_news_once_until_its_job_ends(ledger: Ledger) -> None:
    assert ledger.announce([CUT, INFER]) == [CUT, INFER]
    assert ledger.announce([CUT, INFER]) == []
    ledger.close_job("jaaa")
    assert ledger.announce([CUT]) == [CUT]
    assert ledger.announce([]) == []


def test_the_last_answer_of_a_window_is_told(ledger: Ledger) -> None:
    other = INFER.model_copy(update={"index": 3})
    ledger.announce([INFER, other, INFER.model_copy(update={"window": 2})])
    assert not ledger.answered(INFER, 1.5)
    assert not ledger.answered(INFER, 1.5), "it is the same one"
    assert ledger.answered(other, 2.0)
    assert ledger.answered(other, 2.0), "whoever told it first may have died before they did anything about it"
    assert ledger.figures("jaaa") == {"done": 3.5}


def test_what_is_left_of_a_parcel_is_lacking_in_its_place(ledger: Ledger) -> None:
    parcel = INFER.model_copy(update={"index": 0, "last": 2})
    ledger.announce([parcel])
    assert not ledger.tried(parcel.each)
    ledger.begin(parcel.each[1:])
    assert ledger.tried(parcel.each)
    assert not ledger.answered(parcel, 1.0, left=2)
    assert not ledger.answered(parcel, 1.0, left=2)
    first, _, last = parcel.each
    assert not ledger.answered(first, 1.0)
    assert ledger.answered(last, 1.0)
    assert not ledger.tried([first, last]), "they have ended"


def test_a_window_that_was_forgotten_is_not_complete_until_it_is_known_what_it_lacks(ledger: Ledger) -> None:
    assert not ledger.answered(INFER, 1.0)
    ledger.expect([INFER, INFER.model_copy(update={"index": 3})])
    assert not ledger.answered(INFER, 1.0)
    assert ledger.answered(INFER.model_copy(update={"index": 3}), 1.0)


def test_jobs_that_ended_unseen_are_dismissed(ledger: Ledger) -> None:
    ledger.admit("a", 2)
    ledger.admit("b", 2)
    ledger.dismiss(["a", "x"])
    ledger.dismiss([])
    assert ledger.in_flight() == {"b"}


def test_repairs_are_counted(ledger: Ledger) -> None:
    ledger.count("resent", 2)
    ledger.count("resent")
    assert ledger.counts() == {"resent": 3}


def test_a_blank_ledger_tells_so_once(ledger: Ledger) -> None:
    assert [ledger.is_blank(), ledger.is_blank()] == [True, False]


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
    assert takes(mine, CUT)
    time.sleep(1.2)
    assert not takes(other, CUT), "renewed"
    mine.close()  # stops the renewals, as a killed process would
    deadline = time.monotonic() + 5
    while not takes(other, CUT):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    other.close()


def test_a_lease_that_ran_out_is_not_taken_from_its_next_holder(redis_settings: Redis) -> None:
    first, second = redis_ledger(redis_settings, lease_seconds=0.1), redis_ledger(redis_settings)
    takes(first, CUT)
    first._stopping.set()  # frozen: it renews nothing
    time.sleep(0.3)
    assert takes(second, CUT)
    first.release(CUT)
    assert second.held([CUT]) == {CUT.name}
    first.close()
    second.close()


def test_an_office_has_one_holder_until_their_time_runs_out(redis_settings: Redis) -> None:
    ledger = redis_ledger(redis_settings)
    assert ledger.lead("steward", "a", 0.2)
    assert not ledger.lead("steward", "b", 0.2)
    assert ledger.lead("steward", "a", 0.2)
    time.sleep(0.3)
    assert ledger.lead("steward", "b", 0.2)
    ledger.close()


def test_a_lease_that_was_wiped_is_taken_back_by_whoever_works_under_it(redis_settings: Redis) -> None:
    ledger = redis_ledger(redis_settings, lease_seconds=0.6)
    ledger.start(CUT, count=True)
    with redis.Redis.from_url(redis_settings.url.get_secret_value()) as client:
        client.flushall()
    time.sleep(0.5)
    assert ledger.held([CUT]) == {CUT.name}
    ledger.release(CUT)
    time.sleep(0.5)
    assert ledger.held([CUT]) == frozenset()
    ledger.close()


def test_work_that_met_an_outage_is_put_off_longer_each_time(redis_settings: Redis) -> None:
    ledger = redis_ledger(redis_settings)
    assert [ledger.postpone(INFER) for _ in range(8)] == [2, 4, 8, 16, 30, 30, 30, 30]
    assert ledger.postponed([CUT, INFER]) == {INFER.name}
    ledger.close()


def test_everything_works_again_after_a_flush(redis_settings: Redis) -> None:
    ledger = redis_ledger(redis_settings)
    takes(ledger, CUT)
    ledger.begin([CUT])
    with redis.Redis.from_url(redis_settings.url.get_secret_value()) as client:
        client.flushall()
    assert ledger.tries(CUT) == 0
    assert takes(ledger, CUT)
    assert ledger.admit("jaaa", 1)
    ledger.close()


def test_redis_away_is_a_transient_error() -> None:
    ledger = redis_ledger(Redis(url="redis://127.0.0.1:1/0"))  # type: ignore[arg-type]
    with pytest.raises(TransientError):
        ledger.tries(CUT)


def test_an_end_is_not_undone_by_an_outage_that_comes_behind_it(ledger: Ledger) -> None:
    ledger.announce([INFER])
    ledger.answered(INFER, 1.0)
    ledger.restore(INFER, 0)
    assert ledger.start(INFER, count=False) == ENDED


class LosesAnswers(RedisLedger):
    """Its commands reach Redis, but no answer comes back while `is_cut`."""

    is_cut = False

    def _run(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        found = super()._run(script, keys, arguments)
        if self.is_cut:
            raise TransientError("Redis cannot be reached", "the answer is lost")
        return found


def test_a_start_of_which_the_answer_is_lost_is_taken_back(redis_settings: Redis) -> None:
    ledger = LosesAnswers(Settings(redis=redis_settings, steward=Steward(lease_seconds=0.3)))
    ledger.start(CUT, count=True)
    ledger.release(CUT)
    ledger.is_cut = True
    with pytest.raises(TransientError):
        ledger.start(CUT, count=True)
    assert ledger.tries(CUT) == 2
    ledger.is_cut = False
    until(lambda: ledger.tries(CUT) == 1 and not ledger.held([CUT]))
    ledger.close()


def test_a_count_that_cannot_be_set_back_now_is_set_back_later(redis_settings: Redis) -> None:
    ledger = redis_ledger(redis_settings, lease_seconds=0.3)
    ledger.start(CUT, count=True)
    real, ledger._redis = ledger._redis, redis.Redis(port=1)
    ledger._scripts = {text: ledger._redis.register_script(text) for text in ledger._scripts}
    ledger.restore(CUT, 0)
    ledger._redis = real
    ledger._scripts = {text: real.register_script(text) for text in ledger._scripts}
    until(lambda: ledger.tries(CUT) == 0)
    ledger.close()


def test_an_office_that_is_left_is_free_at_once(redis_settings: Redis) -> None:
    ledger = redis_ledger(redis_settings)
    assert ledger.lead("steward", "a", 60)
    ledger.resign("steward", "b")
    assert not ledger.lead("steward", "b", 60)
    ledger.resign("steward", "a")
    assert ledger.lead("steward", "b", 60)
    ledger.close()


def test_a_wrong_password_is_no_outage(redis_settings: Redis) -> None:
    scheme, _, place = redis_settings.url.get_secret_value().partition("://")
    wrong = redis_settings.model_copy(update={"url": SecretStr(f"{scheme}://:wrong@{place.rpartition('@')[2]}")})
    with pytest.raises(WorldError, match="does not let us in"):
        redis_ledger(wrong).self_test()
    away = redis_settings.model_copy(update={"url": SecretStr("redis://127.0.0.1:1/0")})
    with pytest.raises(TransientError):
        redis_ledger(away).self_test()
    redis_ledger(redis_settings).self_test()
