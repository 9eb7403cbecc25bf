"""A segment that kills its worker before the engine has it: real processes that die, their ledger in a real Valkey."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from pipeline import keys
from pipeline.engines import Capabilities, Clip, Outcome, Request, StaticEngine
from pipeline.engines.echo import echo
from pipeline.job import (
    ANSWERED,
    Answer,
    Failure,
    Job,
    Origin,
    ParcelAnswers,
    Result,
    Window,
    Windows,
    Work,
    work_named,
)
from pipeline.media.sound.speech import Activity
from pipeline.payload import Piece
from pipeline.redis_ledger import RedisLedger
from pipeline.serving import Serving
from pipeline.settings import Engine, Redis, Settings, Steward
from pipeline.stages import Ports
from pipeline.stages.attempt import attempt
from pipeline.stages.finish import finish
from pipeline.stages.infer import infer
from pipeline.stages.prepare import prepare
from pipeline.stages.reconcile import lost, open_jobs
from pipeline.store import DirectoryStore
from tests.doubles import FakeCut, FakeSource, a_job
from workers.infer import Answerers

Place = Literal["gate", "features"]
POISON = 2  #: what the samples of a clip are that kills
SICK, SICK_ALONE = a_job(number=2), a_job(number=3)
JOBS = {a_job(number=1).id: (0, 1, 3), SICK.id: (1, POISON, 3, 4), SICK_ALONE.id: (POISON,), a_job(number=4).id: (5,)}
LEASE_SECONDS = 0.6


class Clips(FakeCut):
    """Clips whose samples are these numbers."""

    def __init__(self, window: Window, values: Sequence[int]) -> None:
        super().__init__(window, len(values))
        self._values = values

    def __iter__(self) -> Iterator[Piece]:
        for piece, value in zip(super().__iter__(), self._values, strict=True):
            pcm = value.to_bytes(2, "little") * 16_000
            yield replace(piece, payload=replace(piece.payload, pcm=pcm))


class Sound(FakeSource):
    """One window of such clips."""

    def __init__(self, values: Sequence[int]) -> None:
        super().__init__((len(values),))
        self._values = values

    @contextmanager
    def cut(self, job: Job, windows: Windows, window: Window) -> Iterator[Clips]:
        yield Clips(window, self._values)


def is_poison(clip: Clip) -> bool:
    return round(float(clip[0]) * 32_768) == POISON


class Frail(StaticEngine):
    """Its batch is never full, so that what is prepared waits while others are."""

    def __init__(self, place: Place) -> None:
        super().__init__(Engine(name="echo", batch_wait=1))
        self._place = place

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(kinds=frozenset({"sound"}), max_batch=100, max_cost=100)

    def load(self) -> Origin:
        return Origin(engine="frail", model="f", revision="1", versions={})

    def prepare(self, request: Request) -> Request:
        if self._place == "features" and is_poison(request.clips[0]):
            os._exit(9)
        return request

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        return [echo(request) for request in batch]


def ports_of(settings: Settings, folder: Path) -> Ports:
    return Ports(store=DirectoryStore(folder), ledger=RedisLedger(settings), send=lambda work: None)


def work_in_a_process(settings: Settings, folder: Path, names: Sequence[str], place: Place) -> None:
    """What an infer worker does with these messages, all at once."""
    ports = ports_of(settings, folder)

    def heard(clip: Clip) -> Activity:
        if place == "gate" and is_poison(clip):
            time.sleep(0.1)  # the others wait for the engine meanwhile, or for their turn
            os._exit(9)
        return Activity(spans=((0.0, 1.0),), flags=())

    serving = Serving(Frail(place), before=lambda batch: ports.ledger.begin([work_named(one.id) for one in batch]))
    serving.start()
    answerers = Answerers(serving, heard, SICK.engine, ports.ledger)

    def deliver(name: str) -> None:
        work = work_named(name)
        attempt(work, ports, lambda tries: infer(work, ports, answerers.of(tries), tries), count=False)

    with ThreadPoolExecutor(len(names)) as pool:
        for done in wait([pool.submit(deliver, name) for name in names]).done:
            done.result()
    os._exit(0)


@pytest.mark.parametrize("place", ["gate", "features"])
def test_a_segment_that_kills_before_the_engine_is_quarantined_and_its_neighbours_are_not_blamed(
    place: Place, redis_settings: Redis, tmp_path: Path
) -> None:
    settings = Settings(redis=redis_settings, steward=Steward(lease_seconds=LEASE_SECONDS))
    ports = ports_of(settings, tmp_path)
    for job, values in JOBS.items():
        ports.store.create(keys.open_job(job), a_job(number=int(job[1:])).to_bytes())
        prepare(Work(stage="prepare", job=job), ports, Sound(values))
    deaths = 0
    processes = multiprocessing.get_context("spawn")
    while jobs := open_jobs(ports):
        works = [work for job in jobs for work in lost(job, ports)]
        for work in [work for work in works if work.stage == "finish"]:
            finish(work, ports)
        names = [work.name for work in works if work.stage == "infer"]
        if names:
            process = processes.Process(target=work_in_a_process, args=(settings, tmp_path, names, place))
            process.start()
            process.join(60)
            assert process.exitcode in (0, 9)
            deaths += process.exitcode == 9
        assert deaths <= 6, "each of the two kills three times at most"
        time.sleep(1.5 * LEASE_SECONDS)  # what the dead process held is free
    results = {job: Result.from_bytes(ports.store.get(keys.result(job))) for job in JOBS}
    assert [result.status for result in results.values()] == ["done", "partial", "failed", "done"]
    (failure,) = results[SICK_ALONE.id].failures
    assert (failure.error, failure.attempts) == ("quarantined", 3)
    assert [failure.error for failure in results[SICK.id].failures] == ["quarantined"]
    assert attempts_of(ports) == {1}


def attempts_of(ports: Ports) -> set[int]:
    """At which tries the answers of segments were given."""
    found: list[Answer] = []
    for job in JOBS:
        for key in ports.store.list(keys.answers_of(job)):
            data = ports.store.get(key)
            if len(keys.numbers(key)) > 2:
                found += [answer for answer in ParcelAnswers.from_bytes(data).answers if answer is not None]
            else:
                one = ANSWERED.validate_json(data)
                found += [] if isinstance(one, Failure) else [one]
    return {answer.attempts for answer in found}
