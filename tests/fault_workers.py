"""`python -m tests.fault_workers ROLE`: the real workers, with an engine that can be told by a clip to misbehave.

The engine looks at the mean of a clip's first tenth of a second. Loud media (a level that no test file has by
accident) means: kill the process, hang, or take half a second.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence

import numpy as np

from pipeline import engines
from pipeline.engines import Outcome, Request
from pipeline.engines.echo import EchoEngine
from pipeline.settings import Engine as EngineSettings
from workers.__main__ import main

#: Frequencies, Hz, of the pure tones that tell the engine what to do.
KILL_HZ, HANG_HZ = 1_000, 2_000
SLOW_SECONDS = 0.15


def dominant_hz(clip: np.ndarray) -> float:
    """The strongest frequency of a clip."""
    spectrum = np.abs(np.fft.rfft(clip))
    return float(np.fft.rfftfreq(len(clip), 1 / 16_000)[int(np.argmax(spectrum))])


class FaultyEcho(EchoEngine):
    """Dies or hangs on the tones above; a batch of anything else takes a moment."""

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        for request in batch:
            heard = dominant_hz(request.clips[0])
            if abs(heard - KILL_HZ) < 5:
                os.kill(os.getpid(), signal.SIGKILL)
            if abs(heard - HANG_HZ) < 5:
                time.sleep(3600)
        time.sleep(SLOW_SECONDS)
        return super().generate(batch)


def create(settings: EngineSettings) -> EchoEngine:
    return FaultyEcho(settings)


if __name__ == "__main__":
    engines.create = create  # the rest of the worker is the real one
    sys.exit(main())
