"""From a segment's media to its answer: the speech gate, the task's prompt, the engine, the task's judgement."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Protocol, Self

import numpy as np

from pipeline import tasks
from pipeline.engines import Clip, Reply, Request, Turn
from pipeline.errors import PermanentError, TransientError
from pipeline.job import SAMPLE_RATE, Answer, Job, Span, Work, work_named
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


class Ease:
    """What is asked about as it comes. Entered while a segment is listened to and prepared."""

    ahead = True  #: an engine may begin with it before it is its turn

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def lasts_until(self, answered: Callable[[], Future[Reply]]) -> Future[Reply]:
        """Queue what was prepared, behind the context."""
        return answered()


def _at_ease(name: str, tries: int) -> Ease:
    del name, tries
    return Ease()


class EngineAnswerer:
    """The one that asks an engine."""

    def __init__(
        self,
        serving: Serving,
        assess: Callable[[Clip], Activity],
        engine: str | None = None,
        *,
        around: Callable[[str, int], Ease] = _at_ease,
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
        with self._around(name, tries) as care:
            activity = self._heard(payload, task)
            turns = task.turns(payload, job.options)
            recorded = partial(self._recorded, activity=activity, turns=turns, payload=payload, tries=tries)
            if "no_speech" in activity.flags:
                return partial(recorded, Reply(spans=()))
            request = self._serving.prepare(self._request(name, turns, payload, job, tries, ahead=care.ahead))
        future = care.lasts_until(lambda: self._serving.queue(request))
        return lambda: recorded(self._accepted(future.result(), request, task, job))

    def _heard(self, payload: Payload, task: Task) -> Activity:
        # A question may be about music: what is no speech is remarked on only where speech is wanted.
        is_speech = payload.kind == "sound" and task.about_speech
        return self._assess(tasks.samples(payload.pcm)) if is_speech else _NOT_LISTENED

    def _request(
        self, name: str, turns: tuple[Turn, ...], payload: Payload, job: Job, tries: int, *, ahead: bool
    ) -> Request:
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
            ahead=ahead,
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
    """One after the other: segments that may have killed the process that had them.

    What waits for its turn here, or for the engine behind, is not blamed for what another does.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turn = threading.Lock()

    def __call__(self, name: str, tries: int) -> Ease:
        return _Care(work_named(name), tries, self._ledger, self._turn)


class _Care(Ease):
    """Counts a try while a segment is listened to and prepared. Of one that was tried before, the turn lasts until the
    engine has answered: should that kill the process, no other is just being prepared, and counted.
    """

    ahead = False  # what an engine begins ahead with is not counted

    def __init__(self, work: Work, tries: int, ledger: Ledger, turn: threading.Lock) -> None:
        self._work = work
        self._tries = tries
        self._ledger = ledger
        self._turn = turn

    def __enter__(self) -> Self:
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise TransientError("another segment that may be dangerous takes long")
        try:
            # With the first try that counts goes the one before it, when its process died: two died with this segment
            # in hand, and of the second it is known that it was at it.
            self._ledger.begin([self._work] if self._tries else [self._work, self._work])
        except BaseException:
            self._turn.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger.restore(self._work, self._tries)
        self._turn.release()

    def lasts_until(self, answered: Callable[[], Future[Reply]]) -> Future[Reply]:
        if not self._tries:
            return answered()
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise TransientError("another segment that may be dangerous takes long")
        try:
            future = answered()
        except BaseException:
            self._turn.release()
            raise
        future.add_done_callback(lambda _: self._turn.release())
        return future


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
