"""cut: turn one window of a job into segments, in one streaming pass; behind the last window, fold its answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline import keys
from pipeline.errors import MissingObjectError
from pipeline.job import PREPARED, Failure, Job, Plan, Window, Windows, Work
from pipeline.payload import Payload
from pipeline.stages import Ports
from pipeline.stages.completion import advance, ended_meanwhile, hand_on, parcels, read_job, survey, unanswered
from pipeline.stages.fold import folded
from pipeline.stages.packing import pack_all, store_again
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
    if job is None:
        advance(work.job, ports, urgent=work.urgent)  # whoever cut before may have died behind its end
        return
    if ports.store.exists(keys.cancelled(job.id, job.round)):
        return
    try:
        windows = PREPARED.validate_json(ports.store.get(keys.windows(job.id)))
    except MissingObjectError:
        advance(work.job, ports, urgent=work.urgent)  # taken back since this was sent: it is no try of this window
        return
    if isinstance(windows, Failure) or work.window is None:
        return
    if ports.store.exists(keys.outcome(work)):
        _mend(work, job, ports, source, windows)
        return
    if work.window < len(windows.windows):
        decoded = decode(job, windows, windows.windows[work.window], ports, source)
    else:
        decoded = _fold(job, ports, windows, work.window)
    store_plan(work, decoded, ports)


def store_plan(work: Work, decoded: Decoded, ports: Ports) -> None:
    """Store the plan of a window whose segments are stored, then send them.

    If somebody stored it first: what still lacks an answer. Where nothing does, what the job needs next.
    """
    window = decoded.plan.window
    if ports.store.create(keys.plan(work.job, window), decoded.plan.to_bytes()):
        ports.ledger.add(work.job, done=decoded.idle)
        works = list(parcels(work.job, decoded.plan))
    else:
        seen = survey(ports.store, work.job)
        plan = seen.planned.get(window)
        works = unanswered(seen, plan) if isinstance(plan, Plan) else []
    _send(works, work, ports)


def _send(works: Sequence[Work], work: Work, ports: Ports) -> None:
    if ended_meanwhile(work.job, ports):
        return
    hand_on(works, ports, urgent=work.urgent)
    if not works:
        advance(work.job, ports, urgent=work.urgent)


def _mend(work: Work, job: Job, ports: Ports, source: Source, windows: Windows) -> None:
    """Of a window that has its plan, write the payloads that are still needed and gone, then send the segments."""
    assert work.window is not None
    seen = survey(ports.store, job.id)
    plan = seen.planned.get(work.window)
    works = unanswered(seen, plan) if isinstance(plan, Plan) else []
    gone = [one for one in works if one.numbers not in seen.payloads]
    if gone and work.window < len(windows.windows):
        with source.cut(job, windows, windows.windows[work.window]) as pieces:
            store_again(gone, (piece.payload for piece in pieces), job, ports)
    elif gone:
        store_again(gone, (piece.payload for piece in folded(job.id, windows, work.window, ports)), job, ports)
    _send(works, work, ports)


def decode(
    job: Job, windows: Windows, place: Window, ports: Ports, source: Source, *, keep_only: bool = False
) -> Decoded:
    """Store the segments of a window of the media; `keep_only`: not if it is one."""
    with source.cut(job, windows, place) as pieces:
        packed = pack_all(job, place.index, pieces, ports, keep_only=keep_only)
        plan = Plan(
            window=place.index,
            start=place.start,
            end=pieces.end,
            segments=packed.segments,
            parcels=packed.lengths,
            flags=pieces.flags,
            missing=pieces.missing,
            missing_until=pieces.missing_until,
        )
    idle = max(0.0, plan.end - plan.start - packed.covers)
    return Decoded(plan, idle, packed.only)


def _fold(job: Job, ports: Ports, windows: Windows, window: int) -> Decoded:
    pieces = folded(job.id, windows, window, ports)
    packed = pack_all(job, window, pieces, ports)
    end = max((piece.end for piece in pieces), default=0.0)
    return Decoded(Plan(window=window, start=0.0, end=end, segments=packed.segments, parcels=packed.lengths))
