"""cut: decode one window of a job's media into segments, in one streaming pass."""

from pipeline import keys
from pipeline.job import PLANNED, PREPARED, Failure, Plan, Segment, Window, Windows, Work
from pipeline.stages import Ports
from pipeline.stages.completion import advance, read_job, window_closed
from pipeline.stages.source import Source


def cut(work: Work, ports: Ports, source: Source) -> None:
    """Store a window's segments as they come, then its plan, then send the segments.

    Run again, it writes only what is missing and sends only what was not announced.
    """
    if ports.store.exists(keys.result(work.job)) or ports.store.exists(keys.cancelled(work.job)):
        return
    prepared = PREPARED.validate_json(ports.store.get(keys.windows(work.job)))
    if isinstance(prepared, Failure) or work.window is None:
        return
    plan = _plan(work, ports, source, prepared, prepared.windows[work.window])
    for segment in plan.segments if isinstance(plan, Plan) else ():
        segment_work = Work(stage="infer", job=work.job, window=segment.window, index=segment.index)
        if ports.ledger.announce(segment_work):
            ports.send(segment_work)
    if window_closed(work.job, work.window, ports):
        advance(work.job, ports)


def _plan(work: Work, ports: Ports, source: Source, windows: Windows, window: Window) -> Plan | Failure:
    """The window's plan, made now unless it is there with all the payloads that are still needed."""
    key = keys.outcome(work)
    stored = PLANNED.validate_json(ports.store.get(key)) if ports.store.exists(key) else None
    if isinstance(stored, Failure) or (stored is not None and not _payloads_missing(stored, work.job, ports)):
        return stored
    made = _decode(work.job, ports, source, windows, window)
    if stored is not None:
        return stored
    if ports.store.create(key, made.to_bytes()):
        _count(made, ports, work.job)
        return made
    return PLANNED.validate_json(ports.store.get(key))


def _decode(job: str, ports: Ports, source: Source, windows: Windows, window: Window) -> Plan:
    segments: list[Segment] = []
    with source.cut(read_job(ports, job), windows.media, window, windows.clip_seconds) as clips:
        for clip in clips:
            index = len(segments)
            ports.store.create(keys.segment(job, window.index, index), clip.pcm, "application/octet-stream")
            segments.append(Segment(window=window.index, index=index, start=clip.start, end=clip.end))
        return Plan(
            window=window.index,
            start=window.start,
            end=clips.end,
            segments=tuple(segments),
            flags=clips.flags,
            missing=clips.missing,
            missing_until=clips.missing_until,
        )


def _payloads_missing(plan: Plan, job: str, ports: Ports) -> bool:
    return any(
        not ports.store.exists(keys.answer(job, segment.window, segment.index))
        and not ports.store.exists(keys.segment(job, segment.window, segment.index))
        for segment in plan.segments
    )


def _count(plan: Plan, ports: Ports, job: str) -> None:
    """Sound that holds no segment is done as soon as it is planned."""
    spoken = sum(segment.end - segment.start for segment in plan.segments)
    ports.ledger.add(job, done=max(0.0, plan.end - plan.start - spoken))
