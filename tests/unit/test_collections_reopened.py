"""Collections that are added to, cancelled or taken back while a steward follows them, or after it has closed them."""

from pipeline import keys
from pipeline.admission import Admission, Rules
from pipeline.collecting.record import Closed, Collection, Line
from pipeline.collecting.shards import Writer, all_lines
from pipeline.job import Media
from pipeline.waiting import Head
from tests.unit.test_collections import ARCHIVE, Mill, line, submit


def add(mill: Mill, lines: list[Line], collection: Collection = ARCHIVE) -> Writer:
    writer = Writer(mill.store, collection)
    writer.skip()
    for one in lines:
        writer.add(one)
    return writer


def test_lines_are_added_to_a_collection_that_has_ended() -> None:
    mill = Mill()
    submit(mill, [line(1), line(2)])
    mill.run()
    add(mill, [line(3)]).close()
    mill.run()
    assert mill.ended().tally.statuses == {"done": 3}
    assert len(list(all_lines(mill.store, "c1"))) == 3
    assert Closed.from_bytes(mill.store.get(keys.closed_collection("c1"))).lines == 3


def test_lines_are_added_to_a_collection_that_is_followed() -> None:
    mill = Mill(places=2)
    submit(mill, [line(number) for number in range(10)])
    mill.steward.look()
    mill.work()
    writer = add(mill, [line(number) for number in range(10, 14)])
    writer.flush()
    for _ in range(8):  # as many end as there were lines at first, while not all of them have
        mill.steward.look()
        mill.work()
    assert not mill.store.exists(keys.ended_collection("c1")), "whoever adds has not said that this was all"
    writer.close()
    mill.run()
    assert mill.ended().tally.statuses == {"done": 14}
    assert len(set(mill.answerer.asked)) == len(mill.answerer.asked)


def test_lines_that_are_added_while_the_steward_closes_it_are_not_lost() -> None:
    mill = Mill()
    submit(mill, [line(1)])
    delete, added = mill.store.delete, []

    def delete_late(gone: list[str]) -> None:
        gone = list(gone)
        if keys.open_collection("c1") in gone and not added:
            added.append(True)
            add(mill, [line(2)]).close()
        delete(gone)

    mill.store.delete = delete_late  # type: ignore[method-assign, assignment]
    mill.run()
    assert added
    assert mill.ended().tally.statuses == {"done": 2}


def test_a_line_waits_for_others_only_so_long() -> None:
    mill, now = Mill(), [0.0]
    writer = Writer(mill.store, ARCHIVE, clock=lambda: now[0])
    writer.add(line(1))
    assert not list(all_lines(mill.store, "c1"))
    now[0] = 100.0
    writer.add(line(2))
    writer.add(line(3))
    assert list(all_lines(mill.store, "c1")) == [line(1), line(2)], "the third one began to wait just now"


def test_what_a_line_elsewhere_became_is_kept_once_its_shard_has_ended() -> None:
    mill = Mill()
    mill.store.objects["s3://b/1.wav"] = b"there"
    elsewhere = Line(media=Media(name="1.wav", key="s3://b/1.wav"))
    submit(mill, [line(7), elsewhere, line(7)])
    mill.run()
    first, second, third = mill.store.get(keys.jobs_of_shard("c1", 0)).decode().split("\n")
    assert first == third == line(7).job(ARCHIVE).id
    assert mill.store.exists(keys.result(second))
    submit(mill, [line(8)], ARCHIVE.model_copy(update={"id": "c2"}))
    mill.run()
    assert not mill.store.exists(keys.jobs_of_shard("c2", 0)), "its line tells that"


def test_of_a_cancelled_collection_nothing_more_is_let_in_and_what_is_open_is_ended() -> None:
    mill = Mill(places=2)
    submit(mill, [line(number) for number in range(10)])
    mill.steward.look()
    mill.store.create(keys.cancelled_collection("c1"), b"")
    mill.run()
    ended = mill.ended().tally
    assert ended.statuses.get("cancelled") == ended.lines == 2


def test_a_job_that_two_collections_hold_is_in_flight_once() -> None:
    admission = Admission(Rules.of(8))
    for source in ("c1", "c2"):
        admission.offer(Head(source=source, since=0.0, seconds=60.0))
        admission.admit(source, "j1")
    assert admission.seconds_in_flight("default") == 60.0
    admission.ended("j1")
    assert admission.seconds_in_flight("default") == 0.0
