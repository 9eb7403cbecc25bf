"""Engine `gemma3n`: Gemma 3n on the user's own GPUs, through transformers. Sound, pictures and text, in one batch.

Importing this module loads no torch: who only cuts media reads `capabilities`.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from pipeline.engines import Capabilities, ContinuousEngine, Engine, Outcome, Request, StaticEngine
from pipeline.engines.gemma3n.checkpoint import INSTALL, local_directory, locate
from pipeline.engines.gemma3n.facts import Facts, read
from pipeline.errors import WorldError
from pipeline.job import Origin
from pipeline.settings import Engine as EngineSettings

if TYPE_CHECKING:
    from pipeline.engines.gemma3n.loading import Loaded
    from pipeline.engines.gemma3n.running import ContinuousRun, Run, StaticRun

AnyRun = TypeVar("AnyRun", bound="Run")

CPU_SLOTS, CUDA_SLOTS = 8, 64
SLOW = "WITHOUT A GPU: the real Gemma 3n writes a few words a second here"


def create(settings: EngineSettings) -> Engine:
    return Gemma3nEngine(settings) if settings.batching == "continuous" else StaticGemma3nEngine(settings)


class _Gemma3n(Engine, Generic[AnyRun]):
    """What both ways to batch share: one model, loaded once."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self._facts = facts_of(settings)
        self._slots = settings.max_batch or CPU_SLOTS
        self._run: AnyRun | None = None
        self._remarks: tuple[str, ...] = ()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            kinds=frozenset({"sound", "image", "text"}),
            has_sizes=True,
            limits=self._facts.limits(self.settings.context_tokens),
            max_batch=self._slots,
            max_cost=float(self._slots * self.settings.context_tokens),  # tokens: every slot has room for a context
        )

    def load(self) -> Origin:
        loaded, origin = _load(self.settings)
        if loaded.model.device.type == "cuda":
            self._slots = self.settings.max_batch or CUDA_SLOTS
        self._run = self._started(loaded)
        self._remarks = _remarks(self._run, origin)
        return origin

    @abstractmethod
    def _started(self, loaded: "Loaded") -> AnyRun: ...

    @property
    def remarks(self) -> Sequence[str]:
        return self._remarks

    @property
    def run(self) -> AnyRun:
        if self._run is None:
            raise RuntimeError("load() the engine first")
        return self._run

    def prepare(self, request: Request) -> Request:
        return self.run.prepare(request)

    def close(self) -> None:
        self._run = None


class Gemma3nEngine(_Gemma3n["ContinuousRun"], ContinuousEngine):
    """Requests join the running batch and leave it."""

    def _started(self, loaded: "Loaded") -> "ContinuousRun":
        from pipeline.engines.gemma3n.running import ContinuousRun

        return ContinuousRun(loaded, self.settings, self._slots)

    @property
    def free_slots(self) -> int:
        return self.run.free_slots

    def admit(self, requests: Sequence[Request]) -> None:
        self.run.admit(requests)

    def look_ahead(self, requests: Sequence[Request], elsewhere: int) -> None:
        self.run.look_ahead(requests, elsewhere)

    def step(self) -> Mapping[str, Outcome]:
        return self.run.step()


class StaticGemma3nEngine(_Gemma3n["StaticRun"], StaticEngine):
    """The same model in plain batches."""

    def _started(self, loaded: "Loaded") -> "StaticRun":
        from pipeline.engines.gemma3n.running import StaticRun

        return StaticRun(loaded, self.settings)

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        return self.run.generate(batch)


def facts_of(settings: EngineSettings) -> Facts:
    """Of the checkpoint, where this machine has it as a directory; else those of the published models."""
    directory = local_directory(settings.model)
    return read(directory) if directory is not None and directory.is_dir() else Facts()


def _load(settings: EngineSettings) -> "tuple[Loaded, Origin]":
    checkpoint = locate(settings)
    try:
        from pipeline.engines.gemma3n.loading import load
    except ImportError as error:
        raise WorldError(f"Gemma 3n needs torch, torchvision, timm and transformers: {INSTALL} ({error})") from error
    return load(checkpoint, settings)


def _remarks(run: "Run", origin: Origin) -> tuple[str, ...]:
    from pipeline.engines.gemma3n.running import cuda_memory

    on_gpu = run.model.device.type == "cuda"
    sizes = ", ".join(run.sizes.names)
    return (
        f"{origin.precision}, {run.memory()}, sizes {sizes}, {run.max_length} tokens a segment",
        cuda_memory() if on_gpu else SLOW,
    )
