"""From a segment's media to its answer: the speech gate, the task's prompt, the engine, the task's judgement."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from pipeline import tasks
from pipeline.engines import Clip, Reply, Request, Turn
from pipeline.errors import PermanentError, TransientError
from pipeline.job import SAMPLE_RATE, Answer, Job, Span, work_named
from pipeline.ledger import Ledger
from pipeline.media.sound.speech import Activity, assess, within_speech
from pipeline.payload import Payload
from pipeline.serving import Serving
from pipeline.settings import Speech
from pipeline.tasks import Task

AGAIN = ".again"  #: ends the id of a request that asks for a better answer
TURN_SECONDS = 60  #: longest wait for the one before, where one is prepared at a time


class Answerer(Protocol):
    def ask(self, name: str, payload: Payload, job: Job, tries: int) -> Callable[[], Answer]:
        """Begin to turn a segment's media into an answer; what it gives waits for that. Both raise PipelineError.

        `tries` is how often this segment was begun before without an end: it may have killed its worker.
        """


def _at_ease(name: str, tries: int) -> AbstractContextManager[None]:
    del name, tries
    return nullcontext()


class EngineAnswerer:
    """The one that asks an engine."""

    def __init__(
        self,
        serving: Serving,
        assess: Callable[[Clip], Activity],
        engine: str | None = None,
        *,
        around: Callable[[str, int], AbstractContextManager[None]] = _at_ease,
    ) -> None:
        """`engine`: the one that jobs must have asked for, as they name it.

        `around` is entered with the name and the tries of a segment while that is listened to and prepared. It is left
        before the segment is queued.
        """
        self._serving = serving
        self._assess = assess
        self._engine = engine
        self._around = around

    def ask(self, name: str, payload: Payload, job: Job, tries: int) -> Callable[[], Answer]:
        if self._engine is not None and job.engine != self._engine:
            raise TransientError(f"the job asks for {job.engine}; this worker runs {self._engine}")
        task = tasks.named(job.task)
        with self._around(name, tries):
            activity = self._heard(payload, task)
            turns = task.turns(payload, job.options)
            recorded = partial(self._recorded, activity=activity, turns=turns, payload=payload, tries=tries)
            if "no_speech" in activity.flags:
                return partial(recorded, Reply(spans=()))
            request = self._serving.prepare(self._request(name, turns, payload, job, tries))
        future = self._serving.queue(request)
        return lambda: recorded(self._accepted(future.result(), request, task, job))

    def _heard(self, payload: Payload, task: Task) -> Activity:
        # A question may be about music: what is no speech is remarked on only where speech is wanted.
        is_speech = payload.kind == "sound" and task.about_speech
        return self._assess(tasks.samples(payload.pcm)) if is_speech else _NOT_LISTENED

    def _request(self, name: str, turns: tuple[Turn, ...], payload: Payload, job: Job, tries: int) -> Request:
        return Request(
            id=name,
            turns=turns,
            task=job.task,
            language=job.options.language,
            max_tokens=tasks.named(job.task).max_tokens(payload.kind),
            variant=job.options.variant,
            tenant=job.tenant,
            priority=job.priority,
            deadline=self._serving.deadline(),
            alone=tries > 0,
        )

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


class Caution:
    """Counts a try at a segment while it is listened to and prepared; one segment at a time.

    For what may have killed the process that had it. What waits for its turn here, or for the engine behind, is not
    blamed for what another does.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turn = threading.Lock()

    @contextmanager
    def __call__(self, name: str, tries: int) -> Iterator[None]:
        work = work_named(name)
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise TransientError("another segment that may be dangerous takes long to be prepared")
        try:
            # With the first try that counts goes the one before it, when its process died: two died with this segment
            # in hand, and of the second it is known that it was at it.
            self._ledger.begin([work] if tries else [work, work])
            yield
        finally:
            self._ledger.restore(work, tries)
            self._turn.release()


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
