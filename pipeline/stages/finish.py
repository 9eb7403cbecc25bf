"""finish: join a job's answers into its result, write every format, clear up."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline import formats, keys
from pipeline.admission import media_seconds
from pipeline.errors import MissingObjectError
from pipeline.job import Answer, Failure, Result, Work
from pipeline.ledger import Ending
from pipeline.limits import within
from pipeline.payload import Parcel, unpack
from pipeline.stages import Ports
from pipeline.stages.assembling import Answers, assemble, bare_result
from pipeline.stages.completion import Place, Survey, due, latest_round, read_opened, survey
from pipeline.stages.outcomes import read_outcome

READERS = 8  # threads that fetch answers


def finish(work: Work, ports: Ports) -> None:
    """Write the result of a job that lacks nothing (or was cancelled); last, close it."""
    seen = survey(ports.store, work.job)
    if seen.finished:
        result = Result.from_bytes(ports.store.get(keys.committed(work.job, seen.round)))
        publish(result, ports)
        close(work.job, seen.round, _temporary(seen, ports), ports, result)
        return
    job = read_opened(ports, keys.open_job(work.job, seen.round))
    if job is None:
        _close_earlier(work.job, ports)
        return
    if [one.name for one in due(seen, ports.windows_ahead)] != [work.name]:
        return
    result = commit(assemble(job, seen, _read_answers(seen, ports)), ports)
    close(work.job, job.round, _temporary(seen, ports), ports, result)


def _close_earlier(job: str, ports: Ports) -> None:
    """Close earlier rounds that have ended: who was to close them died, and so did who began the next one."""
    opened = ports.store.list(keys.open_job(job))
    ports.store.delete([key for key in opened if ports.store.exists(keys.committed(job, keys.round_opened(key)))])


def conclude(parcel: Parcel, answer: Answer | Failure, ports: Ports) -> None:
    """End a job that is one segment."""
    job, window = parcel.job, 0
    planned = {} if parcel.plan is None else {window: parcel.plan}
    seen = Survey(job=job.id, whole=True, prepared=parcel.windows, planned=planned)
    result = commit(assemble(job, seen, {(window, 0): answer}), ports)
    close(job.id, job.round, [keys.whole(job.id)], ports, result)


def conclude_failed(job: str, failure: Failure, ports: Ports) -> None:
    """End a job that is one segment which cannot be answered. Raises PermanentError when what is stored is damaged."""
    try:
        parcel = unpack(ports.store.get(keys.whole(job)))
    except MissingObjectError:
        return  # it has ended
    conclude(parcel, failure, ports)


def _read_answers(seen: Survey, ports: Ports) -> Answers:
    """All answers of a job; a long recording has hundreds, so several are fetched at once.

    Raises LimitError when they are too much text for one result.
    """
    # What was answered together goes before what an earlier try may have left of one alone.
    outcomes = sorted(seen.outcomes, key=lambda numbers: (len(numbers), numbers))
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda numbers: ports.store.get(keys.answers(seen.job, *numbers)), outcomes)
        answers, num_bytes = dict[Place, Answer | Failure](), 0
        for numbers, data in zip(outcomes, found, strict=True):
            num_bytes += len(data)
            within(ports.limits, "result_bytes", num_bytes, "answers of a job", " bytes")
            answers |= read_outcome(numbers, data)
        return dict(sorted(answers.items()))


def close_failed(job: str, failure: Failure, ports: Ports) -> None:
    """End a job whose finish itself cannot succeed: a bare failed result, its answers kept in the bucket."""
    stored = list(ports.store.list(keys.job_prefix(job)))
    opened = read_opened(ports, keys.open_job(job, latest_round(stored, job)))
    if opened is not None:
        temporary = [key for key in stored if key == keys.whole(job) or key.startswith(keys.segments_of(job))]
        close(job, opened.round, temporary, ports, commit(bare_result(opened, failure), ports))


def commit(result: Result, ports: Ports) -> Result:
    """Store a result, then what is made of it; gives the one that is stored: of two, the first one stands."""
    rendered = _rendered(result)  # what cannot be written in some format must not be half delivered
    key = keys.committed(result.job, result.asked.round)
    if ports.store.create(key, result.to_bytes()):
        _publish(result, rendered, ports)
        return result
    stored = Result.from_bytes(ports.store.get(key))
    publish(stored, ports)
    return stored


def publish(result: Result, ports: Ports) -> None:
    """Store what is made of a result."""
    _publish(result, _rendered(result), ports)


def _rendered(result: Result) -> dict[str, bytes]:
    return {name: formats.render(name, result) for name in result.outputs if name in formats.TRANSCRIPTS}


def _publish(result: Result, rendered: Mapping[str, bytes], ports: Ports) -> None:
    """A later round puts its own in the place of what is there, the document last, unless a still later one began."""
    round = result.asked.round
    if round and ports.store.exists(keys.round_begun(result.job, round + 1)):
        return
    write = ports.store.replace if round else ports.store.create
    for name, data in rendered.items():
        write(result.outputs[name], data, formats.FORMATS[name].CONTENT_TYPE)
    if result.failures:
        write(keys.quarantine(result.job), result.to_bytes())
    elif round:
        ports.store.delete([keys.quarantine(result.job)])
    if round:
        write(keys.result(result.job), result.to_bytes())


def _temporary(seen: Survey, ports: Ports) -> list[str]:
    """What only served the work. Looked for when the result is there: who stores something later sees that."""
    whole = [keys.whole(seen.job)] if seen.whole else []
    return whole + list(ports.store.list(keys.segments_of(seen.job)))


def close(job: str, round: int, temporary: Sequence[str], ports: Ports, result: Result) -> None:
    """Remove what only served the work, in one request where it is little; the job stops being open last of all.

    Only as it was opened up to this round: by now somebody may have opened it again.
    """
    if len(temporary) > 1:
        ports.store.delete(temporary)
        temporary = []
    ports.store.delete([*temporary, *(keys.open_job(job, number) for number in range(round + 1))])
    ports.ledger.close_job(job, ending(result))


def ending(result: Result) -> Ending:
    """How a job ended, and how much media that was."""
    info = result.media.info
    if info is None:
        seconds = result.media.duration or 0.0
    elif info.is_timed:
        seconds = media_seconds(sound=result.media.duration or 0.0)
    else:
        pictures = info.picture.pages if info.picture is not None else 0
        seconds = media_seconds(pictures=pictures, characters=info.characters or 0)
    return Ending(result.job, result.status, seconds, result.asked.round)
