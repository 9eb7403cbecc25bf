"""echo: says what it was given. Deterministic, no weights: for dry runs, tests and measuring everything around it."""

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.engines import Capabilities, Outcome, Reply, Request, StaticEngine
from pipeline.job import SAMPLE_RATE, Origin, Span
from pipeline.settings import Engine as EngineSettings


class EchoEngine(StaticEngine):
    """Answers a clip with its length, its level and a digest of its samples, so that equal text means equal sound."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            kinds=frozenset({"audio"}),
            clip_seconds=30.0,
            max_batch=self.settings.max_batch,
            max_cost=float(self.settings.max_batch),
        )

    def load(self) -> Origin:
        return Origin(engine="echo", model="echo", revision="1", versions={})

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        return [echo(request) for request in batch]


def echo(request: Request) -> Reply:
    """The deterministic answer to one clip."""
    seconds = len(request.clip) / SAMPLE_RATE
    samples = np.round(request.clip * 32768).astype("<i2")
    digest = hashlib.sha256(samples.tobytes()).hexdigest()[:8]
    level = float(np.sqrt(np.mean(np.square(request.clip, dtype=np.float64)))) if len(request.clip) else 0.0
    text = f"{seconds:.2f} seconds of sound at level {level:.3f}, digest {digest}."
    return Reply(spans=(Span(start=0.0, end=round(seconds, 3), text=text),))


def create(settings: EngineSettings) -> EchoEngine:
    return EchoEngine(settings)
