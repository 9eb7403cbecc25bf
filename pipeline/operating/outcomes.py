"""What became of each line of a collection, in order."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pipeline import keys
from pipeline.collecting.record import Collection, Line
from pipeline.collecting.shards import lines_of, read_collection
from pipeline.errors import MissingObjectError, WorldError
from pipeline.job import Result, Status
from pipeline.objects import ObjectStore, split_address
from pipeline.planning.look import in_order

THREADS = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one line."""

    line: Line
    job: str
    state: Status | Literal["running", "waiting"]
    result: Result | None = None


def outcomes(
    store: ObjectStore, collection: str, wanted: Callable[[int], bool] = lambda number: True
) -> Iterator[Outcome]:
    """Memory is that of one shard. `wanted`: which shards, by their numbers. Raises UsageError: no such collection."""
    found = read_collection(store, collection)
    is_open = frozenset(keys.job_opened(key) for key in store.list(keys.OPEN))
    number = 0
    while store.exists(keys.shard(collection, number)):
        if wanted(number):
            yield from in_order(
                _with_jobs(store, found, number), partial(_outcome, store=store, found=found, is_open=is_open), THREADS
            )
        number += 1


def jobs_of(store: ObjectStore, collection: str) -> Iterator[str]:
    """The jobs that its lines became, or will become."""
    return (outcome.job for outcome in outcomes(store, collection))


def _with_jobs(store: ObjectStore, found: Collection, number: int) -> Iterator[tuple[Line, str | None]]:
    lines = list(lines_of(store, found.id, number))
    jobs: list[str | None]
    if all(line.media.sha256 for line in lines):
        jobs = [line.job(found).id for line in lines]
    else:
        try:
            jobs = [*store.get(keys.jobs_of_shard(found.id, number)).decode().split("\n")]
        except MissingObjectError:  # it has not ended yet
            jobs = [None] * len(lines)
    return iter(list(zip(lines, jobs, strict=True)))


def _outcome(
    item: tuple[Line, str | None], *, store: ObjectStore, found: Collection, is_open: frozenset[str]
) -> Outcome:
    line, job = item
    job = job or job_now(store, line, found)
    try:
        result = Result.from_bytes(store.get(keys.result(job)))
    except MissingObjectError:
        return Outcome(line, job, "running" if job in is_open else "waiting")
    return Outcome(line, job, result.status, result)


def job_now(store: ObjectStore, line: Line, found: Collection) -> str:
    """The job of a line, by what its media is now, just as its steward asks when it lets it in."""
    address = split_address(line.media.key)
    if address is not None and line.media.etag is None:
        with suppress(MissingObjectError, WorldError):
            etag, size = store.mark(*address)
            media = line.media.model_copy(update={"etag": etag, "size": size})
            line = line.model_copy(update={"media": media})
    return line.job(found).id
