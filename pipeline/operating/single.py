"""The jobs that came with no collection."""

from collections.abc import Sequence

from pipeline.operating.outcomes import jobs_of
from pipeline.operating.standing import Standing
from pipeline.producer import Producer
from pipeline.stages import Ports

#: With more lines than this, all that are single cannot be told from the others in a time that somebody would wait.
MOST_LINES = 1_000


def single_jobs(ports: Ports, producer: Producer, collections: Sequence[Standing]) -> list[str]:
    """All of them, or those that are open where collections hold an archive."""
    if sum(one.lines or one.tally.lines for one in collections) > MOST_LINES:
        return sorted(job for job in producer.open_jobs() if producer.job(job).collection is None)
    collected = {job for one in collections for job in jobs_of(ports.store, one.collection.id)}
    return [job for job in producer.jobs() if job not in collected]
