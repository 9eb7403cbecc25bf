"""Many that wait: they are let in while the others are read, and how long they are is told as soon as it is known."""

import threading
from datetime import UTC, datetime, timedelta

from pipeline import keys
from pipeline.admission import Admission, Rules
from pipeline.job import Job, Media
from pipeline.ledger import MemoryLedger
from pipeline.stewarding import admitting
from pipeline.stewarding.lengths import Lengths, guess, measured
from tests.doubles import a_job
from tests.unit.test_collections import ARCHIVE, Mill, line, submit

GIGABYTES = 10**9


def job_of(number: int, **more: object) -> Job:
    return a_job(number=number).model_copy(update=more)


def wait(mill: Mill, *jobs: Job) -> None:
    for job in jobs:
        mill.store.create(keys.open_job(job.id), job.to_bytes())


def of_size(size: int, name: str = "a") -> Media:
    return a_job(name).media.model_copy(update={"size": size})


def test_the_first_are_let_in_while_most_of_those_that_wait_have_not_been_read() -> None:
    mill = Mill(places=8)
    wait(mill, *(job_of(number) for number in range(3000)))
    read: list[str] = []
    real = mill.store.get
    mill.store.get = lambda key: (read.append(key), real(key))[1]  # type: ignore[method-assign, func-returns-value]
    mill.steward.look()
    assert len(mill.ports.ledger.in_flight()) == 6, "two of the places are for others"
    assert len(read) <= admitting.READ_AT_ONCE + 8
    for _ in range(6):
        mill.steward.turn()
    assert len(set(read)) == 3000


def test_records_of_jobs_that_wait_are_read_by_several_threads() -> None:
    mill = Mill(places=2)
    wait(mill, *(job_of(number) for number in range(20)))
    together = threading.Barrier(4, timeout=20)
    real, seen = mill.store.get, set[int]()

    def get(key: str) -> bytes:
        if threading.get_ident() not in seen and len(seen) < 4:
            seen.add(threading.get_ident())
            together.wait()
        return real(key)

    mill.store.get = get  # type: ignore[method-assign]
    mill.steward.look()
    assert len(seen) == 4


def test_jobs_that_wait_and_are_gone_do_not_come_in() -> None:
    mill = Mill(places=1)
    wait(mill, job_of(1), job_of(2), job_of(3))
    mill.steward.look()
    mill.store.delete([keys.open_job(job_of(2).id)])
    mill.steward.look()
    mill.work()
    for _ in range(4):
        mill.steward.look()
        mill.work()
    assert mill.store.exists(keys.result(job_of(3).id))
    assert not mill.store.exists(keys.result(job_of(2).id))
    assert not list(mill.store.list(keys.OPEN))


def test_a_large_file_takes_no_place_of_the_short_ones() -> None:
    mill = Mill(places=16)
    large = [job_of(number, priority="interactive", media=of_size(10 * GIGABYTES)) for number in range(1, 15)]
    wait(mill, *large)
    mill.steward.look()
    assert len(mill.ports.ledger.in_flight()) < 14, "two places are left for short ones"
    short = job_of(99, priority="interactive", media=of_size(1000))
    wait(mill, short)
    mill.steward.look()
    assert short.id in mill.ports.ledger.in_flight()


def test_a_collection_that_is_late_goes_first_by_what_is_still_to_do_of_it() -> None:
    mill, now = Mill(places=2), datetime.now(UTC)
    early = ARCHIVE.model_copy(update={"id": "ca", "submitted_at": now - timedelta(hours=2)})
    late = ARCHIVE.model_copy(update={"id": "cb", "submitted_at": now, "deadline": now + timedelta(hours=1)})
    minute = 64_000 * 60  # bytes
    for first, collection in ((0, early), (1000, late)):
        lines = [line(first + number) for number in range(100)]
        submit(mill, [one.model_copy(update={"media": of_size_of(one.media, minute)}) for one in lines], collection)
    mill.steward.look()
    tenants = {mill_job(mill, name).collection for name in mill.ports.ledger.in_flight()}
    assert tenants == {"cb"}, "100 minutes of media are due in one hour"


class ServedLedger(MemoryLedger):
    """Somebody runs the engines that are named."""

    def __init__(self, *engines: str) -> None:
        super().__init__()
        self.engines = set(engines)

    def is_led(self, office: str) -> bool:
        return office.removeprefix("engine:") in self.engines


def test_jobs_of_an_engine_that_nobody_runs_take_no_place_until_somebody_does() -> None:
    mill, ledger = Mill(places=8), ServedLedger("old")
    object.__setattr__(mill.ports, "ledger", ledger)
    submit(mill, [line(number) for number in range(20)], ARCHIVE.model_copy(update={"engine": "old"}))
    mill.steward.look()
    old = ledger.in_flight()
    mill.queue.clear()
    assert len(old) == 6
    ledger.engines = {"new"}
    submit(mill, [line(number) for number in range(100, 110)], ARCHIVE.model_copy(update={"id": "c2", "engine": "new"}))
    wait(mill, job_of(1, engine="old"), job_of(2, engine="new"))
    for _ in range(2):
        mill.steward.look()
    new = ledger.in_flight() - old
    assert len(new) == 6
    assert {mill_job(mill, name).engine for name in new} == {"new"}
    mill.queue.clear()
    ledger.engines = {"old", "new"}
    mill.run()
    assert mill.ended("c1").tally.statuses == {"done": 20}
    assert mill.ended("c2").tally.statuses == {"done": 10}


def of_size_of(media: Media, size: int) -> Media:
    return media.model_copy(update={"size": size})


def mill_job(mill: Mill, name: str) -> Job:
    return Job.from_bytes(mill.store.get(keys.open_job(name)))


def test_how_long_a_job_is_is_told_as_soon_as_the_ledger_knows() -> None:
    ledger, admission = MemoryLedger(), Admission(Rules.of(8))
    lengths = Lengths(ledger, admission)
    admission.running("j1", "default", "normal", 30.0)
    lengths.expect("j1", 2_000_000)
    lengths.look({"j1"})
    assert admission.seconds_in_flight("default") == 30.0
    ledger.add("j1", seconds=7200.0)
    lengths.look({"j1"})
    assert admission.seconds_in_flight("default") == 7200.0


def test_the_steward_tells_how_long_a_job_is_while_it_works() -> None:
    mill = Mill(places=4)
    wait(mill, job_of(1, media=of_size(640_000)))
    mill.steward.look()
    admission = mill.steward._admitter._admission
    assert admission.seconds_in_flight("default") == 10.0, "by its size"
    mill.ports.ledger.add(job_of(1).id, seconds=7200.0)
    mill.steward.look()
    assert admission.seconds_in_flight("default") == 7200.0


def test_a_length_is_guessed_by_the_size_and_that_of_a_text_is_in_characters() -> None:
    assert guess(of_size(64_000 * 90)) == 90.0
    assert guess(of_size(0)) is None
    assert measured(90.0, 64_000 * 90) == 90.0
    assert measured(6_000.0, 6_100) == 100.0
    assert measured(6_000.0, 0) == 6_000.0
