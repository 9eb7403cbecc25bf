"""`python -m tests.fault_workers ROLE`: the real workers, with an engine that can be told by a clip to misbehave.

The engine listens for the strongest tone of a clip, and for words in a text: kill the process, crash it, hang, or need
more memory than there is. It writes down what it was given, before it begins, and how long that took, after it
(FAULTS_ENGINE_LOG), so that tries that never ended and work done twice can be counted.
What else is broken on purpose, `faults/sabotage.py` says.
"""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import numpy as np

from pipeline import engines
from pipeline.engines import Outcome, Reply, Request, untimed
from pipeline.engines.echo import EchoEngine, echo
from pipeline.errors import ResourceError
from pipeline.settings import Engine as EngineSettings
from tests.faults import sabotage
from workers.__main__ import main

Order = Literal["kill", "hang", "crash", "memory", "large"]

#: Frequencies, Hz, of the pure tones that tell the engine what to do.
KILL_HZ, HANG_HZ, CRASH_HZ, MEMORY_HZ, LARGE_HZ = 1_000, 2_000, 3_000, 4_000, 5_000
ORDERS: dict[int, Order] = {
    KILL_HZ: "kill",
    HANG_HZ: "hang",
    CRASH_HZ: "crash",
    MEMORY_HZ: "memory",
    LARGE_HZ: "large",
}
SLOW_SECONDS = 0.15
#: A word that its test finds nowhere else.
MARK = re.compile(r"m\d{12}\.?")


def dominant_hz(clip: np.ndarray) -> float:
    """The strongest frequency of a clip."""
    spectrum = np.abs(np.fft.rfft(clip))
    return float(np.fft.rfftfreq(len(clip), 1 / 16_000)[int(np.argmax(spectrum))])


def words_of(request: Request) -> list[str]:
    return " ".join(part for turn in request.turns for part in turn.parts if isinstance(part, str)).split()


def summary(request: Request) -> Reply | None:
    """The marks that stand in a text, so that answers about its parts become fewer when they are put together."""
    marks = [] if request.clips else [word for word in words_of(request) if MARK.fullmatch(word)]
    return Reply(spans=untimed(" ".join(marks))) if marks else None


def ordered(request: Request) -> Order | None:
    """What a request tells the engine to do."""
    if not request.clips:
        orders = (word.removeprefix("!") for word in words_of(request) if word.startswith("!"))
        return next((cast("Order", order) for order in orders), None)
    heard = dominant_hz(request.clips[0])
    return next((order for hz, order in ORDERS.items() if abs(heard - hz) < 5), None)


class FaultyEcho(EchoEngine):
    """Does as it is ordered; a batch of anything else takes a moment."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self._failed: set[str] = set()  #: in a batch, which is taken apart now: that is still the same try

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        started = time.monotonic()
        write_down([self._entry(request) for request in batch])
        try:
            for request in batch:
                obey(ordered(request), len(batch))
        except Exception:
            if len(batch) > 1:
                self._failed.update(request.id for request in batch)
            raise
        time.sleep(float(os.environ.get("FAULTS_ENGINE_SECONDS", SLOW_SECONDS)))
        outcomes = [summary(request) or echo(request) for request in batch]
        share = round((time.monotonic() - started) / len(batch), 4)
        write_down([{"ended": request.id, "seconds": share} for request in batch])
        return outcomes

    def _entry(self, request: Request) -> Mapping[str, object]:
        if request.id in self._failed:
            self._failed.remove(request.id)
            return {"went_on": request.id, "at": time.time()}
        return {"began": request.id, "at": time.time()}


def write_down(entries: Sequence[Mapping[str, object]]) -> None:
    path = os.environ.get("FAULTS_ENGINE_LOG")
    if path is None:
        return
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # In one piece, also beside other processes.
        os.write(handle, "".join(json.dumps(entry) + "\n" for entry in entries).encode())
    finally:
        os.close(handle)


def obey(order: Order | None, batch_size: int) -> None:
    match order:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(3600)
        case "memory":
            raise MemoryError
        case "large" if batch_size > 1:
            raise ResourceError("the batch does not fit into the memory of the device")


def create(settings: EngineSettings) -> EchoEngine:
    return FaultyEcho(settings)


if __name__ == "__main__":
    engines.create = create  # the rest of the worker is the real one
    sabotage.arrange()
    sys.exit(main())
