"""cut: turn one window of a job into segments, in one streaming pass; behind the last window, fold its answers."""

from pipeline import keys
from pipeline.job import PLANNED, PREPARED, Failure, Plan, Segment, Windows, Work
from pipeline.payload import Piece, pack
from pipeline.stages import Ports
from pipeline.stages.completion import advance, read_job, window_closed
from pipeline.stages.fold import folded
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
    plan = _plan(work, ports, source, prepared, work.window)
    for segment in plan.segments if isinstance(plan, Plan) else ():
        segment_work = Work(stage="infer", job=work.job, window=segment.window, index=segment.index)
        if ports.ledger.announce(segment_work):
            ports.send(segment_work)
    if window_closed(work.job, work.window, ports):
        advance(work.job, ports)


def _plan(work: Work, ports: Ports, source: Source, windows: Windows, window: int) -> Plan | Failure:
    """The window's plan, made now unless it is there with all the payloads that are still needed."""
    key = keys.outcome(work)
    stored = PLANNED.validate_json(ports.store.get(key)) if ports.store.exists(key) else None
    if isinstance(stored, Failure) or (stored is not None and not _payloads_missing(stored, work.job, ports)):
        return stored
    if window < len(windows.windows):
        made, idle = _decode(work.job, ports, source, windows, window)
    else:
        made, idle = _fold(work.job, ports, windows, window), 0.0
    if stored is not None:
        return stored
    if ports.store.create(key, made.to_bytes()):
        ports.ledger.add(work.job, done=idle)
        return made
    return PLANNED.validate_json(ports.store.get(key))


def _decode(job: str, ports: Ports, source: Source, windows: Windows, window: int) -> tuple[Plan, float]:
    """The plan, and how much of the media needs no answer: it is done as soon as it is planned."""
    place = windows.windows[window]
    segments: list[Segment] = []
    covered = 0.0
    with source.cut(read_job(ports, job), windows, place) as pieces:
        for piece in pieces:
            segments.append(_store(job, ports, window, len(segments), piece))
            covered += piece.payload.covers
        plan = Plan(
            window=window,
            start=place.start,
            end=pieces.end,
            segments=tuple(segments),
            flags=pieces.flags,
            missing=pieces.missing,
            missing_until=pieces.missing_until,
        )
    return plan, max(0.0, plan.end - plan.start - covered)


def _fold(job: str, ports: Ports, windows: Windows, window: int) -> Plan:
    pieces = folded(job, windows, window, ports)
    segments = tuple(_store(job, ports, window, index, piece) for index, piece in enumerate(pieces))
    return Plan(window=window, start=0.0, end=max((piece.end for piece in pieces), default=0.0), segments=segments)


def _store(job: str, ports: Ports, window: int, index: int, piece: Piece) -> Segment:
    ports.store.create(keys.segment(job, window, index), pack(piece.payload), "application/octet-stream")
    return Segment(
        window=window, index=index, kind=piece.payload.kind, start=piece.start, end=piece.end, channel=piece.channel
    )


def _payloads_missing(plan: Plan, job: str, ports: Ports) -> bool:
    return any(
        not ports.store.exists(keys.answer(job, segment.window, segment.index))
        and not ports.store.exists(keys.segment(job, segment.window, segment.index))
        for segment in plan.segments
    )
