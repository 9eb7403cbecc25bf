"""reconcile: compare what the bucket lacks with what is on its way, and name the difference."""

from pipeline import keys
from pipeline.job import Work
from pipeline.ledger import job_of
from pipeline.stages import Ports
from pipeline.stages.completion import due, survey


def open_jobs(ports: Ports) -> list[str]:
    """Ids of all accepted jobs that have not ended."""
    return sorted({keys.job_opened(key) for key in ports.store.list(keys.OPEN)})


def idle(jobs: list[str], ports: Ports, waiting: frozenset[str]) -> list[str]:
    """Those of which nothing is on a queue and nothing is being worked on."""
    active = {job_of(name) for name in waiting} | ports.ledger.busy_jobs()
    return [job for job in jobs if job not in active]


def lost(job: str, ports: Ports) -> tuple[Work, ...]:
    """Work of an idle job that is due and not put off after an outage."""
    seen = survey(ports.store, job)
    if seen.finished:
        finish = Work(stage="finish", job=job)  # it died between its result and clearing up
        ports.ledger.expect([finish])
        return (finish,)
    works = due(seen, ports.windows_ahead)
    put_off = ports.ledger.postponed(works)
    lacking = tuple(work for work in works if work.name not in put_off)
    ports.ledger.expect(works if lacking else ())
    return lacking
