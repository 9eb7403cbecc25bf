"""prepare: look at a job's media once and decide its windows; of a short file, cut the only one."""

from pipeline import keys
from pipeline.errors import PermanentError, ResourceError
from pipeline.job import PREPARED, Failure, Job, Plan, Windows, Work
from pipeline.payload import Parcel, Payload, pack
from pipeline.stages import Ports
from pipeline.stages.completion import advance, hand_on, read_job
from pipeline.stages.cut import Decoded, decode, store_plan
from pipeline.stages.source import Source


def prepare(work: Work, ports: Ports, source: Source) -> None:
    """Probe the media, store `windows.json`, send the first windows to be cut.

    Media of one window is cut here, and what is one segment becomes one object instead of three.
    """
    job = read_job(ports, work.job)
    if job is None:
        advance(work.job, ports, urgent=work.urgent)  # whoever prepared before may have died behind its end
        return
    windows = source.prepare(job)
    decoded = _cut_here(job, windows, ports, source)
    if decoded is not None and decoded.only is not None:
        _store_whole(job, windows, decoded.plan, decoded.only, ports)
        # Should it have ended meanwhile, whoever answers this finds that, and removes it.
        hand_on([Work(stage="infer", job=job.id)], ports, urgent=work.urgent)
        return
    stored = _store_windows(job, windows, ports)
    if decoded is None or stored != windows:
        advance(job.id, ports, urgent=work.urgent)
        return
    store_plan(work, decoded, ports)


def _cut_here(job: Job, windows: Windows, ports: Ports, source: Source) -> Decoded | None:
    """The plan of the only window. None: there are several, or it cannot be cut, which whoever cuts it alone tells."""
    if len(windows.windows) > 1:
        return None
    try:
        return decode(job, windows, windows.windows[0], ports, source, keep_only=windows.fold == "never")
    except (PermanentError, ResourceError):
        return None


def _store_whole(job: Job, windows: Windows, plan: Plan, payload: Payload, ports: Ports) -> None:
    parcel = Parcel((payload,), job, windows, plan)
    ports.store.create(keys.whole(job.id), pack(parcel), "application/octet-stream")
    _tell_length(job, windows, ports)


def _store_windows(job: Job, windows: Windows, ports: Ports) -> Windows | Failure:
    """These windows, or those that somebody stored first."""
    key = keys.windows(job.id)
    if ports.store.create(key, windows.to_bytes()):
        _tell_length(job, windows, ports)
        return windows
    return PREPARED.validate_json(ports.store.get(key))


def _tell_length(job: Job, windows: Windows, ports: Ports) -> None:
    length = windows.media.duration or windows.media.characters
    if length:
        ports.ledger.add(job.id, seconds=length)
