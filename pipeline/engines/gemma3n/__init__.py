"""Engine `gemma3n`: Gemma 3n on the user's own GPUs, through transformers. Sound, pictures and text, in one batch.

Importing this module loads no torch: who only cuts media reads `capabilities`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.engines import Capabilities, ContinuousEngine, Engine, Outcome, Request, StaticEngine
from pipeline.engines.gemma3n.checkpoint import INSTALL, local_directory, locate
from pipeline.engines.gemma3n.facts import Facts, read
from pipeline.errors import WorldError
from pipeline.job import Origin
from pipeline.settings import Engine as EngineSettings

if TYPE_CHECKING:
    from pipeline.engines.gemma3n.loading import Loaded
    from pipeline.engines.gemma3n.running import ContinuousRun, StaticRun

CPU_SLOTS, CUDA_SLOTS = 8, 64
SLOW = "WITHOUT A GPU: the real Gemma 3n writes a few words a second here"


def create(settings: EngineSettings) -> Engine:
    return Gemma3nEngine(settings) if settings.batching == "continuous" else StaticGemma3nEngine(settings)


class Gemma3nEngine(ContinuousEngine):
    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self._facts = _facts(settings)
        self._slots = settings.max_batch or CPU_SLOTS
        self._run: ContinuousRun | None = None
        self._remarks: tuple[str, ...] = ()

    @property
    def capabilities(self) -> Capabilities:
        return _capabilities(self._facts, self.settings, self._slots)

    def load(self) -> Origin:
        loaded, origin = _load(self.settings)
        from pipeline.engines.gemma3n.running import ContinuousRun

        self._slots = self.settings.max_batch or (CUDA_SLOTS if loaded.model.device.type == "cuda" else CPU_SLOTS)
        self._run = ContinuousRun(loaded, self.settings, self._slots)
        self._remarks = _remarks(self._run, origin)
        return origin

    @property
    def remarks(self) -> Sequence[str]:
        return self._remarks

    @property
    def run(self) -> "ContinuousRun":
        if self._run is None:
            raise RuntimeError("load() the engine first")
        return self._run

    def prepare(self, request: Request) -> Request:
        return self.run.prepare(request)

    @property
    def free_slots(self) -> int:
        return self.run.free_slots

    def admit(self, requests: Sequence[Request]) -> None:
        self.run.admit(requests)

    def look_ahead(self, requests: Sequence[Request], elsewhere: int) -> None:
        self.run.look_ahead(requests, elsewhere)

    def step(self) -> Mapping[str, Outcome]:
        return self.run.step()

    def close(self) -> None:
        self._run = None


class StaticGemma3nEngine(StaticEngine):
    """The same model in plain batches."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self._facts = _facts(settings)
        self._run: StaticRun | None = None
        self._remarks: tuple[str, ...] = ()

    @property
    def capabilities(self) -> Capabilities:
        return _capabilities(self._facts, self.settings, self.settings.max_batch or CPU_SLOTS)

    def load(self) -> Origin:
        loaded, origin = _load(self.settings)
        from pipeline.engines.gemma3n.running import StaticRun

        self._run = StaticRun(loaded, self.settings)
        self._remarks = _remarks(self._run, origin)
        return origin

    @property
    def remarks(self) -> Sequence[str]:
        return self._remarks

    @property
    def run(self) -> "StaticRun":
        if self._run is None:
            raise RuntimeError("load() the engine first")
        return self._run

    def prepare(self, request: Request) -> Request:
        return self.run.prepare(request)

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        return self.run.generate(batch)

    def close(self) -> None:
        self._run = None


def _facts(settings: EngineSettings) -> Facts:
    """Of the checkpoint, where this machine has it as a directory; else those of the published models."""
    directory = local_directory(settings.model)
    return read(directory) if directory is not None and directory.is_dir() else Facts()


def _capabilities(facts: Facts, settings: EngineSettings, slots: int) -> Capabilities:
    return Capabilities(
        kinds=frozenset({"sound", "image", "text"}),
        limits=facts.limits(settings.context_tokens),
        max_batch=slots,
        max_cost=float(slots * settings.context_tokens),  # tokens: every slot has room for a whole context
    )


def _load(settings: EngineSettings) -> "tuple[Loaded, Origin]":
    checkpoint = locate(settings)
    try:
        from pipeline.engines.gemma3n.loading import load
    except ImportError as error:
        raise WorldError(f"Gemma 3n needs torch, torchvision, timm and transformers: {INSTALL} ({error})") from error
    return load(checkpoint, settings)


def _remarks(run: "ContinuousRun | StaticRun", origin: Origin) -> tuple[str, ...]:
    from pipeline.engines.gemma3n.running import cuda_memory

    on_gpu = run.model.device.type == "cuda"
    sizes = ", ".join(run.sizes.names)
    return (
        f"{origin.precision}, {run.memory()}, sizes {sizes}, {run.max_length} tokens a segment",
        cuda_memory() if on_gpu else SLOW,
    )
