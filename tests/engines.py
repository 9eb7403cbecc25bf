"""Engines that misbehave in one way each: subclasses of the real echo engine."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.engines import Capabilities, Clip, ContinuousEngine, Outcome, Request, Sound, Turn
from pipeline.engines.echo import EchoEngine, echo
from pipeline.errors import EngineLostError, PermanentError, ResourceError
from pipeline.job import Origin
from pipeline.settings import Engine as EngineSettings


class RecordingEcho(EchoEngine):
    """Remembers the ids of every batch it was given."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self.batches: list[list[str]] = []

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        self.batches.append([request.id for request in batch])
        return super().generate(batch)


class RefusingEcho(RecordingEcho):
    """Answers requests whose id holds `bad` with their own PermanentError."""

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        return [
            PermanentError("a bad clip") if "bad" in request.id else outcome
            for request, outcome in zip(batch, super().generate(batch), strict=True)
        ]


class RaisingEcho(RecordingEcho):
    """Fails as a whole while a batch holds a request whose id holds `bad`."""

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        outcomes = super().generate(batch)
        if any("bad" in request.id for request in batch):
            raise ValueError("something in this batch")
        return outcomes


class SmallEcho(RecordingEcho):
    """Has memory for `most` requests at once."""

    most = 2

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        outcomes = super().generate(batch)
        if len(batch) > self.most:
            raise ResourceError("out of memory")
        return outcomes


class GatedEcho(RecordingEcho):
    """Works only while its gate is open."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self.gate = threading.Event()

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        outcomes = super().generate(batch)
        self.gate.wait()
        return outcomes


class LostEcho(RecordingEcho):
    """Loses its device on a batch that holds a request whose id holds `bad`."""

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        outcomes = super().generate(batch)
        if any("bad" in request.id for request in batch):
            raise EngineLostError("the device failed")
        return outcomes


class SlowEcho(EchoEngine):
    """Takes `seconds` for each batch."""

    seconds = 0.2

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        time.sleep(self.seconds)
        return super().generate(batch)


class ContinuousEcho(ContinuousEngine):
    """Echo with slots: a request stays for as many steps as its clip has tenths of a second."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self._running: dict[str, tuple[Request, int]] = {}
        self.occupancy: list[int] = []

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(kinds=frozenset({"sound"}), max_batch=self.settings.max_batch or 8, max_cost=1000.0)

    def load(self) -> Origin:
        return Origin(engine="continuous-echo", model="echo", revision="1", versions={})

    @property
    def free_slots(self) -> int:
        return self.capabilities.max_batch - len(self._running)

    def admit(self, requests: Sequence[Request]) -> None:
        assert len(requests) <= self.free_slots
        for request in requests:
            self._running[request.id] = (request, max(1, len(request.clips[0]) // 1_600))

    def step(self) -> Mapping[str, Outcome]:
        self.occupancy.append(len(self._running))
        ended: dict[str, Outcome] = {}
        for name, (request, left) in list(self._running.items()):
            if left == 1:
                del self._running[name]
                ended[name] = PermanentError("a bad clip") if "bad" in name else echo(request)
            else:
                self._running[name] = (request, left - 1)
        return ended


class LostContinuousEcho(ContinuousEcho):
    """Loses its device in the step that has a request whose id holds `bad`."""

    def step(self) -> Mapping[str, Outcome]:
        if any("bad" in name for name in self._running):
            raise EngineLostError("the device failed")
        return super().step()


class FullEcho(ContinuousEcho):
    """Has lost count of its slots."""

    @property
    def free_slots(self) -> int:
        return 0


def a_request(
    name: str, *, seconds: float = 0.1, deadline: float = 0.0, cost: float = 1.0, alone: bool = False
) -> Request:
    clip = np.full(round(seconds * 16_000), 0.25, np.float32)
    return replace(about(clip, name), deadline=deadline, cost=cost, alone=alone)


def about(clip: Clip, name: str = "1", language: str | None = None) -> Request:
    """A request to transcribe a clip."""
    return Request(id=name, turns=(Turn("user", (Sound(clip), "Transcribe the speech.")),), language=language)
