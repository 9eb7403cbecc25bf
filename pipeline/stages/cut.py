"""cut: turn one window of a job into segments, in one streaming pass; behind the last window, fold its answers."""

from dataclasses import dataclass

from pipeline import keys
from pipeline.job import PLANNED, PREPARED, Failure, Job, Plan, Segment, Window, Windows, Work
from pipeline.payload import Parcel, Payload, Piece, pack
from pipeline.stages import Ports
from pipeline.stages.completion import Place, advance, hand_on, read_job
from pipeline.stages.fold import folded
from pipeline.stages.source import Source


@dataclass(frozen=True, slots=True)
class Decoded:
    """The plan of a window whose segments are stored."""

    plan: Plan
    idle: float = 0.0  #: how much of the media needs no answer: it is done as soon as it is planned
    only: Payload | None = None  #: the payload of its one segment, which is then not stored


def cut(work: Work, ports: Ports, source: Source) -> None:
    """Store a window's segments as they come, then its plan, then send the segments.

    Run again, it writes only what is missing and sends only what was not announced.
    """
    job = read_job(ports, work.job)
    if job is None or ports.store.exists(keys.cancelled(job.id)):
        return
    prepared = PREPARED.validate_json(ports.store.get(keys.windows(job.id)))
    if isinstance(prepared, Failure) or work.window is None:
        return
    plan, answered = _plan(work, job, ports, source, prepared, work.window)
    send_planned(plan, work, ports, answered)


def send_planned(plan: Plan | Failure, work: Work, ports: Ports, answered: frozenset[Place]) -> None:
    """Send the segments of a window that have no answer yet; where there are none, what the job needs next."""
    works = (
        []
        if isinstance(plan, Failure)
        else [
            Work(stage="infer", job=work.job, window=segment.window, index=segment.index)
            for segment in plan.segments
            if (segment.window, segment.index) not in answered
        ]
    )
    hand_on(works, ports, urgent=work.urgent)
    if not works:
        advance(work.job, ports, urgent=work.urgent)


def _plan(
    work: Work, job: Job, ports: Ports, source: Source, windows: Windows, window: int
) -> tuple[Plan | Failure, frozenset[Place]]:
    """The window's plan, made now unless it is there with all the payloads still needed; and what has its answer."""
    key = keys.outcome(work)
    stored = PLANNED.validate_json(ports.store.get(key)) if ports.store.exists(key) else None
    if isinstance(stored, Failure):
        return stored, frozenset()
    answered = _answered(job.id, window, ports) if stored is not None else frozenset()
    if stored is not None and not _payloads_missing(stored, job.id, answered, ports):
        return stored, answered
    if window < len(windows.windows):
        decoded = decode(job, windows, windows.windows[window], ports, source)
    else:
        decoded = _fold(job, ports, windows, window)
    return (stored, answered) if stored is not None else store_plan(work, decoded, ports)


def store_plan(work: Work, decoded: Decoded, ports: Ports) -> tuple[Plan | Failure, frozenset[Place]]:
    """This plan, or what somebody stored first; and what has its answer by now."""
    assert work.window is not None
    key = keys.outcome(work)
    if ports.store.create(key, decoded.plan.to_bytes()):
        ports.ledger.add(work.job, done=decoded.idle)
        return decoded.plan, frozenset()
    return PLANNED.validate_json(ports.store.get(key)), _answered(work.job, work.window, ports)


def decode(
    job: Job, windows: Windows, place: Window, ports: Ports, source: Source, *, keep_only: bool = False
) -> Decoded:
    """Store the segments of a window of the media; `keep_only`: not if it is one."""
    segments: list[Segment] = []
    held: Piece | None = None
    covered = 0.0
    with source.cut(job, windows, place) as pieces:
        for piece in pieces:
            covered += piece.payload.covers
            segments.append(_segment(place.index, len(segments), piece))
            if keep_only and len(segments) == 1:
                held = piece
                continue
            if held is not None:
                _store(job, ports, segments[0], held.payload)
                held = None
            _store(job, ports, segments[-1], piece.payload)
        plan = Plan(
            window=place.index,
            start=place.start,
            end=pieces.end,
            segments=tuple(segments),
            flags=pieces.flags,
            missing=pieces.missing,
            missing_until=pieces.missing_until,
        )
    idle = max(0.0, plan.end - plan.start - covered)
    return Decoded(plan, idle, held.payload if held is not None else None)


def _fold(job: Job, ports: Ports, windows: Windows, window: int) -> Decoded:
    pieces = folded(job.id, windows, window, ports)
    segments = tuple(_segment(window, index, piece) for index, piece in enumerate(pieces))
    for segment, piece in zip(segments, pieces, strict=True):
        _store(job, ports, segment, piece.payload)
    end = max((piece.end for piece in pieces), default=0.0)
    return Decoded(Plan(window=window, start=0.0, end=end, segments=segments))


def _segment(window: int, index: int, piece: Piece) -> Segment:
    return Segment(
        window=window, index=index, kind=piece.payload.kind, start=piece.start, end=piece.end, channel=piece.channel
    )


def _store(job: Job, ports: Ports, segment: Segment, payload: Payload) -> None:
    key = keys.segment(job.id, segment.window, segment.index)
    ports.store.create(key, pack(Parcel(payload, job)), "application/octet-stream")


def _answered(job: str, window: int, ports: Ports) -> frozenset[Place]:
    found = (keys.numbers(key) for key in ports.store.list(keys.answers_of(job, window)))
    return frozenset((window, index) for window, index in found)


def _payloads_missing(plan: Plan, job: str, answered: frozenset[Place], ports: Ports) -> bool:
    return any(
        (segment.window, segment.index) not in answered
        and not ports.store.exists(keys.segment(job, segment.window, segment.index))
        for segment in plan.segments
    )
