"""prepare: look at a job's media once and decide its windows."""

from pipeline import keys
from pipeline.job import Work
from pipeline.stages import Ports
from pipeline.stages.completion import advance, read_job
from pipeline.stages.source import Source


def prepare(work: Work, ports: Ports, source: Source) -> None:
    """Probe the media, store `windows.json`, send the first windows to be cut."""
    if not ports.store.exists(keys.windows(work.job)):
        windows = source.prepare(read_job(ports, work.job))
        length = windows.media.duration or windows.media.characters
        if ports.store.create(keys.windows(work.job), windows.to_bytes()) and length:
            ports.ledger.add(work.job, seconds=length)
    advance(work.job, ports)
