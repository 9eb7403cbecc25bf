"""The finished document of a job, as a function of what the bucket holds. Pure."""

import heapq
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
from pipeline.stages.captions import MERGED, STILL, timeline
from pipeline.stages.completion import Place, Survey

Answers = Mapping[Place, Answer | Failure]
_ABOUT = 1.0  # seconds within which ends of sound and of video are the same
#: Seconds between two clips from which on it is said that nobody speaks there: no clip has such a silence in it.
_SILENCE = 8.0
#: Flags of a plan that are about its sound alone.
_OF_SOUND = frozenset({"quiet", "out_of_phase"})


def assemble(job: Job, seen: Survey, answers: Answers) -> Result:
    """The finished document, as a function of what the bucket holds."""
    if isinstance(seen.prepared, Failure):
        return bare_result(job, seen.prepared)
    answered_segments = timeline(_segments(seen, answers), step=_gap(seen))
    segments = tuple(heapq.merge(answered_segments, _silences(seen), key=lambda segment: segment.start))
    failures = tuple(_failures(seen, answers))
    status = _status(seen, answered_segments, failures)
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
    if not isinstance(seen.prepared, Windows):
        return
    for window in seen.prepared.windows:
        plan = seen.planned.get(window.index)
        if isinstance(plan, Failure):
            end = window.end if window.end is not None else _promised_end(seen.prepared, window.start)
            yield _missing(window.start, end, plan, seen.prepared.kinds[0])
        elif isinstance(plan, Plan):
            found = [
                piece
                for segment in plan.segments
                for piece in _spoken(segment, answers.get((window.index, segment.index)), _flags(plan, segment.kind))
            ]
            pages = _unread_pages(plan, seen.prepared)
            yield from _stills(plan, seen.prepared.kinds)
            yield from sorted([*found, *pages], key=lambda page: page.start) if pages else found
            yield from () if pages else _unread(plan, seen.prepared)


def _stills(plan: Plan, kinds: tuple[Kind, ...]) -> Iterator[TextSegment]:
    """Of what is seen, the stretch at the start of a window in which no new frame is shown."""
    for kind in kinds:
        first = min((segment.start for segment in plan.segments if segment.kind == kind), default=plan.end)
        if kind in MERGED and first > plan.start:
            yield TextSegment(start=plan.start, end=first, text="", kind=kind, flags=(STILL,))


def _unread_pages(plan: Plan, windows: Windows) -> list[TextSegment]:
    """The pages of a picture file that are not there."""
    if plan.missing is None or windows.kinds != ("picture",) or windows.media.picture is None:
        return []
    there = {segment.start for segment in plan.segments}
    pages = (float(page) for page in range(windows.media.picture.pages))
    return [_missing(page, page, plan.missing, "picture") for page in pages if page not in there]


def _unread(plan: Plan, windows: Windows) -> Iterator[TextSegment]:
    """What could not be read of a window, from some place on: of two kinds, the one of which nothing lies behind it."""
    if plan.missing is not None:
        reached = {segment.kind for segment in plan.segments if segment.end > plan.end + _ABOUT}
        kind = next((kind for kind in windows.kinds if kind not in reached), windows.kinds[0])
        yield _missing(plan.end, plan.missing_until or plan.end, plan.missing, kind)


def _flags(plan: Plan, kind: Kind) -> tuple[str, ...]:
    """What is known of a window that concerns its segments of that kind."""
    return tuple(flag for flag in plan.flags if kind in ("sound", "scene") or flag not in _OF_SOUND)


def _silences(seen: Survey) -> Iterator[TextSegment]:
    """Where speech was looked for, and no clip of it was found."""
    prepared = seen.prepared
    if not isinstance(prepared, Windows) or "sound" not in prepared.kinds:
        return
    for window in prepared.windows:
        plan = seen.planned.get(window.index)
        if isinstance(plan, Plan):
            for start, end in _gaps(plan):
                yield TextSegment(start=start, end=end, text="", flags=("no_speech", *plan.flags))


def _gaps(plan: Plan) -> Iterator[tuple[float, float]]:
    """The stretches of a window that no clip covers: long ones, and all of a window without any clip."""
    clips = sorted((segment.start, segment.end) for segment in plan.segments if segment.kind == "sound")
    place = plan.start
    for start, end in (*clips, (plan.end, plan.end)):
        if start - place >= _SILENCE or (not clips and start > place):
            yield place, start
        place = max(place, end)


def _promised_end(windows: Windows, start: float) -> float:
    """Where the media ends by its own account: in seconds, characters, or the number of its last page."""
    info = windows.media
    is_seen = not MERGED.isdisjoint(windows.kinds)
    ends = [info.duration, info.video.promised if info.video is not None and is_seen else None, info.characters]
    ends += [info.picture.pages - 1 if info.picture is not None else None]
    return max(start, *(float(end or 0) for end in ends))


def _spoken(segment: Segment, answer: Answer | Failure | None, flags: tuple[str, ...]) -> Iterator[TextSegment]:
    if answer is None:  # only in a cancelled job
        return
    if isinstance(answer, Failure):
        yield _missing(segment.start, segment.end, answer, segment.kind, segment.speaker)
        return
    flags = tuple(dict.fromkeys((*flags, *answer.flags)))
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


def _missing(start: float, end: float, failure: Failure, kind: Kind, speaker: str | None = None) -> TextSegment:
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
