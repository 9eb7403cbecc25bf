"""The finished document of a job, as a function of what the bucket holds. Pure."""

from collections.abc import Iterator, Mapping
from itertools import groupby

from pipeline import __version__, formats, keys
from pipeline.job import (
    Answer,
    Failure,
    Job,
    Kind,
    MediaInfo,
    Origin,
    Plan,
    Provenance,
    Result,
    ResultMedia,
    Segment,
    Span,
    Status,
    TextSegment,
    Windows,
)
from pipeline.media.video.choice import parse
from pipeline.stages.captions import timeline
from pipeline.stages.completion import Place, Survey

Answers = Mapping[Place, Answer | Failure]


def assemble(job: Job, seen: Survey, answers: Answers) -> Result:
    """The finished document, as a function of what the bucket holds."""
    if isinstance(seen.prepared, Failure):
        return bare_result(job, seen.prepared)
    segments = timeline(_segments(seen, answers), step=_gap(seen))
    failures = tuple(_failures(seen, answers))
    status = _status(seen, segments, failures)
    answered = [answer for answer in answers.values() if isinstance(answer, Answer)]
    return Result(
        job=job.id,
        status=status,
        error=_error(status, failures),
        task=job.task,
        media=_media(job, seen),
        language=_most_common([answer.language for answer in answered if answer.language]),
        text=_text(seen, segments, answers),
        folded=_last_fold(seen) is not None,
        segments=segments,
        outputs=outputs(job.id, None if seen.prepared is None else seen.prepared.media),
        failures=failures,
        asked=job.lasting,
        provenance=_provenance(job, seen, answered, failures),
    )


def _gap(seen: Survey) -> float:
    """Seconds from one frame that is looked at to the next."""
    return parse(seen.prepared.frames).gap if isinstance(seen.prepared, Windows) else 1.0


def bare_result(job: Job, failure: Failure) -> Result:
    """The result of a job that gave no text at all."""
    return Result(
        job=job.id,
        status="failed",
        error=failure.reason,
        task=job.task,
        media=_media(job, None),
        language=None,
        text="",
        segments=(),
        outputs={"json": keys.result(job.id)},
        failures=(failure,),
        asked=job.lasting,
        provenance=_provenance(job, None, [], [failure]),
    )


def outputs(job: str, media: MediaInfo | None = None) -> dict[str, str]:
    """Where each format of a finished job lies in the bucket. Captions are made only of what has times.

    Beside them, the subtitles that its media brought along.
    """
    made = {
        name: keys.result(job) if name == "json" else keys.transcript(job, form.SUFFIX)
        for name, form in formats.FORMATS.items()
        if media is None or media.is_timed or not form.TIMED
    }
    brought = [stream.output for stream in media.subtitles if stream.output] if media is not None else []
    return made | {name: keys.subtitles(job, name) for name in brought}


def _last_fold(seen: Survey) -> Plan | Failure | None:
    """The plan of the last fold; None when the answers were not put together, or there was nothing to put together."""
    if not isinstance(seen.prepared, Windows):
        return None
    folds = [window for window in seen.planned if window >= len(seen.prepared.windows)]
    last = seen.planned[max(folds)] if folds else None
    return None if isinstance(last, Plan) and not last.segments else last


def _text(seen: Survey, segments: tuple[TextSegment, ...], answers: Answers) -> str:
    """The answer of the last fold. Without folds, the text of all segments: one per line where it is not speech, and
    what each speaker says in one go where they are told apart."""
    fold = _last_fold(seen)
    if isinstance(fold, Failure):
        return ""
    if fold is not None:
        last = [answers.get((fold.window, segment.index)) for segment in fold.segments]
        return "\n".join(answer.text for answer in last if isinstance(answer, Answer))
    if any(segment.speaker for segment in segments):
        turns = groupby((segment for segment in segments if segment.text), lambda segment: segment.speaker)
        return "\n".join(f"{speaker}: {' '.join(said.text for said in turn)}" for speaker, turn in turns)
    mark = " " if all(segment.kind == "sound" for segment in segments) else "\n"
    return mark.join(segment.text for segment in segments if segment.text)


def _segments(seen: Survey, answers: Answers) -> Iterator[TextSegment]:
    """Each kind by itself within a window; what failed or could not be read is marked."""
    windows = seen.prepared.windows if isinstance(seen.prepared, Windows) else ()
    for window in windows:
        plan = seen.planned.get(window.index)
        if isinstance(plan, Failure):
            end = window.end if window.end is not None else _promised_end(seen, window.start)
            yield _missing(window.start, end, plan)
        elif isinstance(plan, Plan):
            for segment in plan.segments:
                yield from _spoken(segment, answers.get((window.index, segment.index)), plan.flags)
            if plan.missing is not None:
                yield _missing(plan.end, plan.missing_until or plan.end, plan.missing)


def _promised_end(seen: Survey, start: float) -> float:
    promised = seen.prepared.media.duration if isinstance(seen.prepared, Windows) else None
    return max(promised or start, start)


def _spoken(segment: Segment, answer: Answer | Failure | None, flags: tuple[str, ...]) -> Iterator[TextSegment]:
    if answer is None:  # only in a cancelled job
        return
    if isinstance(answer, Failure):
        yield _missing(segment.start, segment.end, answer, segment.kind, segment.speaker)
        return
    flags = (*flags, *answer.flags)
    if not answer.spans:
        # Never silently: of sound, it means that nobody speaks; of anything else, that the model had nothing to say.
        marked = tuple(dict.fromkeys((*flags, "no_speech" if segment.kind == "sound" else "empty")))
        yield TextSegment(
            start=segment.start, end=segment.end, text="", kind=segment.kind, flags=marked, speaker=segment.speaker
        )
    for span in answer.spans:
        start, end = _times(segment, span)
        yield TextSegment(start=start, end=end, text=span.text, kind=segment.kind, flags=flags, speaker=segment.speaker)


def _times(segment: Segment, span: Span) -> tuple[float, float]:
    """Where a span lies in the media. One without a length of its own is about the whole segment."""
    if span.end <= span.start:
        return segment.start, segment.end
    start, end = (min(segment.start + time, segment.end) for time in (span.start, span.end))
    return round(start, 3), round(end, 3)


def _missing(
    start: float, end: float, failure: Failure, kind: Kind = "sound", speaker: str | None = None
) -> TextSegment:
    return TextSegment(
        start=start, end=end, text="", kind=kind, flags=("missing",), reason=failure.reason, speaker=speaker
    )


def _failures(seen: Survey, answers: Answers) -> Iterator[Failure]:
    for plan in (seen.planned[window] for window in sorted(seen.planned)):
        if isinstance(plan, Failure):
            yield plan
        elif plan.missing is not None:
            yield plan.missing
    for place in sorted(answers):
        answer = answers[place]
        if isinstance(answer, Failure):
            yield answer


def _status(seen: Survey, segments: tuple[TextSegment, ...], failures: tuple[Failure, ...]) -> Status:
    """A file that is itself damaged is failed, though the text of what could be read is delivered with it."""
    if seen.cancelled:
        return "cancelled"
    damaged = any(isinstance(plan, Plan) and plan.missing is not None for plan in seen.planned.values())
    if not failures:
        return "done"
    if damaged or all("missing" in segment.flags for segment in segments):
        return "failed"
    return "partial"


def _error(status: Status, failures: tuple[Failure, ...]) -> str | None:
    if status == "cancelled":
        return "cancelled"
    reasons = list(dict.fromkeys(failure.reason for failure in failures))
    return "; ".join(reasons) or None


def _media(job: Job, seen: Survey | None) -> ResultMedia:
    info = seen.prepared.media if seen is not None and isinstance(seen.prepared, Windows) else None
    plans = [plan for plan in seen.planned.values() if isinstance(plan, Plan)] if seen is not None else []
    return ResultMedia(
        name=job.media.name,
        sha256=_sha256(job, seen),
        size=job.media.size,
        duration=max((plan.end for plan in plans), default=None) if info is None or info.is_timed else None,
        info=info,
    )


def _sha256(job: Job, seen: Survey | None) -> str | None:
    """Of the media: as it was submitted, or as it was found by whoever read it."""
    read = seen.prepared.sha256 if seen is not None and isinstance(seen.prepared, Windows) else None
    return job.media.sha256 or read


def _provenance(
    job: Job, seen: Survey | None, answered: list[Answer], failures: list[Failure] | tuple[Failure, ...]
) -> Provenance:
    origins: dict[str, Origin] = {answer.origin.model_dump_json(): answer.origin for answer in answered}
    return Provenance(
        reelmill=__version__,
        engine_asked=job.engine,
        origins=tuple(origins[name] for name in sorted(origins)),
        input_sha256=_sha256(job, seen),
        attempts=max((ended.attempts for ended in (*answered, *failures)), default=1),
    )


def _most_common(values: list[str]) -> str | None:
    return max(sorted(set(values)), key=values.count, default=None)
