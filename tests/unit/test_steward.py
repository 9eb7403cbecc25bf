"""What the steward sends, look by look."""

import pytest

from pipeline import keys
from pipeline.errors import TransientError
from pipeline.job import Work
from pipeline.ledger import MemoryLedger
from pipeline.settings import Settings
from pipeline.settings import Steward as StewardSettings
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
    def __init__(self, num_jobs: int, jobs_in_flight: int = 10, lease_seconds: float = 0.001) -> None:
        self.store = MemoryStore()
        self.jobs = [a_job(number=number) for number in range(num_jobs)]
        for job in self.jobs:
            accept(self.store, job)
        self.queues = FakeQueues()
        self.ports = Ports(store=self.store, ledger=MemoryLedger(), send=self.queues.works.append)
        settings = Settings(steward=StewardSettings(jobs_in_flight=jobs_in_flight, lease_seconds=lease_seconds))
        self.steward = Steward(self.ports, self.queues, settings)  # type: ignore[arg-type]

    def look(self) -> int:
        return self.steward.look()


def test_a_job_that_waits_is_let_in_and_what_is_lost_of_it_is_sent_again_when_two_looks_find_it_at_rest() -> None:
    office = Office(1)
    prepare = Work(stage="prepare", job=office.jobs[0].id)
    assert [office.look() for _ in range(3)] == [0, 0, 0]
    assert office.queues.works == [prepare]
    office.queues.works.clear()  # the message is lost
    assert [office.look() for _ in range(3)] == [0, 1, 0], "then it is on the queue"
    assert office.queues.works == [prepare]
    assert office.ports.ledger.counts()["sent_again"] == 1


def test_a_job_somebody_works_on_is_left_alone() -> None:
    office = Office(1)
    office.look()
    office.ports.ledger.start(office.queues.works.pop(), count=True)
    assert [office.look() for _ in range(3)] == [0, 0, 0]


def test_jobs_beyond_the_window_wait_for_room() -> None:
    office = Office(3, jobs_in_flight=2)
    office.look()
    assert [work.job for work in office.queues.works] == [job.id for job in office.jobs[:2]]
    office.ports.ledger.close_job(office.jobs[0].id)
    office.store.delete([keys.open_job(office.jobs[0].id)])
    office.look()
    assert office.queues.works[2:] == [Work(stage="prepare", job=office.jobs[2].id)]


def test_a_job_that_was_closed_by_somebody_who_died_makes_room() -> None:
    office = Office(2, jobs_in_flight=1)
    office.look()
    first = office.queues.works.pop().job
    office.store.delete([keys.open_job(first)])  # and the ledger was not told
    assert [office.look(), office.look()] == [0, 0]
    office.look()
    assert {work.job for work in office.queues.works} == {job.id for job in office.jobs} - {first}


def test_one_job_that_cannot_be_read_does_not_stop_the_others() -> None:
    office = Office(3)
    office.look()
    office.store.create(keys.windows(office.jobs[1].id), b"not JSON")
    office.queues.works.clear()
    office.look()
    assert office.look() == 2
    assert {work.job for work in office.queues.works} == {office.jobs[0].id, office.jobs[2].id}


def test_a_job_that_died_between_its_result_and_clearing_up_is_finished() -> None:
    office = Office(1)
    office.look()
    office.queues.works.clear()
    office.store.create(keys.result(office.jobs[0].id), b"{}")
    office.look()
    office.look()
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
    office.look()
    assert len(office.queues.works) == 1


def test_a_ledger_that_was_emptied_is_given_time_and_one_that_is_new_is_not() -> None:
    office = Office(1, lease_seconds=60)
    office.look()
    assert len(office.queues.works) == 1, "nobody worked here before"
    wiped = Office(1, lease_seconds=60)
    wiped.store.create(keys.STARTED, b"")
    assert [wiped.look() for _ in range(3)] == [0, 0, 0]
    assert wiped.queues.works == [], "whoever works on it may say so first"
    assert wiped.ports.ledger.counts()["recoveries"] == 1
