"""Submitting, retrying and cancelling, seen through what the bucket holds afterwards."""

from pathlib import Path

import pytest

from pipeline import keys
from pipeline.cli.show import print_standings
from pipeline.errors import PermanentError, TransientError, UsageError
from pipeline.identity import Asked, new_job
from pipeline.job import Failure, Options, Work
from pipeline.ledger import MemoryLedger
from pipeline.producer import Producer, refuse_task
from pipeline.settings import Engine, Settings, Steward
from pipeline.stages import Ports
from pipeline.stages.completion import due, survey
from pipeline.stages.cut import cut
from pipeline.stages.finish import finish
from pipeline.stages.infer import infer
from pipeline.stages.prepare import prepare
from tests.doubles import FakeAnswerer, FakeSource, MemoryStore


class Shop:
    """A producer with a mill beside it that works when told to."""

    def __init__(self, tmp_path: Path) -> None:
        self.store = MemoryStore()
        self.sent: list[Work] = []
        self.ports = Ports(store=self.store, ledger=MemoryLedger(), send=self.sent.append)
        self.producer = Producer(self.ports, Settings(steward=Steward(jobs_in_flight=2)))
        self.source = FakeSource((2, 1))
        self.answerer = FakeAnswerer()
        self.path = tmp_path / "talk.wav"
        self.path.write_bytes(b"some sound")

    def submit(self, name: str = "talk.wav", **more: bool) -> str:
        return self.producer.submit(self.path, name, Options(), **more).id

    def work(self) -> None:
        while self.sent:
            work = self.sent.pop(0)
            match work.stage:
                case "prepare":
                    prepare(work, self.ports, self.source)
                case "cut":
                    cut(work, self.ports, self.source)
                case "infer":
                    infer(work, self.ports, self.answerer)
                case "finish":
                    finish(work, self.ports)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_submitted_file_becomes_a_job_that_ends(shop: Shop) -> None:
    job = shop.submit()
    assert shop.producer.standing(job).state == "waiting"
    shop.work()
    assert shop.producer.result(job).text == "word0 word1 word100"
    assert shop.producer.standing(job).state == "done"
    assert shop.producer.open_jobs() == frozenset()
    assert shop.producer.jobs() == [job]
    assert not [key for key in shop.store.objects if "/segments/" in key]


def test_submitting_again_what_is_done_does_nothing(shop: Shop) -> None:
    job = shop.submit()
    shop.work()
    before = dict(shop.store.objects)
    assert shop.submit() == job
    assert shop.sent == []
    assert shop.store.objects == before


def test_the_same_bytes_under_another_name_are_the_same_job(shop: Shop) -> None:
    job = shop.submit()
    assert shop.submit("other.wav") == job
    shop.work()
    assert len(shop.answerer.asked) == 3, "it was answered once"


def test_another_option_engine_or_tenant_is_another_job(shop: Shop) -> None:
    job = shop.producer.submit(shop.path, "talk.wav", Options())
    others = [
        shop.producer.submit(shop.path, "talk.wav", Options(language="de")),
        shop.producer.submit(shop.path, "talk.wav", Options(), asked=Asked(tenant="other")),
        new_job(job.media, job.task, job.options, "whisper:packaged:tiny.en@2", Asked()),
    ]
    assert len({one.id for one in (job, *others)}) == 4
    assert others[1].media.key != job.media.key, "tenants share no media"


def test_force_does_everything_anew(shop: Shop) -> None:
    job = shop.submit()
    shop.work()
    asked = len(shop.answerer.asked)
    shop.submit(force=True)
    shop.work()
    assert len(shop.answerer.asked) == 2 * asked
    assert shop.producer.result(job).status == "done"


def test_retry_does_only_what_failed(shop: Shop) -> None:
    job = shop.submit()
    shop.answerer.refused = {f"infer.{job}.0-1"}
    shop.work()
    assert shop.producer.result(job).status == "partial"
    assert [result.job for result in shop.producer.quarantined()] == [job]
    shop.answerer.asked.clear()
    shop.answerer.refused = set()
    shop.producer.retry(job)
    shop.work()
    assert shop.answerer.asked == [f"infer.{job}.0-1"]
    assert shop.producer.result(job).text == "word0 word1 word100"
    assert list(shop.producer.quarantined()) == []


def test_submitting_a_failed_file_again_retries_it(shop: Shop) -> None:
    job = shop.submit()
    shop.store.create(keys.windows(job), Failure(error="permanent", reason="bad").to_bytes())
    shop.work()
    assert shop.producer.standing(job).error == "bad"
    assert shop.submit() == job
    shop.work()
    assert shop.producer.standing(job).state == "done"


def test_retry_refuses_what_has_not_ended(shop: Shop) -> None:
    job = shop.submit()
    with pytest.raises(UsageError, match="not ended"):
        shop.producer.retry(job)
    with pytest.raises(UsageError, match="no job"):
        shop.producer.retry("jnone")


def test_a_cancelled_job_ends_with_what_it_has(shop: Shop) -> None:
    job = shop.submit()
    prepare(shop.sent.pop(0), shop.ports, shop.source)
    cut(shop.sent.pop(0), shop.ports, shop.source)
    first = next(work for work in shop.sent if work.stage == "infer")
    infer(first, shop.ports, shop.answerer)
    shop.producer.cancel(job)
    finish(shop.sent.pop(), shop.ports)  # it has a queue of its own, so it does not wait for the segments
    shop.work()
    assert shop.answerer.asked == [one.name for one in first.each], "what was left is not given to the engine"
    result = shop.producer.result(job)
    assert (result.status, result.text) == ("cancelled", "word0 word1")
    assert job not in shop.producer.open_jobs()
    with pytest.raises(UsageError, match="already ended"):
        shop.producer.cancel(job)


def test_jobs_beyond_the_window_wait_in_the_bucket(shop: Shop) -> None:
    jobs = [shop.producer.submit(shop.path, "a.wav", Options(language=name)).id for name in ("de", "en", "fr")]
    assert [work.job for work in shop.sent] == jobs[:2]
    assert shop.producer.open_jobs() == set(jobs)


def test_a_submit_that_died_before_the_job_was_opened_is_mended_by_the_next(shop: Shop) -> None:
    job = shop.submit()
    shop.store.delete([keys.open_job(job)])
    shop.sent.clear()
    shop.submit()
    assert due(survey(shop.store, job), 4) == (Work(stage="prepare", job=job),)
    assert job in shop.producer.open_jobs()


def test_a_job_is_accepted_while_redis_is_away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*arguments: object) -> None:
        raise TransientError("Redis cannot be reached")

    for name in ("admit", "figures", "is_led"):
        monkeypatch.setattr(shop.ports.ledger, name, away)
    job = shop.submit()
    assert job in shop.producer.open_jobs()
    standing = shop.producer.standing(job)
    assert (standing.state, standing.lacks_engine) == ("waiting", None)
    assert due(survey(shop.store, job), 4) == (Work(stage="prepare", job=job),), "the steward sends it from the bucket"


def test_a_job_says_when_nobody_runs_its_engine(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: set[str] = set()
    monkeypatch.setattr(shop.ports.ledger, "is_led", lambda office: office in runs)
    job = shop.submit()
    engine = shop.producer.job(job).engine
    standing = shop.producer.standing(job)
    assert standing.lacks_engine == engine
    monkeypatch.setenv("COLUMNS", "200")
    print_standings([standing], json=False)
    assert f"no infer worker runs {engine}" in capsys.readouterr().out
    runs.add(f"engine:{engine}")
    assert shop.producer.standing(job).lacks_engine is None
    runs.clear()
    shop.work()
    assert shop.producer.standing(job).lacks_engine is None, "it has ended"


def test_a_file_that_cannot_be_read_is_told_in_plain_words(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="cannot be read: Is a directory"):
        shop.producer.submit(tmp_path, "folder", Options())


def test_a_file_that_changes_while_it_is_read_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shop.store.upload

    def upload_and_change(key: str, source: Path) -> bool:
        is_new = real(key, source)
        source.write_bytes(b"something longer")
        return is_new

    monkeypatch.setattr(shop.store, "upload", upload_and_change)
    with pytest.raises(PermanentError, match="changed"):
        shop.submit()
    assert shop.store.objects == {}


def test_a_task_or_a_size_that_the_engine_does_not_have_is_refused_before_anything_is_stored() -> None:
    with pytest.raises(UsageError, match="whisper cannot caption, only transcribe"):
        refuse_task("caption", Options(), Engine(name="whisper"))
    with pytest.raises(UsageError, match="one size"):
        refuse_task("transcribe", Options(variant="e2b"), Engine(name="whisper"))
    refuse_task("caption", Options(variant="e2b"), Engine(name="gemma3n"))
