"""The contract of an engine: a loaded model that turns requests into text. Every other file here is one engine.

A *static* engine takes a batch and answers all of it. A *continuous* engine has slots that requests join and leave,
one step at a time. Who feeds either of them is `pipeline/serving.py`, from one thread; an engine needs no locks, but
for `prepare`, which is called from many threads at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError, UsageError
from pipeline.job import Origin, Priority, SegmentLimits, Span
from pipeline.settings import Engine as EngineSettings

Clip = NDArray[np.float32]
Kind = Literal["sound", "image", "text"]


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A clip in a prompt: mono, SAMPLE_RATE, float32 in [-1, 1], shape (samples,)."""

    clip: Clip


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a prompt: an encoded JPEG, upright."""

    data: bytes


Part = str | Sound | Image


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says in a conversation; media before the words about it."""

    role: Literal["system", "user", "model"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine takes; known before it is loaded, so that media can be cut for it elsewhere."""

    kinds: frozenset[Kind]
    tasks: frozenset[str] | None = None  #: the tasks it can do; None: whatever it is asked in words
    has_sizes: bool = False  #: whether `--variant` means something to it
    limits: SegmentLimits = field(default_factory=SegmentLimits)
    max_batch: int  #: requests in one batch (static) or slots (continuous)
    max_cost: float  #: sum of the costs of one batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One segment on its way through an engine."""

    id: str
    turns: tuple[Turn, ...]  #: the last one is the user's
    task: str = "transcribe"
    language: str | None = None  #: ISO 639-1 hint of what is spoken
    max_tokens: int = 512  #: most that may be written
    variant: str | None = None  #: size of the model, `auto`, or the whole
    inputs: Any = field(default=None, repr=False)  #: what the engine's `prepare` made of the turns
    cost: float = 1.0  #: in the engine's own unit, see `Engine.prepare`
    deadline: float = 0.0  #: on the batcher's clock: when it should have been handed out
    tenant: str = "default"  #: whose it is: tenants share an engine alike, by cost
    priority: Priority = "normal"  #: orders the requests of one tenant
    alone: bool = False  #: it may have killed a worker: give it a batch of its own
    ahead: bool = True  #: an engine may begin with it before it is its turn, and before a try is counted

    @property
    def clips(self) -> tuple[Clip, ...]:
        return tuple(part.clip for turn in self.turns for part in turn.parts if isinstance(part, Sound))

    @property
    def images(self) -> tuple[bytes, ...]:
        return tuple(part.data for turn in self.turns for part in turn.parts if isinstance(part, Image))

    @property
    def kind(self) -> Kind:
        """What makes it costly: requests of one kind share a static batch."""
        if self.images:
            return "image"
        return "sound" if self.clips else "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an engine made of a request.

    An engine that knows when words are said gives spans, in seconds from the start of the clip; any other gives the
    whole text as one span from 0 to 0.
    """

    spans: tuple[Span, ...]
    flags: tuple[str, ...] = ()
    language: str | None = None
    variant: str | None = None  #: the size of the model that answered, where it has several

    @property
    def text(self) -> str:
        return " ".join(span.text for span in self.spans)


def untimed(text: str) -> tuple[Span, ...]:
    """The spans of an engine that does not know when words are said."""
    return (Span(start=0.0, end=0.0, text=text),) if text else ()


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

    def prepare(self, request: Request) -> Request:
        """CPU work on a request before it waits for its batch: its `inputs` and `cost`. Called from many threads.

        Raises PermanentError when the engine cannot take it.
        """
        return request

    @property
    def remarks(self) -> Sequence[str]:
        """What a person should know about how it runs, once it is loaded."""
        return ()

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

    def look_ahead(self, requests: Sequence[Request], elsewhere: int) -> None:
        """What waits for a slot, oldest first, as far as one may begin ahead with it; and how many more requests wait
        outside of this process.
        """

    @abstractmethod
    def step(self) -> Mapping[str, Outcome]:
        """Advance every running request by one step; returns those that ended, by request id."""


def names() -> list[str]:
    """Every engine there is: each file or folder here."""
    return sorted(module.name for module in iter_modules(__path__))


def create(settings: EngineSettings) -> Engine:
    """The engine that the settings name, not yet loaded. A new engine is one new file with a `create(settings)`."""
    try:
        module = import_module(f"pipeline.engines.{settings.name}")
    except ModuleNotFoundError as error:
        if error.name != f"pipeline.engines.{settings.name}":
            raise
        raise UsageError(f"there is no engine named {settings.name!r}: choose one of {', '.join(names())}") from error
    engine: Engine = module.create(settings)
    return engine
