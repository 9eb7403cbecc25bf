"""echo: says what it was given. Deterministic, no weights: for dry runs, tests and measuring everything around it."""

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.engines import Capabilities, Clip, Outcome, Reply, Request, StaticEngine, untimed
from pipeline.job import SAMPLE_RATE, Origin, SegmentLimits, Span
from pipeline.settings import Engine as EngineSettings


class EchoEngine(StaticEngine):
    """Answers with the length, level and digest of what it was given, so that equal text means equal media."""

    @property
    def capabilities(self) -> Capabilities:
        most = self.settings.max_batch or 8
        return Capabilities(
            kinds=frozenset({"sound", "image", "text"}),
            limits=SegmentLimits(images=16),
            max_batch=most,
            max_cost=float(most),
        )

    def load(self) -> Origin:
        return Origin(engine="echo", model="echo", revision="1", versions={})

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        return [echo(request) for request in batch]


def echo(request: Request) -> Reply:
    """The deterministic answer to one request."""
    if request.kind == "sound" and request.task == "transcribe":
        clip = request.clips[0]
        return Reply(spans=(Span(start=0.0, end=round(len(clip) / SAMPLE_RATE, 3), text=_sound(clip)),))
    said = [part for part in request.turns[-1].parts if isinstance(part, str)]
    parts = [*(_image(image) for image in request.images), *(_sound(clip) for clip in request.clips)]
    return Reply(spans=untimed(" ".join([*parts, f"Asked: {' '.join(said)}"])))


def _sound(clip: Clip) -> str:
    seconds = len(clip) / SAMPLE_RATE
    digest = hashlib.sha256(np.round(clip * 32768).astype("<i2").tobytes()).hexdigest()[:8]
    level = float(np.sqrt(np.mean(np.square(clip, dtype=np.float64)))) if len(clip) else 0.0
    return f"{seconds:.2f} seconds of sound at level {level:.3f}, digest {digest}."


def _image(data: bytes) -> str:
    return f"A picture of {len(data)} bytes, digest {hashlib.sha256(data).hexdigest()[:8]}."


def create(settings: EngineSettings) -> EchoEngine:
    return EchoEngine(settings)
