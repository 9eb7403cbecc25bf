"""The contract of an engine: a loaded model that turns segments into text. Every other file here is one engine.

A *static* engine takes a batch and answers all of it. A *continuous* engine has slots that requests join and leave,
one step at a time. Who feeds either of them is `pipeline/serving.py`, from one thread; an engine needs no locks.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError, UsageError
from pipeline.job import Origin, Span
from pipeline.settings import Engine as EngineSettings

Clip = NDArray[np.float32]
Kind = Literal["audio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine takes; known before it is loaded, so that media can be cut for it elsewhere."""

    kinds: frozenset[Kind]
    clip_seconds: float  #: longest clip
    max_batch: int  #: requests in one batch (static) or slots (continuous)
    max_cost: float  #: sum of the costs of one batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One segment on its way through an engine."""

    id: str
    kind: Kind
    clip: Clip  #: mono, SAMPLE_RATE, float32 in [-1, 1], shape (samples,)
    language: str | None = None
    cost: float = 1.0  #: in the engine's own unit, see `Engine.cost`
    deadline: float = 0.0  #: on the batcher's clock: when it should have been handed out
    alone: bool = False  #: it may have killed a worker: give it a batch of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an engine made of a request. Times are seconds from the start of its clip."""

    spans: tuple[Span, ...]
    flags: tuple[str, ...] = ()
    language: str | None = None


#: One outcome per request of a batch, in order.
Outcome = Reply | PipelineError


class Engine(ABC):
    """Common part of both kinds."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities: ...

    @abstractmethod
    def load(self) -> Origin:
        """Read the weights and be ready to work. Raises WorldError that says what to do when they are missing."""

    def cost(self, request: Request) -> float:
        """Share of `max_cost` that a request takes up."""
        del request
        return 1.0

    def close(self) -> None:  # noqa: B027 - an engine without a device has nothing to give back
        """Give back memory and devices."""


class StaticEngine(Engine):
    @abstractmethod
    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        """Answer each request of a batch, in order.

        An item that is bad comes back as its own PipelineError. An exception fails the batch as a whole: the caller
        then tries smaller ones. Raises ResourceError when the batch is too large for the device.
        """


class ContinuousEngine(Engine):
    @property
    @abstractmethod
    def free_slots(self) -> int: ...

    @abstractmethod
    def admit(self, requests: Sequence[Request]) -> None:
        """Take requests into free slots; at most `free_slots` of them."""

    @abstractmethod
    def step(self) -> Mapping[str, Outcome]:
        """Advance every running request by one step; returns those that ended, by request id."""


def create(settings: EngineSettings) -> Engine:
    """The engine that the settings name, not yet loaded. A new engine is one new file with a `create(settings)`."""
    try:
        module = import_module(f"pipeline.engines.{settings.name}")
    except ModuleNotFoundError as error:
        if error.name != f"pipeline.engines.{settings.name}":
            raise
        raise UsageError(f"there is no engine named {settings.name!r}") from error
    engine: Engine = module.create(settings)
    return engine
