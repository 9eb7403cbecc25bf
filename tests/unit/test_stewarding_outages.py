"""One request that fails: nothing is lost of it, nothing is counted twice, and others need not wait for it."""

from datetime import UTC, datetime

import pytest

from pipeline import keys
from pipeline.collecting.record import Line
from pipeline.errors import TransientError
from pipeline.job import Media
from tests.doubles import a_job, accept
from tests.refusing import FOR_EVER, look_and_work, refuse
from tests.unit.test_collections import ARCHIVE, Mill, line, submit

OTHER = ARCHIVE.model_copy(update={"id": "c2", "submitted_at": datetime(2026, 1, 2, tzinfo=UTC)})


def elsewhere(mill: Mill, number: int) -> Line:
    address = f"s3://b/{number}.wav"
    mill.store.objects[address] = b"x" * (number + 1)
    return Line(media=Media(name=address, key=address))


def again(number: int, **more: object) -> Line:
    """A line whose bytes its tenant had before."""
    return line(number, **more).model_copy(update={"is_new": False})


def test_a_line_whose_object_cannot_be_asked_for_once_is_let_in_later() -> None:
    mill = Mill()
    submit(mill, [elsewhere(mill, number) for number in range(3)])
    failed = refuse(mill.store, "mark", "b/1.wav")
    look_and_work(mill, 10)
    assert failed() == 1
    assert mill.ended().tally.statuses == {"done": 3}


def test_a_line_whose_object_can_never_be_asked_for_holds_up_no_other_collection() -> None:
    mill = Mill()
    submit(mill, [elsewhere(mill, number) for number in range(3)])
    submit(mill, [line(7), line(8)], OTHER)
    refuse(mill.store, "mark", "b/1.wav", FOR_EVER)
    look_and_work(mill, 10)
    assert mill.ended("c2").tally.statuses == {"done": 2}
    assert not mill.store.exists(keys.ended_collection("c1"))


def test_a_line_after_which_the_next_shard_cannot_be_read_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.collecting.shards.SHARD_LINES", 2)
    mill = Mill()
    submit(mill, [line(number) for number in range(4)])
    failed = refuse(mill.store, "get", keys.shard("c1", 1))
    look_and_work(mill, 10)
    assert failed() == 1
    assert mill.ended().tally.statuses == {"done": 4}


@pytest.mark.parametrize("method", ["get", "list"])
def test_what_shall_be_made_anew_is_made_anew_though_a_request_about_it_failed(method: str) -> None:
    mill = Mill()
    submit(mill, [line(1)])
    mill.run()
    job = line(1).job(ARCHIVE).id
    failed = refuse(mill.store, method, keys.result(job) if method == "get" else keys.job_prefix(job))
    submit(mill, [again(1, force=True)], OTHER)
    look_and_work(mill, 10)
    assert failed() == 1
    assert len(mill.answerer.asked) == 2, "its old result does not do"
    assert mill.ended("c2").tally.statuses == {"done": 1}


@pytest.mark.parametrize("what", ["ended_shard", "jobs_of_shard", "ended_collection"])
def test_the_end_of_a_collection_is_told_again_when_it_could_not_be_written(what: str) -> None:
    mill = Mill()
    submit(mill, [line(1), elsewhere(mill, 2), line(1)])
    key = keys.ended_collection("c1") if what == "ended_collection" else getattr(keys, what)("c1", 0)
    failed = refuse(mill.store, "create", key)
    look_and_work(mill, 10)
    assert failed() == 1
    assert mill.ended().tally.statuses == {"done": 3}
    assert mill.ended().tally.lines == 3
    assert mill.store.exists(keys.ended_shard("c1", 0))


def test_a_job_of_two_shards_is_counted_once_in_each_though_one_could_not_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.collecting.shards.SHARD_LINES", 2)
    mill = Mill()
    submit(mill, [line(1), line(2), line(1), line(3)])
    failed = refuse(mill.store, "create", keys.ended_shard("c1", 1))
    look_and_work(mill, 10)
    assert failed() == 1
    assert mill.ended().tally.statuses == {"done": 4}
    assert len(list(mill.store.list(keys.ended_shards("c1")))) == 2


def test_the_other_collections_are_told_who_ended_while_one_cannot_be() -> None:
    mill = Mill()
    submit(mill, [line(1)])
    submit(mill, [again(1), again(2)], OTHER)
    refuse(mill.store, "create", keys.ended_shard("c1", 0), FOR_EVER)
    look_and_work(mill, 10)
    assert mill.ended("c2").tally.statuses == {"done": 2}
    assert not mill.store.exists(keys.ended_collection("c1"))


def test_a_debt_that_cannot_be_written_holds_up_its_own_collection_alone() -> None:
    mill, told = Mill(), ARCHIVE.model_copy(update={"webhook": "https://example.com/hook"})
    submit(mill, [line(1), line(1, custom_id="twice")], told)
    submit(mill, [line(7)], OTHER)
    real, owed = mill.store.create, [0]

    def create(key: str, data: bytes, content_type: str = "application/json") -> bool:
        owed[0] += key.startswith(keys.WEBHOOKS_OWED)
        if key.startswith(keys.WEBHOOKS_OWED) and 1 < owed[0] < 12:  # the first line's is written
            raise TransientError("the store is away")
        return real(key, data, content_type)

    mill.store.create = create  # type: ignore[method-assign]
    look_and_work(mill, 3)
    assert mill.ended("c2").tally.statuses == {"done": 1}
    assert not mill.store.exists(keys.ended_collection("c1"))
    look_and_work(mill, 10)
    assert mill.ended().tally.statuses == {"done": 2}
    assert len(list(mill.store.list(keys.WEBHOOKS_OWED))) == 2


def test_a_job_that_cannot_be_let_in_holds_up_no_other() -> None:
    mill = Mill(places=4)
    submit(mill, [line(number) for number in range(10)])
    for number in (20, 21):
        accept(mill.store, a_job(number=number))
    sick = line(3).job(ARCHIVE).id
    refuse(mill.store, "create", keys.open_job(sick), FOR_EVER)
    refuse(mill.store, "get", keys.open_job(a_job(number=20).id), FOR_EVER)
    look_and_work(mill, 20)
    done = {number for number in range(10) if mill.store.exists(keys.result(line(number).job(ARCHIVE).id))}
    assert done == set(range(10)) - {3}
    assert mill.store.exists(keys.result(a_job(number=21).id))
