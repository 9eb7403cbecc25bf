"""What became of segments, in the bucket: written once, by whoever answers, and read again."""

from collections.abc import Mapping, Sequence

from pipeline import keys
from pipeline.job import ANSWERED, Answer, Failure, ParcelAnswers, Plan, Work
from pipeline.stages import Ports
from pipeline.stages.completion import Numbers, Place, parcels, places_of
from pipeline.store import ObjectStore


def commit_parcel(
    work: Work, answers: Sequence[Answer | None], failures: Mapping[Work, Failure], ports: Ports
) -> tuple[bool, list[Work]]:
    """Write what became of a parcel; whether it stands, and which of its segments are still to be answered alone.

    Of two who do so the first one's stands. The marks come before it and the failures behind it: whoever looks in
    between finds those segments lacking, and none of them done.
    """
    for one, answer in zip(work.each, answers, strict=True):
        if answer is None:
            ports.store.create(keys.alone(one.job, *one.numbers), b"")
    key = keys.outcome(work)
    is_first = ports.store.create(key, ParcelAnswers(answers=tuple(answers)).to_bytes())
    if not is_first:
        answers = ParcelAnswers.from_bytes(ports.store.get(key)).answers
    alone = [one for one, answer in zip(work.each, answers, strict=True) if answer is None]
    for one in alone:
        if one in failures:
            ports.store.create(keys.outcome(one), failures[one].to_bytes())
    return is_first, [one for one in alone if one not in failures and not ports.store.exists(keys.outcome(one))]


def commit_failed(work: Work, failure: Failure, ports: Ports) -> None:
    """Write that a segment, or every one of a parcel, cannot be answered."""
    if work.last is None:
        ports.store.create(keys.outcome(work), failure.to_bytes())
    else:
        commit_parcel(work, [None] * len(work.each), dict.fromkeys(work.each, failure), ports)


def read_answers(store: ObjectStore, job: str, plan: Plan) -> dict[Place, Answer | Failure]:
    """What became of all segments of a window. Raises MissingObjectError while some lack an answer."""
    found: dict[Place, Answer | Failure] = {}
    for work in parcels(job, plan):
        found |= read_outcome(work.numbers, store.get(keys.outcome(work)))
        for one in work.each:
            if one.numbers not in found:
                found |= read_outcome(one.numbers, store.get(keys.outcome(one)))
    return found


def read_outcome(numbers: Numbers, data: bytes) -> dict[Place, Answer | Failure]:
    """What the object of a segment or a parcel tells."""
    places = places_of(numbers)
    if len(places) == 1:
        return {places[0]: ANSWERED.validate_json(data)}
    stored = ParcelAnswers.from_bytes(data).answers
    return {place: answer for place, answer in zip(places, stored, strict=True) if answer is not None}
