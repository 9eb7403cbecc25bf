"""What each kind of error leads to, and how tries are counted."""

import pytest

from pipeline import keys
from pipeline.errors import PermanentError, ResourceError, TransientError, WorldError
from pipeline.job import ANSWERED, Failure, Result, Work
from pipeline.ledger import MemoryLedger
from pipeline.stages import Ports
from pipeline.stages.attempt import Fail, Later, attempt, decide
from tests.doubles import FakeSource, MemoryStore, a_job, accept

INFER = Work(stage="infer", job=a_job().id, window=0, index=0)


@pytest.mark.parametrize(
    ("error", "tries", "expected"),
    [
        (TransientError("away"), 1, Later(counted=False)),  # an outage never counts
        (TransientError("away"), 99, Later(counted=False)),  # however long it lasts
        (WorldError("no ffmpeg"), 1, Later(counted=False)),  # the worker's fault, not the file's
        (PermanentError("bad"), 1, Fail(Failure(error="permanent", reason="bad"))),  # no use in trying again
        (ResourceError("big"), 1, Later(counted=True)),  # smaller next time
        (ResourceError("big"), 3, Fail(Failure(error="resource", reason="big", attempts=3))),
        (ValueError("bug"), 2, Later(counted=True)),  # unknown: might pass
        (
            ValueError("bug"),
            3,
            Fail(
                Failure(error="internal", reason="reelmill failed on it: bug", detail="ValueError('bug')", attempts=3)
            ),
        ),
    ],
)
def test_what_an_error_leads_to(error: Exception, tries: int, expected: Fail | Later) -> None:
    assert decide(error, tries, max_attempts=3) == expected


@pytest.fixture
def ports() -> Ports:
    store = MemoryStore()
    accept(store, a_job())
    windows = FakeSource((1,)).prepare(a_job())
    store.create(keys.windows(a_job().id), windows.to_bytes())
    return Ports(store=store, ledger=MemoryLedger(), send=lambda work: None)


def failing(error: Exception) -> object:
    def run(tries: int) -> None:
        raise error

    return run


def stored(ports: Ports, work: Work) -> object:
    return ANSWERED.validate_json(ports.store.get(keys.outcome(work)))


def test_success_forgets_the_tries(ports: Ports) -> None:
    ports.ledger.begin([INFER])
    seen: list[int] = []
    attempt(INFER, ports, seen.append)
    assert seen == [1]
    assert ports.ledger.tries(INFER) == 0


def test_a_permanent_error_is_stored_as_the_failure_of_the_work(ports: Ports) -> None:
    attempt(INFER, ports, failing(PermanentError("not speech", "evidence")))  # type: ignore[arg-type]
    assert stored(ports, INFER) == Failure(error="permanent", reason="not speech", detail="evidence")


def test_outages_never_use_up_tries(ports: Ports) -> None:
    for _ in range(10):
        attempt(INFER, ports, failing(TransientError("S3 is away")))  # type: ignore[arg-type]
    assert ports.ledger.tries(INFER) == 0
    assert not ports.store.exists(keys.outcome(INFER))


@pytest.mark.parametrize("count", [True, False])
def test_an_unknown_error_is_tried_three_times_and_then_stored(ports: Ports, count: bool) -> None:
    for number in range(3):
        assert not ports.store.exists(keys.outcome(INFER)), number
        attempt(INFER, ports, failing(ValueError("bug")), count=count)  # type: ignore[arg-type]
    failure = stored(ports, INFER)
    assert isinstance(failure, Failure)
    assert (failure.error, failure.attempts) == ("internal", 3)


def test_work_that_killed_its_worker_three_times_is_quarantined_without_running(ports: Ports) -> None:
    for _ in range(3):
        ports.ledger.begin([INFER])
    ran: list[int] = []
    attempt(INFER, ports, ran.append)
    assert ran == []
    failure = stored(ports, INFER)
    assert isinstance(failure, Failure)
    assert failure.error == "quarantined"
    assert "3 times" in failure.reason


def test_work_that_somebody_alive_holds_is_left_alone(ports: Ports) -> None:
    assert ports.ledger.start(INFER, count=False) == 0
    ran: list[int] = []
    attempt(INFER, ports, ran.append)
    assert ran == []
    ports.ledger.release(INFER)
    attempt(INFER, ports, ran.append)
    assert ran == [0]
    attempt(INFER, ports, ran.append)
    assert ran == [0], "a second message about it is none"


def test_a_memory_error_counts_as_too_big(ports: Ports) -> None:
    for _ in range(3):
        attempt(INFER, ports, failing(MemoryError()))  # type: ignore[arg-type]
    failure = stored(ports, INFER)
    assert isinstance(failure, Failure)
    assert failure.error == "resource"


def test_a_finish_that_cannot_succeed_still_ends_the_job(ports: Ports) -> None:
    work = Work(stage="finish", job=a_job().id)
    for _ in range(3):
        attempt(work, ports, failing(ValueError("bug in a format")))  # type: ignore[arg-type]
    result = Result.from_bytes(ports.store.get(keys.result(work.job)))
    assert result.status == "failed"
    assert "bug in a format" in (result.error or "")
    assert not ports.store.exists(keys.open_job(work.job))
