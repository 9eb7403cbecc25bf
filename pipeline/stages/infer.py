"""infer: the segments of one message through the engine, in whatever batches the engine's batcher puts them.

The segments of a parcel are asked about together and answered in one object. One that fails, or that was begun before
without an end, stands alone from then on: it gets an object, a message and tries of its own.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from pipeline import keys
from pipeline.errors import MissingObjectError, TransientError, WorldError
from pipeline.job import Answer, Failure, Work
from pipeline.ledger import is_segment
from pipeline.payload import Parcel, unpack
from pipeline.stages import Ports
from pipeline.stages.answering import Answerer
from pipeline.stages.attempt import Fail, Later, decide, known, put_off, with_evidence
from pipeline.stages.completion import advance, ended_meanwhile, survey
from pipeline.stages.finish import conclude
from pipeline.stages.outcomes import commit_parcel
from pipeline.stages.packing import store_parcel


def infer(work: Work, ports: Ports, answerer: Answerer, tries: int = 0) -> None:
    """Answer; with the last of a window, see what the job needs next. A job of one segment ends here."""
    is_parcel = work.last is not None
    if tries and not is_parcel and _has_ended(work, ports):
        advance(work.job, ports, urgent=work.urgent)  # whoever tried before died behind their answer
        return
    try:
        parcel = unpack(ports.store.get(_place(work)))
    except MissingObjectError:
        advance(work.job, ports, urgent=work.urgent)  # finished meanwhile, or to be cut again
        return
    if not is_parcel:
        _answer_one(work, parcel, ports, answerer, tries)
    elif tries or ports.ledger.tried(work.each):
        _take_apart(work, parcel, ports)
    else:
        try:
            _answer_all(work, parcel, ports, answerer)
        except (TransientError, WorldError):
            for one in work.each:  # an outage is no try
                ports.ledger.restore(one, 0)
            raise


def _has_ended(work: Work, ports: Ports) -> bool:
    if is_segment(work):
        return ports.store.exists(keys.outcome(work))
    return survey(ports.store, work.job).finished


def _place(work: Work) -> str:
    """Where the parcel lies."""
    return keys.segments(work.job, *work.numbers) if is_segment(work) else keys.whole(work.job)


def _answer_one(work: Work, parcel: Parcel, ports: Ports, answerer: Answerer, tries: int) -> None:
    (payload,) = parcel.payloads
    answer = answerer.ask(work.name, payload, parcel.job, tries)()
    if not is_segment(work):
        conclude(parcel, answer, ports)
        return
    is_first = ports.store.create(keys.outcome(work), answer.to_bytes())
    _tell(work, payload.covers if is_first else 0.0, ports)


def _take_apart(work: Work, parcel: Parcel, ports: Ports) -> None:
    """Let each segment be answered alone, as far as nobody has answered them yet."""
    _commit(work, parcel, [None] * len(parcel.payloads), {}, frozenset(), ports)


def _answer_all(work: Work, parcel: Parcel, ports: Ports, answerer: Answerer) -> None:
    """Answer the segments of a parcel together. Raises what kept all of them from being tried."""
    outcomes = dict(zip(work.each, _asked(work, parcel, answerer), strict=True))
    verdicts = {
        one: (outcome, decide(outcome, 1, ports.max_attempts))
        for one, outcome in outcomes.items()
        if isinstance(outcome, Exception)
    }
    if len(verdicts) == len(outcomes) and all(_is_none_of_theirs(verdict) for _, verdict in verdicts.values()):
        raise next(error for error, _ in verdicts.values())
    failures, later = dict[Work, Failure](), set[Work]()
    for one, (error, verdict) in verdicts.items():
        if isinstance(verdict, Fail):
            failures[one] = with_evidence(one, verdict.failure, ports)
            continue
        put_off(one, verdict, error, ports, 0)
        if not (verdict.counted or verdict.at_once):
            later.add(one)
    answers = [outcome if isinstance(outcome, Answer) else None for outcome in outcomes.values()]
    _commit(work, parcel, answers, failures, later, ports)


def _is_none_of_theirs(verdict: Fail | Later) -> bool:
    return isinstance(verdict, Later) and not verdict.counted


def _asked(work: Work, parcel: Parcel, answerer: Answerer) -> list[Answer | Exception]:
    """All of them are asked about before the first answer is waited for."""
    promises: list[Callable[[], Answer] | Exception] = []
    for one, payload in zip(work.each, parcel.payloads, strict=True):
        try:
            promises.append(answerer.ask(one.name, payload, parcel.job, 0))
        except Exception as error:
            promises.append(known(error))
    return [promise if isinstance(promise, Exception) else _awaited(promise) for promise in promises]


def _awaited(promise: Callable[[], Answer]) -> Answer | Exception:
    try:
        return promise()
    except Exception as error:
        return known(error)


def _commit(
    work: Work,
    parcel: Parcel,
    answers: Sequence[Answer | None],
    failures: Mapping[Work, Failure],
    later: Collection[Work],
    ports: Ports,
) -> None:
    """Write what became of a parcel, and send what is left of it; not yet what should go `later`."""
    is_first, alone = commit_parcel(work, answers, failures, ports)
    payloads = dict(zip(work.each, parcel.payloads, strict=True))
    for one in alone:
        store_parcel(parcel.job, one.numbers, [payloads[one]], ports)
    if alone and ended_meanwhile(work.job, ports):
        return
    answered = [payload.covers for payload, answer in zip(parcel.payloads, answers, strict=True) if answer is not None]
    _tell(work, sum(answered) if is_first else 0.0, ports, left=len(alone))
    for one in alone:
        if one not in later:
            ports.send(one.model_copy(update={"urgent": work.urgent}))


def _tell(work: Work, seconds: float, ports: Ports, left: int = 0) -> None:
    """Tell the ledger; with the last answer of a window, see what the job needs next."""
    if ports.ledger.answered(work, seconds, left):
        advance(work.job, ports, urgent=work.urgent)
