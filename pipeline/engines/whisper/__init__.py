"""Engine `whisper`: faster-whisper on CPU or CUDA, for speech without Gemma weights.

Importing this module loads neither faster-whisper nor CTranslate2: who cuts media only reads `capabilities`.
"""

import logging
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from pipeline.engines import Capabilities, Outcome, Request, StaticEngine
from pipeline.engines.whisper.decode import WINDOW_SECONDS, Decoder
from pipeline.engines.whisper.weights import INSTALL, locate
from pipeline.errors import PermanentError, ResourceError, WorldError
from pipeline.job import SAMPLE_RATE, Origin, SegmentLimits
from pipeline.settings import Engine as EngineSettings

MAX_SAMPLES = int((WINDOW_SECONDS + 0.1) * SAMPLE_RATE)  # cutting may round up by a little
OUT_OF_MEMORY = ("out of memory", "bad allocation", "failed to allocate", "bad_alloc")

log = logging.getLogger(__name__)


def create(settings: EngineSettings) -> "WhisperEngine":
    return WhisperEngine(settings)


class WhisperEngine(StaticEngine):
    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self._decoder: Decoder | None = None

    @property
    def capabilities(self) -> Capabilities:
        most = self.settings.max_batch or 8
        return Capabilities(
            kinds=frozenset({"sound"}),
            tasks=frozenset({"transcribe"}),
            limits=SegmentLimits(clip_seconds=float(WINDOW_SECONDS)),
            max_batch=most,
            max_cost=float(most),  # every clip is padded to the same length and costs the same
        )

    def load(self) -> Origin:
        weights = locate(self.settings.model)
        model = _open(str(weights.path), self.settings)
        self._decoder = Decoder(model)
        if model.model.device == "cuda":
            self._prove()
        log.info("whisper %s runs on %s (%s)", self.settings.model, model.model.device, model.model.compute_type)
        versions = {name: version(name) for name in ("faster-whisper", "ctranslate2")}
        return Origin(engine="whisper", model=self.settings.model, revision=weights.revision, versions=versions)

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        """See `StaticEngine.generate`. A clip that is no finite mono sound, or longer than a window, fails alone."""
        if self._decoder is None:
            raise RuntimeError("load() the engine first")
        refusals = [refusal(request, self._decoder.languages) for request in batch]
        good = [request for request, reason in zip(batch, refusals, strict=True) if reason is None]
        try:
            clips, languages = [request.clips[0] for request in good], [request.language for request in good]
            replies = iter(self._decoder.transcribe(clips, languages))
        except MemoryError as error:
            raise ResourceError("the engine ran out of memory", str(error)) from error
        except RuntimeError as error:
            if any(sign in str(error).lower() for sign in OUT_OF_MEMORY):
                raise ResourceError("the engine ran out of memory", str(error)) from error
            raise
        return [PermanentError(reason) if reason else next(replies) for reason in refusals]

    def close(self) -> None:
        self._decoder = None

    def _prove(self) -> None:
        """Missing CUDA libraries show only when the first kernel runs: better now than in the first job."""
        assert self._decoder is not None
        try:
            self._decoder.transcribe([np.zeros(SAMPLE_RATE, dtype=np.float32)], [None])
        except RuntimeError as error:
            raise WorldError(f"whisper does not run on this machine's GPU: {error}") from error


def refusal(request: Request, languages: frozenset[str]) -> str | None:
    """Why a request cannot be answered, in plain words; None when it can."""
    if request.kind != "sound" or len(request.clips) != 1:
        return "whisper takes one clip of sound, and nothing else"
    clip = request.clips[0]
    if clip.dtype != np.float32 or clip.ndim != 1:
        return f"the clip is not mono float32 sound but {clip.dtype} of shape {clip.shape}"
    if not np.isfinite(clip).all():
        return "the clip holds samples that are not numbers"
    if clip.size > MAX_SAMPLES:
        return f"the clip is {clip.size / SAMPLE_RATE:.1f} s long, whisper takes {WINDOW_SECONDS} s"
    if request.language is not None and request.language not in languages:
        known = "English" if languages == {"en"} else f"{len(languages)} languages"
        return f"the model knows {known}, not {request.language!r}"
    return None


def _open(path: str, settings: EngineSettings) -> Any:
    """Load the weights onto a device. Raises WorldError when the device or the files are unfit."""
    try:
        import ctranslate2
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise WorldError(f"faster-whisper is not installed: {INSTALL}") from error
    device = settings.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"
    compute_type = "float16" if device == "cuda" else "int8"
    threads = settings.threads or os.cpu_count() or 1
    try:
        return WhisperModel(path, device=device, compute_type=compute_type, cpu_threads=threads)
    except (RuntimeError, ValueError, OSError) as error:
        raise WorldError(f"whisper could not be loaded from {path} on {device}: {error}") from error
