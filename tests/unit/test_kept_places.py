"""Places that are kept stay free of what producers let in, who do not know who else waits."""

from pipeline.job import Job, Priority
from pipeline.ledger import MemoryLedger
from pipeline.producer import Producer
from pipeline.settings import Settings, Steward
from pipeline.stages import Ports
from tests.doubles import MemoryStore, a_job
from tests.unit.test_collections import Mill

PLACES = 16  #: of which two are kept for short interactive jobs and two for newcomers


def jobs(first: int, number: int, tenant: str, priority: Priority) -> list[Job]:
    return [
        a_job(number=first + one).model_copy(update={"tenant": tenant, "priority": priority}) for one in range(number)
    ]


def let_in(ports: Ports, submitted: list[Job]) -> list[bool]:
    producer = Producer(ports, Settings(steward=Steward(jobs_in_flight=PLACES)))
    for job in submitted:
        producer.accept(job)
    return [job.id in ports.ledger.in_flight() for job in submitted]


def test_single_jobs_of_one_tenant_leave_the_places_that_are_kept() -> None:
    ports = Ports(store=MemoryStore(), ledger=MemoryLedger(), send=lambda work: None)
    assert sum(let_in(ports, jobs(0, 40, "archive", "bulk"))) == 12
    assert let_in(ports, jobs(100, 3, "archive", "interactive")) == [True, True, False]
    assert let_in(ports, jobs(200, 1, "caller", "normal")) == [False]


def test_the_steward_gives_kept_places_to_those_they_are_kept_for() -> None:
    mill = Mill(places=PLACES)
    let_in(mill.ports, jobs(0, 40, "archive", "bulk"))
    newcomer = jobs(200, 1, "caller", "normal")[0]
    assert let_in(mill.ports, [newcomer]) == [False]
    mill.steward.look()
    assert newcomer.id in mill.ports.ledger.in_flight()
    assert len(mill.ports.ledger.in_flight()) == 13


def test_where_nothing_is_kept_every_place_may_be_filled() -> None:
    ports = Ports(store=MemoryStore(), ledger=MemoryLedger(), send=lambda work: None)
    producer = Producer(ports, Settings(steward=Steward(jobs_in_flight=2)))
    for job in jobs(0, 3, "archive", "bulk"):
        producer.accept(job)
    assert len(ports.ledger.in_flight()) == 2
