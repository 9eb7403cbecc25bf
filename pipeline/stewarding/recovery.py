"""Starting from nothing: what only Redis knew, from the bucket."""

import logging
from dataclasses import dataclass

from pipeline import keys
from pipeline.job import Stage, Work
from pipeline.ledger import job_of
from pipeline.stages import Ports
from pipeline.stages.reconcile import open_jobs

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found."""

    jobs: int  #: open
    collections: int  #: open
    tries: int  #: pieces of work that had been begun more than once


def recover(ports: Ports) -> Recovered:
    """Give a ledger that knows nothing the tries that were counted; forget those of jobs that have ended.

    What is open is let in and sent by the steward's next looks, which read nothing but the bucket.
    """
    is_open = frozenset(open_jobs(ports))
    tries: dict[str, int] = {}
    stale: list[str] = []
    for key in ports.store.list(keys.TRIES):
        name, number = keys.work_tried(key)
        if job_of(name) in is_open:
            tries[name] = max(tries.get(name, 0), number)
        else:
            stale.append(key)
    for name, number in tries.items():
        work = work_named(name)
        if ports.ledger.tries(work) < number:
            ports.ledger.restore(work, number)
    ports.store.delete(stale)
    collections = sum(1 for _ in ports.store.list(keys.OPEN_COLLECTIONS))
    ports.ledger.count("recoveries")
    return Recovered(len(is_open), collections, len(tries))


def work_named(name: str) -> Work:
    """The work of a name."""
    stage, job, *numbers = name.split(".")
    window, index, *_ = [*(int(number) for number in numbers[0].split("-")), None, None] if numbers else (None, None)
    return Work(stage=_STAGES[stage], job=job, window=window, index=index)


_STAGES: dict[str, Stage] = {"prepare": "prepare", "cut": "cut", "infer": "infer", "finish": "finish"}
