"""What was done is done again when that is asked for, once, and else not; an end counts for whom it ended."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline import keys
from pipeline.collecting.record import Collection, Ended
from pipeline.errors import TransientError
from pipeline.job import Result, Work
from pipeline.ledger import Ending
from pipeline.producer import Producer
from pipeline.settings import Settings
from tests.refusing import look_and_work
from tests.unit.test_collections import ARCHIVE, Mill, line, submit
from tests.unit.test_stewarding_outages import OTHER, again

TOTAL = 20


def done(mill: Mill, total: int = TOTAL) -> Mill:
    submit(mill, [line(number) for number in range(total)])
    mill.run()
    assert len(mill.answerer.asked) == total
    return mill


def ended(mill: Mill, collection: Collection = OTHER) -> Ended | None:
    return mill.ended(collection.id) if mill.store.exists(keys.ended_collection(collection.id)) else None


@pytest.mark.parametrize("change", [Mill.new_steward, Mill.restart])
def test_what_shall_be_made_anew_is_made_once_however_many_stewards_follow(change: Callable[[Mill], None]) -> None:
    mill = done(Mill(places=4))
    submit(mill, [again(number, force=True) for number in range(TOTAL)], OTHER)
    for _ in range(TOTAL):
        for _ in range(3):
            mill.steward.look()
            mill.work()
        change(mill)
    end = ended(mill)
    assert end is not None
    assert end.tally.statuses == {"done": TOTAL}
    assert len(mill.answerer.asked) == 2 * TOTAL


def test_the_same_bytes_twice_in_what_shall_be_made_anew_are_made_once() -> None:
    mill = done(Mill(places=1), 3)
    submit(mill, [again(1, force=True), again(2, force=True), again(1, force=True)], OTHER)
    mill.run()
    assert len(mill.answerer.asked) == 3 + 2
    end = ended(mill)
    assert end is not None
    assert end.tally.statuses == {"done": 3}


def test_a_new_line_whose_bytes_were_done_for_somebody_else_while_it_waited_asks_no_engine() -> None:
    mill = Mill(places=1)
    submit(mill, [line(number) for number in range(4)])
    mill.steward.look()
    Producer(mill.ports, Settings())._open(line(3).job(ARCHIVE))  # it is urgent, and goes before
    mill.run()
    assert sorted(mill.answerer.asked) == sorted({f"infer.{line(number).job(ARCHIVE).id}" for number in range(4)})
    assert mill.ended().tally.statuses == {"done": 4}


def test_a_new_line_that_waited_long_before_this_steward_began_asks_no_engine_for_what_is_done() -> None:
    mill = Mill()
    submit(mill, [line(1), line(2)])
    Producer(mill.ports, Settings())._open(line(1).job(ARCHIVE))
    mill.work()
    mill.ports.ledger.endings()  # the steward who heard of it is gone
    mill.store.times[keys.shard("c1", 0)] = ARCHIVE.submitted_at
    mill.new_steward()
    mill.run()
    assert len(mill.answerer.asked) == 2
    assert mill.ended().tally.statuses == {"done": 2}


def test_a_new_line_that_was_let_in_without_anybody_knowing_asks_no_engine_twice() -> None:
    mill = Mill(places=2)
    submit(mill, [line(1), line(2)])
    send, lost = mill.ports.send, [0]

    def send_and_lose(work: Work) -> None:
        send(work)
        if not lost[0]:
            lost[0] = 1
            raise TransientError("the answer got lost")

    object.__setattr__(mill.ports, "send", send_and_lose)
    look_and_work(mill, 5)
    mill.run()
    assert len(mill.answerer.asked) == 2
    assert mill.ended().tally.statuses == {"done": 2}


def test_a_new_line_takes_no_more_requests_than_it_did() -> None:
    mill = Mill(places=8)
    submit(mill, [line(number) for number in range(100)])
    asked: list[str] = []

    def noted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(about: Any, *more: Any) -> Any:
            keys_of = [about] if isinstance(about, str) else list(about)
            asked.append(" ".join(keys_of))
            return real(about if isinstance(about, str) else keys_of, *more)

        return call

    for method in ("get", "create", "replace", "exists", "list", "written", "delete"):
        setattr(mill.store, method, noted(getattr(mill.store, method)))
    mill.run()
    job = line(50).job(ARCHIVE).id
    seen = [key for key in asked if job in key]
    # PUT and GET of its record and of its media as one object; the result, three formats; one DELETE
    assert len(seen) == 9, seen


def test_the_end_of_an_earlier_round_does_not_end_a_later_one() -> None:
    mill = Mill()
    job = line(1).job(ARCHIVE).id
    mill.answerer.refused = {f"infer.{job}"}
    submit(mill, [line(1)])
    mill.steward.look()
    submit(mill, [again(1)], OTHER)
    admit, told = mill.steward._admitter.admit, [0]

    def admit_late() -> int:
        if not told[0]:  # it fails after the steward has heard who ended, and is then let in for another line
            told[0] = 1
            mill.work()
            mill.answerer.refused = set()
        return admit()

    mill.steward._admitter.admit = admit_late  # type: ignore[method-assign]
    mill.run()
    assert Result.from_bytes(mill.store.get(keys.result(job))).status == "done"
    end = ended(mill)
    assert end is not None
    assert end.tally.statuses == {"done": 1}


def test_a_job_that_is_open_again_is_not_opened_as_what_it_was_before() -> None:
    mill = Mill()
    job = line(1).job(ARCHIVE).id
    mill.answerer.refused = {f"infer.{job}"}
    submit(mill, [line(1)])
    mill.run()
    mill.answerer.refused = set()
    Producer(mill.ports, Settings()).retry(job)
    submit(mill, [again(1)], OTHER)
    mill.steward.look()
    assert list(mill.store.list(keys.OPEN)) == [keys.open_job(job, 1)]
    mill.run()
    end = ended(mill)
    assert end is not None
    assert end.tally.statuses == {"done": 1}


def test_an_end_that_is_heard_twice_counts_once() -> None:
    mill = Mill(places=2)
    submit(mill, [line(1), line(2)])
    mill.steward.look()
    ending = Ending(line(1).job(ARCHIVE).id, "done", 1.0)
    mill.steward._admitter.ended([ending, ending])
    mill.steward._admitter.ended([ending])
    assert mill.steward._admitter.followed["c1"].tally.lines == 1
