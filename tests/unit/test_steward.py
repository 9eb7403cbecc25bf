"""What the steward sends, look by look."""

import pytest

from pipeline import keys
from pipeline.errors import TransientError
from pipeline.job import Work
from pipeline.ledger import MemoryLedger
from pipeline.stages import Ports
from tests.doubles import MemoryStore, a_job, accept
from workers.steward import Steward


class FakeQueues:
    """A queue that holds what it was given."""

    def __init__(self) -> None:
        self.works: list[Work] = []

    def waiting(self) -> frozenset[str]:
        return frozenset(work.name for work in self.works)


class Office:
    def __init__(self, num_jobs: int, jobs_in_flight: int = 10) -> None:
        self.store = MemoryStore()
        self.jobs = [a_job(number=number) for number in range(num_jobs)]
        for job in self.jobs:
            accept(self.store, job)
        self.queues = FakeQueues()
        self.ports = Ports(store=self.store, ledger=MemoryLedger(), send=self.queues.works.append)
        self.steward = Steward(self.ports, self.queues, jobs_in_flight)  # type: ignore[arg-type]


def test_work_is_sent_when_two_looks_find_its_job_at_rest() -> None:
    office = Office(1)
    assert [office.steward.look() for _ in range(3)] == [0, 1, 0], "then it is on the queue"
    assert office.queues.works == [Work(stage="prepare", job=office.jobs[0].id)]


def test_a_job_somebody_works_on_is_left_alone() -> None:
    office = Office(1)
    office.ports.ledger.start(Work(stage="prepare", job=office.jobs[0].id), count=True)
    assert [office.steward.look() for _ in range(3)] == [0, 0, 0]


def test_jobs_beyond_the_window_wait_for_room() -> None:
    office = Office(3, jobs_in_flight=2)
    office.steward.look()
    assert office.steward.look() == 2
    office.ports.ledger.close_job(office.jobs[0].id)
    office.store.delete([keys.open_job(office.jobs[0].id)])
    office.queues.works.clear()
    office.steward.look()
    office.steward.look()
    assert Work(stage="prepare", job=office.jobs[2].id) in office.queues.works


def test_one_job_that_cannot_be_read_does_not_stop_the_others() -> None:
    office = Office(3)
    office.store.create(keys.windows(office.jobs[1].id), b"not JSON")
    office.steward.look()
    assert office.steward.look() == 2
    assert {work.job for work in office.queues.works} == {office.jobs[0].id, office.jobs[2].id}


def test_a_job_that_died_between_its_result_and_clearing_up_is_finished() -> None:
    office = Office(1)
    office.store.create(keys.result(office.jobs[0].id), b"{}")
    office.steward.look()
    office.steward.look()
    assert office.queues.works == [Work(stage="finish", job=office.jobs[0].id)]


def test_an_outage_ends_the_look_and_the_next_look_goes_on() -> None:
    office = Office(1)
    real = office.store.list

    def away(prefix: str) -> None:
        raise TransientError("S3 is away")

    office.store.list = away  # type: ignore[method-assign, assignment]
    with pytest.raises(TransientError):
        office.steward.look()
    office.store.list = real  # type: ignore[method-assign]
    office.steward.look()
    assert office.steward.look() == 1
