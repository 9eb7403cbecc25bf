"""Doing again what would come out differently today."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline import keys
from pipeline.errors import MissingObjectError, UsageError
from pipeline.identity import Asked, new_job
from pipeline.job import Result
from pipeline.objects import ObjectStore
from pipeline.operating.where import Where
from pipeline.planning.look import in_order
from pipeline.producer import Producer

THREADS = 8

#: `same`: done anew in its place. `other`: another engine made it. `moved`: asked of the present engine, as a new job.
#: `known`: another engine made it, and the present one has done it, too. `gone`: its media is not there any more, so
#: that it stays what it is.
How = Literal["same", "other", "moved", "known", "gone"]


@dataclass(frozen=True, slots=True)
class Redone:
    """One result that was meant."""

    result: Result
    how: How
    job: str | None = None  #: that is open now; None: nothing was done


def matching(store: ObjectStore, where: Where, jobs: Iterator[str]) -> Iterator[Result]:
    """Those of ended jobs for which it holds."""

    def read(job: str) -> Result | None:
        try:
            return Result.from_bytes(store.get(keys.result(job)))
        except MissingObjectError:
            return None  # it is open

    return (found for found in in_order(jobs, read, THREADS) if found is not None and where.holds(found))


def redo(producer: Producer, result: Result, engine: str, *, move: bool, dry: bool) -> Redone:
    """Do one again. `engine`: the present one. `move`: what another engine made is asked of the present one, too.

    A result that another engine made stays what it is: the job of the present engine is another job.
    """
    is_same = result.asked.engine == engine
    if (is_same or move) and not producer.has_media(result):
        return Redone(result, "gone")
    if is_same:
        if not dry:
            producer.retry(result.job, everything=True)
        return Redone(result, "same", None if dry else result.job)
    if not move:
        return Redone(result, "other")
    asked = Asked(tenant=result.asked.tenant)
    job = new_job(result.asked.media, result.asked.task, result.asked.options, engine, asked)
    if _has_ended(producer, job.id) if dry else not producer.accept(job):
        return Redone(result, "known")
    return Redone(result, "moved", None if dry else job.id)


def _has_ended(producer: Producer, job: str) -> bool:
    try:
        producer.result(job)
    except UsageError:  # it is open, or there is none
        return False
    return True
