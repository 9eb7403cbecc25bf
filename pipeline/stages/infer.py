"""infer: one segment through the engine, in whatever batch the engine's batcher puts it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from pipeline import keys, tasks
from pipeline.engines import Clip, Reply, Request, Turn
from pipeline.errors import MissingObjectError, PermanentError, TransientError
from pipeline.job import SAMPLE_RATE, Answer, Job, Span, Work
from pipeline.ledger import is_segment
from pipeline.media.sound.speech import Activity, assess, within_speech
from pipeline.payload import Payload, unpack
from pipeline.serving import Serving
from pipeline.settings import Speech
from pipeline.stages import Ports
from pipeline.stages.completion import advance
from pipeline.stages.finish import conclude
from pipeline.tasks import Task

AGAIN = ".again"  #: ends the id of a request that asks for a better answer


class Answerer(Protocol):
    def answer(self, name: str, payload: Payload, job: Job, tries: int) -> Answer:
        """Turn a segment's media into an answer. Raises PipelineError.

        `tries` is how often this segment was begun before without an end: it may have killed its worker.
        """


class EngineAnswerer:
    """The real one: the speech gate, the task's prompt, the engine, the task's judgement."""

    def __init__(self, serving: Serving, assess: Callable[[Clip], Activity], engine: str | None = None) -> None:
        """`engine`: the one that jobs must have asked for, as they name it."""
        self._serving = serving
        self._assess = assess
        self._engine = engine

    def answer(self, name: str, payload: Payload, job: Job, tries: int) -> Answer:
        if self._engine is not None and job.engine != self._engine:
            raise TransientError(f"the job asks for {job.engine}; this worker runs {self._engine}")
        task = tasks.named(job.task)
        # A question may be about music: what is no speech is remarked on only where speech is wanted.
        is_speech = payload.kind == "sound" and task.about_speech
        activity = self._assess(tasks.samples(payload.pcm)) if is_speech else _NOT_LISTENED
        turns = task.turns(payload, job.options)
        if "no_speech" in activity.flags:
            return self._recorded(Reply(spans=()), activity, turns, payload, tries)
        request = Request(
            id=name,
            turns=turns,
            task=job.task,
            language=job.options.language,
            max_tokens=task.max_tokens(payload.kind),
            variant=job.options.variant,
            tenant=job.tenant,
            priority=job.priority,
            deadline=self._serving.deadline(),
            alone=tries > 0,
        )
        reply = self._accepted(request, task, job)
        return self._recorded(reply, activity, turns, payload, tries)

    def _accepted(self, request: Request, task: Task, job: Job) -> Reply:
        """The engine's reply, asked for once more when the task finds fault with it."""
        reply = self._serving.submit(request).result()
        wrong = task.wrong(reply.text, job.options)
        if wrong is not None:
            better = replace(request, id=f"{request.id}{AGAIN}", turns=tasks.again(request.turns, reply.text, wrong))
            reply = self._serving.submit(better).result()
            wrong = task.wrong(reply.text, job.options)
        if wrong is not None:
            raise PermanentError(f"the model was asked twice and gave no answer that fits. {wrong}", reply.text[:2000])
        final = task.final(reply.text, job.options)
        return reply if final == reply.text else replace(reply, spans=(Span(start=0.0, end=0.0, text=final),))

    def _recorded(
        self, reply: Reply, activity: Activity, turns: tuple[Turn, ...], payload: Payload, tries: int
    ) -> Answer:
        origin = self._serving.origin
        assert origin is not None, "the engine is loaded before work is taken"
        prompt = tasks.fingerprint(turns, payload.text)
        return Answer(
            spans=_placed(reply, activity),
            flags=tuple(dict.fromkeys((*activity.flags, *reply.flags))),
            origin=origin.model_copy(update={"prompt": prompt, "variant": reply.variant or origin.variant}),
            language=reply.language,
            attempts=tries + 1,
        )


_NOT_LISTENED = Activity(spans=(), flags=())


def _placed(reply: Reply, activity: Activity) -> tuple[Span, ...]:
    """Spans where speech was heard. Those with times of their own leave out the silence before and behind."""
    if not activity.spans:
        return reply.spans
    if any(span.end > span.start for span in reply.spans):
        placed = ((span, within_speech(span.start, span.end, activity.spans)) for span in reply.spans)
        return tuple(Span(start=start, end=end, text=span.text) for span, (start, end) in placed)
    start, end = activity.spans[0][0], activity.spans[-1][1]
    return tuple(Span(start=start, end=end, text=span.text) for span in reply.spans)


def gate(settings: Speech) -> Callable[[Clip], Activity]:
    """What decides whether a clip holds speech, ready for use. Raises WorldError when its libraries are missing."""
    if settings.gate == "none":
        return _everything
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    assess(np.sin(2 * np.pi * 440 * seconds).astype(np.float32))  # loads the libraries now, not in the first segment
    return assess


def _everything(clip: Clip) -> Activity:
    return Activity(spans=((0.0, len(clip) / SAMPLE_RATE),), flags=())


def infer(work: Work, ports: Ports, answerer: Answerer, tries: int = 0) -> None:
    """Answer one segment; with the last of its window, see what the job needs next. A job of one segment ends here."""
    if tries and ports.store.exists(keys.outcome(work)):  # whoever tried before died behind their answer
        advance(work.job, ports, urgent=work.urgent)
        return
    try:
        parcel = unpack(ports.store.get(_place(work)))
    except MissingObjectError:
        advance(work.job, ports, urgent=work.urgent)  # finished meanwhile, or to be cut again
        return
    answer = answerer.answer(work.name, parcel.payload, parcel.job, tries)
    if not is_segment(work):
        conclude(parcel, answer, ports)
        return
    is_first = ports.store.create(keys.outcome(work), answer.to_bytes())
    if ports.ledger.answered(work, parcel.payload.covers if is_first else 0.0):
        advance(work.job, ports, urgent=work.urgent)


def _place(work: Work) -> str:
    """Where the parcel lies."""
    if work.window is None or work.index is None:
        return keys.whole(work.job)
    return keys.segment(work.job, work.window, work.index)
