"""What a job still lacks, derived from the bucket alone: the rule by which every job ends.

A job is complete when each window has a plan (or a failure) and each planned segment has an answer (or a failure).
Nothing counts messages. A stage writes its own output first and looks second, so whoever writes last sees it all. The
ledger spares looks that would find nothing; where it has forgotten, the steward looks.

The segments of a parcel are answered in one object. It is written once, and those that it leaves out are answered by
themselves from then on; a mark tells that there are some, so that the others need not be read.

A job of one window and one segment is shorter: its media, windows and plan are one object (`whole.bin`), and whoever
answers it writes the result.

A job that has ended may be opened again (`Producer.retry`). That is another round of it: its end is an object of its
own, and who is still about to close the one before closes nothing of this one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline import keys
from pipeline.errors import MissingObjectError
from pipeline.job import PLANNED, PREPARED, Failure, Job, ParcelAnswers, Plan, Windows, Work
from pipeline.ledger import is_segment
from pipeline.stages import Ports
from pipeline.store import ObjectStore

Place = tuple[int, int]  #: window, index of a segment
Numbers = tuple[int, ...]  #: those of a segment or of a parcel, as in the name of its work


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the bucket holds of one job."""

    job: str
    round: int = 0  #: the latest that was begun
    cancelled: bool = False
    finished: bool = False  #: that round has ended
    whole: bool = False
    prepared: Windows | Failure | None = None
    planned: Mapping[int, Plan | Failure] = field(default_factory=dict)
    payloads: frozenset[Numbers] = frozenset()
    outcomes: frozenset[Numbers] = frozenset()  #: of segments and of parcels
    alone: frozenset[Numbers] = frozenset()  #: segments of parcels that are answered by themselves
    answered: frozenset[Place] = frozenset()


def survey(store: ObjectStore, job: str) -> Survey:
    """Look at everything stored of a job: one listing, and those of its plans that were not read before."""
    prefix = keys.job_prefix(job)
    present = store.etags(prefix)
    found = list(present)
    prepared = present.get(keys.windows(job))
    round = latest_round(found, job)
    outcomes, alone = _numbers(found, keys.answers_of(job)), _numbers(found, keys.alone_of(job))
    return Survey(
        job=job,
        round=round,
        cancelled=keys.cancelled(job, round) in present,
        finished=keys.committed(job, round) in present,
        whole=keys.whole(job) in present,
        prepared=None if prepared is None else PREPARED.validate_json(store.reread(keys.windows(job), prepared)),
        planned={
            keys.numbers(key)[0]: PLANNED.validate_json(store.reread(key, etag))
            for key, etag in present.items()
            if key.startswith(f"{prefix}plans/")
        },
        payloads=_numbers(found, keys.segments_of(job)),
        outcomes=outcomes,
        alone=alone,
        answered=frozenset(place for one in outcomes for place in _answered(store, job, one, alone)),
    )


def latest_round(found: Sequence[str], job: str) -> int:
    """The one that was begun last, by the keys of a job."""
    return max((keys.numbers(key)[0] for key in found if key.startswith(keys.rounds_of(job))), default=0)


def _numbers(found: list[str], prefix: str) -> frozenset[Numbers]:
    return frozenset(keys.numbers(key) for key in found if key.startswith(prefix))


def _answered(store: ObjectStore, job: str, numbers: Numbers, alone: frozenset[Numbers]) -> set[Place]:
    """The places that an outcome is the answer of."""
    places = places_of(numbers)
    if len(places) == 1 or alone.isdisjoint(places):
        return set(places)
    stored = ParcelAnswers.from_bytes(store.get(keys.answers(job, *numbers)))
    return {place for place, answer in zip(places, stored.answers, strict=True) if answer is not None}


def places_of(numbers: Numbers) -> tuple[Place, ...]:
    """The segments of a segment or parcel."""
    window, first, *last = numbers
    return tuple((window, index) for index in range(first, (last or [first])[0] + 1))


def parcels(job: str, plan: Plan) -> tuple[Work, ...]:
    """The work of a window's segments, as they travel."""
    works: list[Work] = []
    first = 0
    for length in plan.parcels or (1,) * len(plan.segments):
        last = first + length - 1
        works.append(Work(stage="infer", job=job, window=plan.window, index=first, last=last if length > 1 else None))
        first = last + 1
    return tuple(works)


def due(seen: Survey, windows_ahead: int) -> tuple[Work, ...]:
    """The work that would bring the job forward now.

    At most `windows_ahead` windows are cut but not yet answered, which bounds the temporary objects of a long file.
    """
    finish = (Work(stage="finish", job=seen.job),)
    if seen.finished:
        return ()
    if seen.cancelled or isinstance(seen.prepared, Failure):
        return finish
    if seen.whole:
        return (Work(stage="infer", job=seen.job),)
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
    works = unanswered(seen, plan)
    # What has no payload is cut anew, and then sent.
    return works if all(work.numbers in seen.payloads for work in works) else [cut]


def unanswered(seen: Survey, plan: Plan) -> list[Work]:
    """The segments of a window that lack an answer: parcels that nobody has opened, and what was left out of others."""
    works: list[Work] = []
    for parcel in parcels(seen.job, plan):
        if parcel.numbers not in seen.outcomes:
            works.append(parcel)
        elif parcel.last is not None:
            works += [one for one in parcel.each if one.numbers not in seen.answered]
    return works


def hand_on(works: Sequence[Work], ports: Ports, *, urgent: bool) -> None:
    """Send those works of one job that are news."""
    for work in ports.ledger.announce(works):
        ports.send(work.model_copy(update={"urgent": True}) if urgent else work)


def advance(job: str, ports: Ports, *, urgent: bool = False) -> None:
    """Send what a job needs next, apart from the segments of a window, which whoever cut it sends."""
    seen = survey(ports.store, job)
    works = [work for work in due(seen, ports.windows_ahead) if not is_segment(work)]
    if seen.finished:
        _clear(seen, ports)
        if any(ports.store.list(keys.open_job(job))):
            works = [Work(stage="finish", job=job)]  # whoever finished it died before they had closed it
    hand_on(works, ports, urgent=urgent)


def _clear(seen: Survey, ports: Ports) -> None:
    """Of a job that has ended, remove the media that somebody stored behind its end."""
    left = [keys.segments(seen.job, *numbers) for numbers in sorted(seen.payloads)]
    left += [keys.whole(seen.job)] if seen.whole else []
    if left:
        ports.store.delete(left)


def ended_meanwhile(job: str, ports: Ports) -> bool:
    """Asked by whoever has just stored media of a job: whether it has ended, and nobody else would remove that."""
    if not ports.store.exists(keys.result(job)):
        return False
    advance(job, ports)
    return True


def read_job(ports: Ports, job: str) -> Job | None:
    """A job that has not ended; None when it has."""
    first = read_opened(ports, keys.open_job(job))
    if first is not None:
        return first
    opened = max(ports.store.list(keys.open_job(job)), key=keys.round_opened, default=None)
    return None if opened is None else read_opened(ports, opened)


def read_opened(ports: Ports, key: str) -> Job | None:
    """A job as it was opened in one of its rounds; None when it is not open as that."""
    try:
        return Job.from_bytes(ports.store.get(key))
    except MissingObjectError:
        return None
