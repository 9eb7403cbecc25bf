"""What a job still lacks, derived from the bucket alone: the rule by which every job ends.

A job is complete when each window has a plan (or a failure) and each planned segment has an answer (or a failure).
Nothing counts messages. A stage writes its own output first and looks second, so whoever writes last sees it all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline import keys
from pipeline.errors import MissingObjectError
from pipeline.job import PLANNED, PREPARED, Failure, Job, Plan, Windows, Work
from pipeline.stages import Ports
from pipeline.store import ObjectStore

Place = tuple[int, int]  #: window, index of a segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the bucket holds of one job."""

    job: str
    accepted: bool = False
    cancelled: bool = False
    finished: bool = False
    prepared: Windows | Failure | None = None
    planned: Mapping[int, Plan | Failure] = field(default_factory=dict)
    payloads: frozenset[Place] = frozenset()
    answered: frozenset[Place] = frozenset()


def survey(store: ObjectStore, job: str) -> Survey:
    """Look at everything stored of a job: one listing, and the plans."""
    prefix = keys.job_prefix(job)
    found = list(store.list(prefix))
    present = frozenset(found)
    prepared = keys.windows(job) in present
    return Survey(
        job=job,
        accepted=keys.job(job) in present,
        cancelled=keys.cancelled(job) in present,
        finished=keys.result(job) in present,
        prepared=PREPARED.validate_json(store.get(keys.windows(job))) if prepared else None,
        planned={
            keys.numbers(key)[0]: PLANNED.validate_json(store.get(key))
            for key in found
            if key.startswith(f"{prefix}plans/")
        },
        payloads=_places(found, f"{prefix}segments/"),
        answered=_places(found, f"{prefix}answers/"),
    )


def _places(found: list[str], prefix: str) -> frozenset[Place]:
    places = (keys.numbers(key) for key in found if key.startswith(prefix))
    return frozenset((window, index) for window, index in places)


def due(seen: Survey, windows_ahead: int) -> tuple[Work, ...]:
    """The work that would bring the job forward now.

    At most `windows_ahead` windows are cut but not yet answered, which bounds the temporary objects of a long file.
    """
    finish = (Work(stage="finish", job=seen.job),)
    if not seen.accepted or seen.finished:
        return ()
    if seen.cancelled or isinstance(seen.prepared, Failure):
        return finish
    if seen.prepared is None:
        return (Work(stage="prepare", job=seen.job),)
    works: list[Work] = []
    num_unfinished = 0
    for window in seen.prepared.windows:
        lacking = _lacking(seen, window.index)
        if not lacking:
            continue
        works += lacking
        num_unfinished += 1
        if num_unfinished == windows_ahead:
            break
    return tuple(works) or tuple(_fold(seen, seen.prepared)) or finish


def _fold(seen: Survey, prepared: Windows) -> list[Work]:
    """What the folds lack: each follows on the answers of the one before, until one answer is left."""
    window = len(prepared.windows)
    num_answers = sum(
        len(plan.segments) for plan in seen.planned.values() if isinstance(plan, Plan) and plan.window < window
    )
    if prepared.fold == "never" or num_answers <= (1 if prepared.fold == "several" else 0):
        return []
    while True:
        lacking = _lacking(seen, window)
        plan = seen.planned.get(window)
        if lacking or not isinstance(plan, Plan) or len(plan.segments) <= 1:
            return lacking
        window += 1


def _lacking(seen: Survey, window: int) -> list[Work]:
    plan = seen.planned.get(window)
    cut = Work(stage="cut", job=seen.job, window=window)
    if plan is None:
        return [cut]
    if isinstance(plan, Failure):
        return []
    unanswered = [segment for segment in plan.segments if (window, segment.index) not in seen.answered]
    if any((window, segment.index) not in seen.payloads for segment in unanswered):
        return [cut]  # it writes the payloads anew and sends the segments
    return [Work(stage="infer", job=seen.job, window=window, index=segment.index) for segment in unanswered]


def window_closed(job: str, window: int, ports: Ports) -> bool:
    """Whether a window has a plan and all its answers. Ask only after writing one's own output."""
    try:
        plan = PLANNED.validate_json(ports.store.get(keys.plan(job, window)))
    except MissingObjectError:
        return False
    if isinstance(plan, Failure):
        return True
    return sum(1 for _ in ports.store.list(keys.answers_of(job, window))) >= len(plan.segments)


def advance(job: str, ports: Ports) -> None:
    """Send what a job needs next, apart from segments, which the cut of their window sends."""
    for work in due(survey(ports.store, job), ports.windows_ahead):
        if work.stage != "infer" and ports.ledger.announce(work):
            ports.send(work)


def read_job(ports: Ports, job: str) -> Job:
    return Job.from_bytes(ports.store.get(keys.job(job)))
