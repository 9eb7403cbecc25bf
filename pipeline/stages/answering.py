"""From a segment's media to its answer: the speech gate, the task's prompt, the engine, the task's judgement."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from pipeline import tasks
from pipeline.engines import Clip, Reply, Request, Turn
from pipeline.errors import PermanentError, TransientError
from pipeline.job import SAMPLE_RATE, Answer, Job, Span
from pipeline.media.sound.speech import Activity, assess, within_speech
from pipeline.payload import Payload
from pipeline.serving import Serving
from pipeline.settings import Speech
from pipeline.tasks import Task

AGAIN = ".again"  #: ends the id of a request that asks for a better answer


class Answerer(Protocol):
    def ask(self, name: str, payload: Payload, job: Job, tries: int) -> Callable[[], Answer]:
        """Begin to turn a segment's media into an answer; what it gives waits for that. Both raise PipelineError.

        `tries` is how often this segment was begun before without an end: it may have killed its worker.
        """


class EngineAnswerer:
    """The one that asks an engine."""

    def __init__(self, serving: Serving, assess: Callable[[Clip], Activity], engine: str | None = None) -> None:
        """`engine`: the one that jobs must have asked for, as they name it."""
        self._serving = serving
        self._assess = assess
        self._engine = engine

    def ask(self, name: str, payload: Payload, job: Job, tries: int) -> Callable[[], Answer]:
        if self._engine is not None and job.engine != self._engine:
            raise TransientError(f"the job asks for {job.engine}; this worker runs {self._engine}")
        task = tasks.named(job.task)
        # A question may be about music: what is no speech is remarked on only where speech is wanted.
        is_speech = payload.kind == "sound" and task.about_speech
        activity = self._assess(tasks.samples(payload.pcm)) if is_speech else _NOT_LISTENED
        turns = task.turns(payload, job.options)
        recorded = partial(self._recorded, activity=activity, turns=turns, payload=payload, tries=tries)
        if "no_speech" in activity.flags:
            return partial(recorded, Reply(spans=()))
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
        future = self._serving.submit(request)
        return lambda: recorded(self._accepted(future.result(), request, task, job))

    def _accepted(self, reply: Reply, request: Request, task: Task, job: Job) -> Reply:
        """The engine's reply, asked for once more when the task finds fault with it."""
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
