"""Media that served the work of a job is removed, though somebody slow puts it there after the job has ended."""

import pytest

from pipeline import keys
from pipeline.job import Work
from pipeline.producer import Producer
from pipeline.settings import Settings
from pipeline.stages.attempt import attempt
from pipeline.stages.prepare import prepare
from pipeline.stewarding.recovery import Sweeper
from tests.doubles import a_job, accept
from tests.unit.test_collections import Mill


class DiedError(BaseException):
    """A process is gone."""


def left(mill: Mill) -> list[str]:
    return [key for key in mill.store.objects if key.endswith(".bin")]


def late_prepare(mill: Mill, job: str, *, wiped: bool = False) -> None:
    """A prepare that reads the job and then stands still until others have ended it; it dies behind its object."""
    real = mill.source.prepare

    def slow(asked: object) -> object:
        mill.source.prepare = real  # type: ignore[method-assign]
        mill.ports.ledger.release(Work(stage="prepare", job=job))  # its lease runs out
        if wiped:
            mill.restart()
        for _ in range(6):
            mill.steward.look()
            mill.work()
        assert mill.store.exists(keys.result(job))
        return real(asked)  # type: ignore[arg-type]

    create = mill.store.create

    def create_and_die(key: str, data: bytes, content_type: str = "application/json") -> bool:
        is_new = create(key, data, content_type)
        if key.endswith(".bin") and mill.store.exists(keys.result(job)):
            raise DiedError
        return is_new

    mill.source.prepare = slow  # type: ignore[method-assign, assignment]
    mill.store.create = create_and_die  # type: ignore[method-assign]
    ports, work = mill.ports, mill.queue.pop(0)
    with pytest.raises(DiedError):
        attempt(work, ports, lambda tries: prepare(work, ports, mill.source))
    mill.store.create = create  # type: ignore[method-assign]


@pytest.mark.parametrize("clips", [(1,), (3,)])
@pytest.mark.parametrize("wiped", [False, True])
def test_media_that_was_stored_behind_the_end_of_its_job_is_swept(
    clips: tuple[int, ...], wiped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mill, job, now = Mill(clips=clips), a_job().id, [0.0]
    monkeypatch.setattr("workers.steward.Sweeper", lambda ports: Sweeper(ports, clock=lambda: now[0]))
    mill.new_steward()
    accept(mill.store, a_job())
    mill.steward.look()
    late_prepare(mill, job, wiped=wiped)
    assert left(mill)
    for _ in range(3):
        now[0] += 1000.0
        mill.steward.look()
    assert left(mill) == []
    assert mill.store.exists(keys.result(job))


def test_media_of_a_job_that_is_open_again_stays() -> None:
    mill, now = Mill(), [0.0]
    accept(mill.store, a_job())
    mill.run()
    sweeper = Sweeper(mill.ports, clock=lambda: now[0])
    sweeper.doubt([a_job().id])
    sweeper.sweep(frozenset())
    mill.store.create(keys.whole(a_job().id), b"media")
    Producer(mill.ports, Settings()).retry(a_job().id, everything=True)
    mill.store.create(keys.whole(a_job().id), b"media")
    mill.store.create(keys.result(a_job().id), b"of this round, which is not closed yet")
    now[0] = 1000.0
    sweeper.sweep(frozenset())  # the listing was made before
    assert left(mill) == [keys.whole(a_job().id)]
