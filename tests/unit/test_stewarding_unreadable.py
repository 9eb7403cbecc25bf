"""What cannot be read stops nobody but itself; it is told once, and the mill's figures show it."""

import logging

import pytest

from pipeline import keys
from pipeline.stewarding.recovery import recover
from tests.doubles import a_job, accept
from tests.unit.test_collections import ARCHIVE, Mill, line, submit
from tests.unit.test_stewarding_outages import OTHER, again

NEWER = b'{"media":{"name":"a","key":"k"},"a_field_of_a_newer_version":1}\n'


def looks(mill: Mill, times: int = 6) -> None:
    for _ in range(times):
        mill.steward.look()
        mill.queue[:] = [work for work in mill.queue if work.job != "jx"]
        mill.work()


@pytest.mark.parametrize("is_in_flight", [False, True])
def test_a_job_that_cannot_be_read_stops_no_other(is_in_flight: bool, caplog: pytest.LogCaptureFixture) -> None:
    mill = Mill()
    mill.store.create(keys.open_job("jx"), NEWER)
    if is_in_flight:
        mill.ports.ledger.admit("jx")
    accept(mill.store, a_job())
    with caplog.at_level(logging.ERROR):
        looks(mill)
    assert mill.store.exists(keys.result(a_job().id))
    assert mill.ports.ledger.counts()["unreadable"] == 1
    assert [one.getMessage() for one in caplog.records if "jx cannot be read" in one.getMessage()] == [
        "job jx cannot be read"
    ]


def test_a_shard_that_cannot_be_read_stops_neither_the_others_of_its_collection_nor_other_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.collecting.shards.SHARD_LINES", 2)
    mill = Mill()
    submit(mill, [line(number) for number in range(6)])
    submit(mill, [line(7)], OTHER)
    sound = mill.store.objects[keys.shard("c1", 1)]
    mill.store.objects[keys.shard("c1", 1)] += NEWER
    looks(mill)
    assert mill.ended("c2").tally.statuses == {"done": 1}
    assert {keys.numbers(key)[0] for key in mill.store.list(keys.ended_shards("c1"))} == {0, 2}
    assert mill.ports.ledger.counts()["unreadable"] == 1
    assert not mill.store.exists(keys.ended_collection("c1")), "two of its lines were never worked on"
    mill.store.objects[keys.shard("c1", 1)] = sound
    mill.new_steward()
    mill.run()
    assert mill.ended().tally.statuses == {"done": 6}


@pytest.mark.parametrize("key", [keys.closed_collection("c1"), keys.collection("c1"), keys.ended_shard("c1", 0)])
def test_a_collection_whose_record_cannot_be_read_stops_no_other(key: str) -> None:
    mill = Mill()
    submit(mill, [line(1)])
    submit(mill, [line(7)], OTHER)
    mill.store.objects[key] = b"not JSON"
    looks(mill)
    assert mill.ended("c2").tally.statuses == {"done": 1}
    assert mill.ports.ledger.counts()["unreadable"] == 1


def test_a_result_that_cannot_be_read_holds_up_its_own_collection_alone() -> None:
    mill = Mill()
    job = line(1).job(ARCHIVE).id
    mill.store.create(keys.result(job), b"{}")
    submit(mill, [again(1)])
    submit(mill, [line(7)], OTHER)
    looks(mill)
    assert mill.ended("c2").tally.statuses == {"done": 1}
    assert not mill.store.exists(keys.ended_collection("c1"))
    assert mill.ports.ledger.counts()["unreadable"] >= 1


def test_records_of_tries_that_nobody_can_read_do_not_stop_a_recovery() -> None:
    mill = Mill()
    accept(mill.store, a_job())
    for stray in ("stray", f"{a_job().id}/newer-stage.{a_job().id}/001.json", f"{a_job().id}/x"):
        mill.store.create(f"{keys.TRIES}{stray}", b"")
    assert recover(mill.ports).jobs == 1
    looks(mill)
    assert mill.store.exists(keys.result(a_job().id))
