"""infer: one segment through the engine, in whatever batch the engine's batcher puts it."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from pipeline import keys
from pipeline.engines import Clip, Request
from pipeline.errors import MissingObjectError
from pipeline.job import SAMPLE_RATE, Answer, Options, Work
from pipeline.media.speech import Activity, assess
from pipeline.serving import Serving
from pipeline.settings import Speech
from pipeline.stages import Ports
from pipeline.stages.completion import advance, read_job, window_closed

BYTES_PER_SECOND = SAMPLE_RATE * 2  # s16


class Recognizer(Protocol):
    def recognize(self, name: str, pcm: bytes, options: Options, tries: int) -> Answer:
        """Turn 16 kHz mono s16le sound into an answer. Raises PipelineError.

        `tries` is how often this segment was begun before without an end: it may have killed its worker.
        """


class EngineRecognizer:
    """The real one: the speech gate, then the engine."""

    def __init__(self, serving: Serving, assess: Callable[[Clip], Activity]) -> None:
        self._serving = serving
        self._assess = assess

    def recognize(self, name: str, pcm: bytes, options: Options, tries: int) -> Answer:
        clip = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
        activity = self._assess(clip)
        origin = self._serving.origin
        assert origin is not None, "the engine is loaded before work is taken"
        if "no_speech" in activity.flags:
            return Answer(spans=(), flags=activity.flags, origin=origin, attempts=tries + 1)
        request = Request(
            id=name,
            kind="audio",
            clip=clip,
            language=options.language,
            deadline=self._serving.deadline(),
            alone=tries > 0,
        )
        reply = self._serving.submit(request).result()
        return Answer(
            spans=reply.spans,
            flags=tuple(dict.fromkeys((*activity.flags, *reply.flags))),
            origin=origin,
            language=reply.language,
            attempts=tries + 1,
        )


def gate(settings: Speech) -> Callable[[Clip], Activity]:
    """What decides whether a clip holds speech, ready for use. Raises WorldError when its libraries are missing."""
    if settings.gate == "none":
        return _everything
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    assess(np.sin(2 * np.pi * 440 * seconds).astype(np.float32))  # loads the libraries now, not in the first segment
    return assess


def _everything(clip: Clip) -> Activity:
    return Activity(spans=((0.0, len(clip) / SAMPLE_RATE),), flags=())


def infer(work: Work, ports: Ports, recognizer: Recognizer, tries: int = 0) -> None:
    """Answer one segment, then look whether that completed its window."""
    assert work.window is not None
    assert work.index is not None
    key = keys.answer(work.job, work.window, work.index)
    if not ports.store.exists(key):
        try:
            pcm = ports.store.get(keys.segment(work.job, work.window, work.index))
        except MissingObjectError:
            advance(work.job, ports)  # finished meanwhile, or to be cut again
            return
        answer = recognizer.recognize(work.name, pcm, read_job(ports, work.job).options, tries)
        if ports.store.create(key, answer.to_bytes()):
            ports.ledger.add(work.job, done=len(pcm) / BYTES_PER_SECOND)
    if window_closed(work.job, work.window, ports):
        advance(work.job, ports)
