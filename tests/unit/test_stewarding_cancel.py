"""A collection that is cancelled ends what it alone waits for."""

import pytest

from pipeline import keys
from pipeline.collecting.record import Line
from pipeline.job import Media, Result
from pipeline.operating import mending
from pipeline.producer import Producer
from pipeline.settings import Settings
from tests.unit.test_collections import ARCHIVE, Mill, line, submit
from tests.unit.test_stewarding_outages import OTHER, again


def producer_of(mill: Mill) -> Producer:
    return Producer(mill.ports, Settings())


@pytest.mark.parametrize("has_steward_alone", [True, False], ids=["steward", "command"])
def test_a_job_that_another_collection_waits_for_goes_on(has_steward_alone: bool) -> None:
    mill = Mill()
    submit(mill, [line(1), line(2)])
    submit(mill, [again(1), again(3)], OTHER)
    mill.steward.look()
    if has_steward_alone:
        mill.store.create(keys.cancelled_collection("c1"), b"{}\n")
    else:
        assert mending.cancel(mill.store, producer_of(mill), "c1") == 1
    mill.run()
    assert mill.ended().tally.statuses == {"done": 1, "cancelled": 1}
    assert mill.ended("c2").tally.statuses == {"done": 2}


def test_a_job_whose_media_is_elsewhere_goes_on_for_another_collection() -> None:
    mill = Mill()
    mill.store.objects["s3://b/1.wav"] = b"there"
    elsewhere = Line(media=Media(name="1.wav", key="s3://b/1.wav"))
    submit(mill, [elsewhere, line(2)])
    submit(mill, [elsewhere], OTHER)
    mill.steward.look()
    assert mending.cancel(mill.store, producer_of(mill), "c1") == 1
    mill.run()
    assert mill.ended("c2").tally.statuses == {"done": 1}


def test_a_job_of_two_cancelled_collections_is_ended() -> None:
    mill = Mill()
    submit(mill, [line(1)])
    submit(mill, [again(1)], OTHER)
    mill.steward.look()
    assert mending.cancel(mill.store, producer_of(mill), "c1") == 0
    mending.cancel(mill.store, producer_of(mill), "c2")
    mill.run()
    job = line(1).job(ARCHIVE).id
    assert Result.from_bytes(mill.store.get(keys.result(job))).status == "cancelled"


def test_a_job_that_was_submitted_by_itself_goes_on() -> None:
    mill = Mill()
    single = line(1).job(ARCHIVE).model_copy(update={"collection": None})
    mill.store.create(keys.open_job(single.id), single.to_bytes())
    submit(mill, [again(1), line(2)])
    mill.steward.look()
    assert mending.cancel(mill.store, producer_of(mill), "c1") == 1
    mill.run()
    assert Result.from_bytes(mill.store.get(keys.result(single.id))).status == "done"


def test_a_line_that_meets_a_job_that_is_just_being_cancelled_has_it_done() -> None:
    mill = Mill()
    submit(mill, [line(1)])
    mill.steward.look()
    mending.cancel(mill.store, producer_of(mill), "c1")
    submit(mill, [again(1)], OTHER)
    mill.steward.look()
    mill.run()
    assert mill.ended("c2").tally.statuses == {"done": 1}
