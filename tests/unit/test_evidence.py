"""What is written down of tries that did not end: for a ledger that was wiped, and for whoever asks why."""

import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from pipeline import keys
from pipeline.errors import ResourceError, TransientError
from pipeline.job import ANSWERED, Failure, Result, Work
from pipeline.ledger import MemoryLedger
from pipeline.producer import Producer
from pipeline.settings import Settings
from pipeline.stages import Ports
from pipeline.stages.attempt import attempt
from pipeline.stages.evidence import LOG_LINES, LogTail, keep_log_tail, log_tail
from pipeline.stewarding.recovery import Sweeper, recover
from tests.doubles import FakeSource, MemoryStore, a_job, accept

JOB = a_job().id
CUT = Work(stage="cut", job=JOB, window=0)
INFER = Work(stage="infer", job=JOB, window=0, index=0)


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    accept(store, a_job())
    store.create(keys.windows(JOB), FakeSource((1,)).prepare(a_job()).to_bytes())
    return store


def ports_on(store: MemoryStore) -> Ports:
    return Ports(store=store, ledger=MemoryLedger(), send=lambda work: None)


def tries_in(store: MemoryStore) -> list[str]:
    return [key.removeprefix(keys.TRIES) for key in store.list(keys.TRIES)]


class DiedError(BaseException):
    """The process is gone."""


def dying(tries: int) -> None:
    raise DiedError


def failing(error: Exception) -> Callable[[int], None]:
    def run(tries: int) -> None:
        logging.getLogger("somewhere").warning("about to fail")
        raise error

    return run


def die(work: Work, ports: Ports) -> None:
    with pytest.raises(DiedError):
        attempt(work, ports, dying)


@pytest.fixture
def tail() -> Iterator[None]:
    keep_log_tail("%(levelname)s %(message)s")
    yield
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, LogTail)]:
        root.removeHandler(handler)


def test_a_first_try_writes_nothing(store: MemoryStore) -> None:
    attempt(CUT, ports_on(store), lambda tries: None)
    assert tries_in(store) == []


def test_a_try_after_one_without_an_end_is_recorded_before_it_starts(store: MemoryStore) -> None:
    ports = ports_on(store)
    die(CUT, ports)
    seen: list[list[str]] = []
    attempt(CUT, ports, lambda tries: seen.append(tries_in(store)))
    assert seen == [[f"{JOB}/{CUT.name}/001.json"]]


def test_a_wiped_ledger_gets_the_tries_back_so_that_poison_has_one_more_at_most(store: MemoryStore) -> None:
    before = ports_on(store)
    die(CUT, before)
    die(CUT, before)
    ports = ports_on(store)
    recover(ports)
    assert ports.ledger.tries(CUT) == 1, "all but the one under way"
    die(CUT, ports)
    die(CUT, ports)
    attempt(CUT, ports, dying)
    assert b"died or hung 3 times" in store.get(keys.outcome(CUT))


def test_what_killed_its_workers_tells_when_and_where(store: MemoryStore) -> None:
    ports = ports_on(store)
    for _ in range(3):
        die(INFER, ports)
    attempt(INFER, ports, lambda tries: None)
    failure = ANSWERED.validate_json(store.get(keys.outcome(INFER)))
    assert isinstance(failure, Failure)
    assert failure.error == "quarantined"
    lines = failure.detail.splitlines()
    assert [line.split(":")[0] for line in lines] == ["try 2", "try 3"]
    assert all(f"process {os.getpid()} (infer), and never ended" in line for line in lines)


@pytest.mark.usefixtures("tail")
def test_what_failed_three_times_tells_with_what_and_what_the_log_said(store: MemoryStore) -> None:
    ports = ports_on(store)
    for number in range(3):
        attempt(INFER, ports, failing(ResourceError(f"too big {number}", "stderr of a decoder")))
    failure = ANSWERED.validate_json(store.get(keys.outcome(INFER)))
    assert isinstance(failure, Failure)
    assert failure.reason == "too big 2"
    assert failure.detail.startswith("stderr of a decoder\n")
    assert "try 1: failed" in failure.detail
    assert "ResourceError('too big 1')" in failure.detail
    assert failure.detail.count("WARNING about to fail") >= 3


@pytest.mark.usefixtures("tail")
def test_only_the_last_lines_of_a_log_are_kept() -> None:
    for number in range(LOG_LINES + 5):
        logging.getLogger("somewhere").warning("line %d %s", number, "x" * 10_000)
    lines = log_tail().splitlines()
    assert len(lines) == LOG_LINES
    assert max(map(len, lines)) <= 500


def test_a_failed_try_is_known_to_a_wiped_ledger(store: MemoryStore) -> None:
    attempt(INFER, ports_on(store), failing(ResourceError("too big")))
    wiped = ports_on(store)
    assert recover(wiped).tries == 1
    assert wiped.ledger.tries(INFER) == 1


def test_a_failure_that_cannot_be_stored_is_no_try(store: MemoryStore) -> None:
    ports = ports_on(store)
    for _ in range(2):
        die(INFER, ports)
    real = store.create

    def away(key: str, data: bytes, content_type: str = "application/json") -> bool:
        if key == keys.outcome(INFER):
            raise TransientError("S3 is away")
        return real(key, data, content_type)

    store.create = away  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(TransientError):
            attempt(INFER, ports, failing(ResourceError("too big")))
    assert ports.ledger.tries(INFER) == 2
    store.create = real  # type: ignore[method-assign]
    attempt(INFER, ports, lambda tries: None)
    assert not store.exists(keys.outcome(INFER)), "it was tried a third time and not given up"


def test_whoever_is_redriven_has_all_its_tries_again(store: MemoryStore) -> None:
    ports = ports_on(store)
    work = Work(stage="finish", job=JOB)
    for _ in range(3):
        attempt(work, ports, failing(ValueError("bug")))
    assert tries_in(store)
    assert Result.from_bytes(store.get(keys.result(JOB))).status == "failed"
    Producer(ports, Settings()).retry(JOB)
    assert tries_in(store) == []


def test_records_of_jobs_that_have_ended_are_swept_and_others_stay(store: MemoryStore) -> None:
    ports, now = ports_on(store), [0.0]
    open_work, ended = CUT, Work(stage="cut", job=a_job(number=2).id, window=0)
    for work in (open_work, ended):
        die(work, ports)
        die(work, ports)
    sweeper = Sweeper(ports, seconds=10, clock=lambda: now[0])
    assert sweeper.sweep({JOB}) == 0, "it may be opened just now"
    assert sweeper.sweep({JOB}) == 0, "not yet"
    now[0] = 10.0
    assert sweeper.sweep({JOB}) == 1
    assert tries_in(store) == [f"{JOB}/{CUT.name}/001.json"]


def test_uploads_that_were_begun_long_ago_are_dropped_and_counted(store: MemoryStore) -> None:
    ports, now = ports_on(store), datetime.now(UTC)
    store.uploads = {
        "media/default/old": now - timedelta(days=2),
        "media/default/new": now - timedelta(hours=2),
        "elsewhere/old": now - timedelta(days=2),
    }
    assert Sweeper(ports).sweep(frozenset()) == 1
    assert store.uploads.keys() == {"media/default/new", "elsewhere/old"}
    assert ports.ledger.counts()["swept"] == 1


def test_a_job_of_one_segment_whose_result_cannot_be_written_ends_with_a_bare_one(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = ports_on(store)

    def broken(job: str, failure: Failure, ports: Ports) -> None:
        raise ValueError("bug in a format")

    monkeypatch.setattr("pipeline.stages.attempt.conclude_failed", broken)
    for _ in range(3):
        attempt(Work(stage="infer", job=JOB), ports, failing(ValueError("bug in a format")))
    assert Result.from_bytes(store.get(keys.result(JOB))).status == "failed"
    assert not store.exists(keys.open_job(JOB))
