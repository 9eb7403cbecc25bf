"""How collections are told and mended: the steward and the stages of `test_collections`, and what an operator does."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline import keys
from pipeline.cli.show_collections import document
from pipeline.collecting.record import Ended, Line, Progress, Tally
from pipeline.collecting.shards import Writer
from pipeline.errors import PermanentError, TransientError, UsageError
from pipeline.job import Job, Media, Windows
from pipeline.operating import mending
from pipeline.operating.outcomes import outcomes
from pipeline.operating.redo import matching, redo
from pipeline.operating.report import report
from pipeline.operating.single import single_jobs
from pipeline.operating.standing import Standing, find, standing
from pipeline.operating.where import parse
from pipeline.producer import Producer
from pipeline.settings import Settings
from pipeline.stewarding.progress import note_name
from pipeline.submitting.naming import named_id
from tests.doubles import FakeSource
from tests.unit.test_collections import ARCHIVE, Mill, line, submit


def producer_of(mill: Mill) -> Producer:
    return Producer(mill.ports, Settings())


class Sick(FakeSource):
    """Media of which some cannot be read, for the time being."""

    def __init__(self) -> None:
        super().__init__((1,))
        self.reasons: dict[str, str] = {}

    def prepare(self, job: Job) -> Windows:
        if job.id in self.reasons:
            raise PermanentError(self.reasons[job.id])
        return super().prepare(job)


class SickMill(Mill):
    def __init__(self, places: int = 8) -> None:
        super().__init__(places)
        self.source: Sick = Sick()

    def fail(self, one: Line, reason: str = "bad") -> str:
        job = one.job(ARCHIVE).id
        self.source.reasons[job] = reason
        return job

    def heal(self) -> None:
        self.source.reasons.clear()


def states(mill: Mill, collection: str = "c1") -> list[str]:
    return [outcome.state for outcome in outcomes(mill.store, collection)]


def test_it_stands_as_it_is_while_it_is_submitted_while_it_runs_and_when_it_has_ended() -> None:
    mill = Mill(places=2)
    writer = Writer(mill.store, ARCHIVE)
    for number in range(5):
        writer.add(line(number))
    writer.flush()
    assert (standing(mill.ports, "c1").state, standing(mill.ports, "c1").lines) == ("submitting", None)
    mill.steward.look()
    assert states(mill) == ["running", "running", "waiting", "waiting", "waiting"]
    mill.work()
    writer.close(refused=2)
    mill.steward.look()
    seen = standing(mill.ports, "c1")
    assert (seen.state, seen.lines, seen.refused, seen.tally.lines) == ("running", 5, 2, 2)
    assert seen.in_flight == 2
    mill.run()
    seen = standing(mill.ports, "c1")
    assert (seen.state, seen.tally.statuses, seen.in_flight) == ("done", {"done": 5}, 0)
    assert states(mill) == ["done"] * 5


def test_without_redis_it_is_told_by_the_shards_that_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    mill = Mill()
    submit(mill, [line(1)])
    mill.store.create(keys.ended_shard("c1", 0), Tally.of("done", 2.5).to_bytes())

    def away(name: str) -> str | None:
        raise TransientError("Redis cannot be reached")

    monkeypatch.setattr(mill.ports.ledger, "noted", away)
    assert standing(mill.ports, "c1").tally == Tally.of("done", 2.5)


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        ({"done": 2}, "done"),
        ({"done": 1, "failed": 1}, "partial"),
        ({"partial": 1, "failed": 1}, "partial"),
        ({"failed": 2}, "failed"),
    ],
)
def test_an_ended_collection_is_called_by_how_its_lines_ended(statuses: dict[str, int], state: str) -> None:
    mill = Mill()
    submit(mill, [line(1), line(2)])
    tally = Tally(lines=2, statuses=statuses)  # type: ignore[arg-type]
    mill.store.create(keys.ended_collection("c1"), Ended(tally=tally, ended_at=datetime.now(UTC)).to_bytes())
    assert standing(mill.ports, "c1").state == state


def test_a_collection_is_found_by_its_id_or_its_name() -> None:
    mill = Mill()
    name = named_id("films", "default")
    other = ARCHIVE.model_copy(update={"id": named_id("films", "other"), "name": "films", "tenant": "other"})
    assert find(mill.store, "films") is None
    submit(mill, [line(1)], other)
    assert find(mill.store, "films") == other.id, "by the name, whosever it is"
    submit(mill, [line(1)], ARCHIVE.model_copy(update={"id": name, "name": "films"}))
    assert find(mill.store, "films") == name, "its own tenant's first"
    assert find(mill.store, other.id) == other.id
    with pytest.raises(UsageError, match="several collections are named films"):
        find(mill.store, "films", tenant="third")


def test_what_failed_is_tried_again_and_counted_anew() -> None:
    mill = SickMill()
    lines = [line(1), line(2), line(3), line(2).model_copy(update={"custom_id": "twice", "is_new": False})]
    failed = mill.fail(lines[1])
    submit(mill, lines)
    mill.run()
    assert mill.ended().tally.statuses == {"done": 2, "failed": 2}
    assert states(mill) == ["done", "failed", "done", "failed"]
    mill.heal()
    assert list(mending.retry(mill.store, producer_of(mill), "c1")) == [failed], "once, though two lines hold it"
    assert standing(mill.ports, "c1").state == "running"
    mill.run()
    assert mill.ended().tally.statuses == {"done": 4}
    assert len(mill.answerer.asked) == 3, "what was done is not done again"
    assert list(mending.retry(mill.store, producer_of(mill), "c1")) == []


def test_what_failed_is_tried_again_while_the_rest_is_under_way() -> None:
    mill = SickMill(places=2)
    lines = [line(number) for number in range(12)]
    mill.fail(lines[0])
    submit(mill, lines)
    mill.steward.look()
    mill.work()
    mill.steward.look()
    mill.heal()
    assert list(mending.retry(mill.store, producer_of(mill), "c1")) == [lines[0].job(ARCHIVE).id]
    mill.run()
    assert mill.ended().tally.statuses == {"done": 12}


def test_a_cancelled_collection_is_taken_back_by_retrying_it() -> None:
    mill = Mill(places=2)
    submit(mill, [line(number) for number in range(6)])
    mill.steward.look()
    assert mending.cancel(mill.store, producer_of(mill), "c1") == 2
    mill.run()
    assert standing(mill.ports, "c1").state == "cancelled"
    assert states(mill) == ["cancelled", "cancelled", *["waiting"] * 4]
    with pytest.raises(UsageError, match="already ended"):
        mending.cancel(mill.store, producer_of(mill), "c1")
    writer = Writer(mill.store, ARCHIVE)
    writer.skip()
    writer.add(line(6))
    with pytest.raises(UsageError, match="was cancelled"):
        writer.close()
    assert len(list(mending.retry(mill.store, producer_of(mill), "c1"))) == 2
    mill.run()
    assert mill.ended().tally.statuses == {"done": 6}


def test_a_collection_that_is_being_submitted_is_not_tried_again() -> None:
    mill = Mill()
    writer = Writer(mill.store, ARCHIVE)
    writer.add(line(1))
    writer.flush()
    with pytest.raises(UsageError, match="still being submitted"):
        list(mending.retry(mill.store, producer_of(mill), "c1"))
    with pytest.raises(UsageError, match="no collection"):
        list(mending.retry(mill.store, producer_of(mill), "c9"))


def test_a_line_elsewhere_is_told_by_the_job_that_it_became_though_the_object_has_changed() -> None:
    mill = Mill()
    mill.store.objects["s3://b/1.wav"] = b"there"
    submit(mill, [Line(media=Media(name="1.wav", key="s3://b/1.wav"))])
    (before,) = outcomes(mill.store, "c1")
    assert before.state == "waiting"
    mill.run()
    mill.store.objects["s3://b/1.wav"] = b"something else"
    (after,) = outcomes(mill.store, "c1")
    assert (after.job, after.state) == (before.job, "done")


def test_a_line_elsewhere_whose_object_has_changed_becomes_another_job_when_it_is_tried_again() -> None:
    mill = SickMill()
    mill.store.objects["s3://b/1.wav"] = b"bad"
    elsewhere = Line(media=Media(name="1.wav", key="s3://b/1.wav"))
    submit(mill, [elsewhere, line(2)])
    (before, _) = outcomes(mill.store, "c1")
    mill.source.reasons[before.job] = "bad"
    mill.run()
    assert states(mill) == ["failed", "done"]
    mill.store.objects["s3://b/1.wav"] = b"good now"
    assert list(mending.retry(mill.store, producer_of(mill), "c1")) == [], "the line is not that job any more"
    mill.run()
    assert mill.ended().tally.statuses == {"done": 2}
    after, other = outcomes(mill.store, "c1")
    assert (after.state, other.state) == ("done", "done")
    assert after.job != before.job
    assert mill.store.exists(keys.result(before.job)), "what is told of the old bytes stays true of them"


def test_a_report_tells_what_was_promised_and_why_lines_failed() -> None:
    mill = SickMill()
    lines = [line(number) for number in range(6)]
    for one, reason in ((lines[0], "12 is too long"), (lines[1], "13 is too long"), (lines[2], "bad")):
        mill.fail(one, reason)
    submit(mill, lines)
    mill.run()
    mill.store.delete([keys.ended_collection("c1"), keys.promise("c1")])
    start = ARCHIVE.submitted_at
    promise = Progress(tally=Tally(), lines=6, in_flight=0, low=50, likely=100, high=150, at=start)
    mill.store.create(keys.promise("c1"), promise.to_bytes())
    tally = Tally(lines=6, statuses={"done": 3, "failed": 3}, seconds=240.0)
    ended = Ended(tally=tally, ended_at=start + timedelta(seconds=120))
    mill.store.create(keys.ended_collection("c1"), ended.to_bytes())
    found = report(mill.ports, "c1")
    assert found.miss is not None
    assert (found.miss.actual, found.miss.later, found.miss.within) == (120.0, 20.0, True)
    assert (found.pace, found.lines_per_hour) == (2.0, 180.0)
    assert [(reason, group.lines) for reason, group in found.worst] == [("N is too long", 2), ("bad", 1)]
    assert found.worst[0][1].examples[0]["reason"] == "12 is too long"


def test_a_report_of_what_goes_on_promises_and_does_not_judge() -> None:
    mill = Mill(places=1)
    submit(mill, [line(1), line(2)])
    found = report(mill.ports, "c1")
    assert (found.promise, found.miss, found.pace, found.failing) == (None, None, None, {})


def test_a_report_of_what_was_opened_again_judges_by_the_last_promise() -> None:
    mill = SickMill()
    lines = [line(1), line(2)]
    mill.fail(lines[0])
    submit(mill, lines)
    mill.run()
    start = ARCHIVE.submitted_at
    first = Progress(tally=Tally(), lines=2, in_flight=0, low=50, likely=100, high=150, at=start)
    mill.store.delete([keys.promise("c1")])
    mill.store.create(keys.promise("c1"), first.to_bytes())
    assert report(mill.ports, "c1").pace is not None
    mill.heal()
    assert len(list(mending.retry(mill.store, producer_of(mill), "c1"))) == 1
    mill.run()
    found = report(mill.ports, "c1")
    assert found.standing.state == "done"
    assert (found.pace, found.lines_per_hour, found.seconds) == (None, None, None)
    assert found.promised_at is None or found.promised_at > start
    assert found.miss is None or found.miss.actual < 3600


def test_what_is_added_to_a_collection_makes_its_promise_void() -> None:
    mill = Mill()
    submit(mill, [line(1)])
    mill.run()
    mill.store.create(keys.promise("c1"), b"")
    writer = Writer(mill.store, ARCHIVE)
    writer.skip()
    writer.add(line(2))
    writer.close()
    assert not mill.store.exists(keys.promise("c1"))
    mill.run()
    assert report(mill.ports, "c1").seconds is None


def test_a_report_of_what_goes_on_reads_no_results_of_shards_that_wait() -> None:
    mill = SickMill(places=2)
    lines = [line(number) for number in range(4)]
    mill.fail(lines[0])
    submit(mill, lines)
    mill.store.create(keys.shard("c1", 1), line(9).to_line())
    mill.steward.look()
    mill.work()
    read: list[str] = []
    get = mill.store.get

    def noted(key: str) -> bytes:
        read.append(key)
        return get(key)

    mill.store.get = noted  # type: ignore[method-assign]
    assert sum(one.lines for one in report(mill.ports, "c1").failing.values()) == 1
    assert keys.shard("c1", 0) in read
    assert keys.shard("c1", 1) not in read


def test_what_a_steward_promised_that_is_silent_since_is_not_told_as_if_it_held() -> None:
    mill = Mill()
    submit(mill, [line(1), line(2)])

    def told(at: datetime) -> Standing:
        progress = Progress(tally=Tally(), lines=2, in_flight=1, low=1, likely=2, high=3, at=at)
        mill.ports.ledger.note(note_name("c1"), progress.model_dump_json())
        return standing(mill.ports, "c1")

    now = datetime.now(UTC)
    assert told(now).between is not None
    silent = told(now - timedelta(minutes=30))
    assert silent.between is None
    assert document(silent)["still"] is None
    assert silent.in_flight == 1


def test_results_are_done_again_in_place_or_by_the_present_engine() -> None:
    mill = Mill()
    submit(mill, [line(1), line(2)])
    mill.run()
    producer = producer_of(mill)
    jobs = [line(number).job(ARCHIVE).id for number in (1, 2)]
    found = list(matching(mill.store, parse("engine=fake and status=done"), iter([*jobs, "jgone"])))
    assert [result.job for result in found] == jobs
    assert list(matching(mill.store, parse("status=failed"), iter(jobs))) == []
    assert redo(producer, found[0], "fake:fake", move=False, dry=False).how == "gone", "nothing is given up for nothing"
    assert producer.result(jobs[0]) == found[0]
    for result in found:
        mill.store.create(result.asked.media.key, b"its media")
    before = dict(mill.store.objects)
    assert redo(producer, found[0], "fake:fake", move=False, dry=True).how == "same"
    assert redo(producer, found[0], "new:new", move=False, dry=False).how == "other"
    assert redo(producer, found[0], "new:new", move=True, dry=True).job is None
    assert mill.store.objects == before
    assert redo(producer, found[0], "fake:fake", move=True, dry=False).job == jobs[0]
    moved = redo(producer, found[1], "new:new", move=True, dry=False)
    assert moved.how == "moved"
    assert moved.job not in (None, jobs[1])
    mill.run()
    assert len(mill.answerer.asked) == 4
    for dry in (True, False):
        known = redo(producer, found[1], "new:new", move=True, dry=dry)
        assert (known.how, known.job) == ("known", None), "the present engine has done it"


def test_single_jobs_are_told_apart_from_those_of_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    mill = Mill()
    submit(mill, [line(1)])
    mill.run()
    single, ended = line(7).job(ARCHIVE), line(8).job(ARCHIVE)
    for job in (single, ended):
        mill.store.create(keys.open_job(job.id), job.model_copy(update={"collection": None}).to_bytes())
    mill.run()
    mill.store.create(keys.open_job("jx"), single.model_copy(update={"id": "jx", "collection": None}).to_bytes())
    seen = [standing(mill.ports, "c1")]
    assert single_jobs(mill.ports, producer_of(mill), seen) == sorted([single.id, ended.id, "jx"])
    monkeypatch.setattr("pipeline.operating.single.MOST_LINES", 0)
    assert single_jobs(mill.ports, producer_of(mill), seen) == ["jx"]


def test_it_is_told_that_nobody_runs_the_engine_of_a_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    mill = Mill()
    submit(mill, [line(1)])
    assert standing(mill.ports, "c1").is_served
    monkeypatch.setattr(mill.ports.ledger, "is_led", lambda office: office != f"engine:{ARCHIVE.engine}")
    assert not standing(mill.ports, "c1").is_served
    mill.run()
    assert standing(mill.ports, "c1").is_served, "it has ended: nobody needs to"
