"""How a worker leaves when it is told to (SIGTERM): no more work, and what it cannot end in time goes back.

Celery's warm shutdown stops consuming and waits for work in hand, however long that takes. Here is what makes it end:
the work is told to hand itself back, which counts as no try and needs no lease to run out. SIGQUIT, Celery's cold
shutdown, means at once.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from celery import signals

from pipeline.errors import LeavingError

log = logging.getLogger(__name__)

#: For Celery to stop consuming: what is handed back before comes back to the same worker.
STILL_CONSUMING_SECONDS = 1.5
#: For what was told to hand itself back, and for the process to end; then it is ended.
LEAVE_SECONDS = 5.0
#: Tells a pool process to hand back what it works on. SIGTERM is the pool's own, which takes that signal back in every
#: process it starts, and sends it before SIGKILL to work that is over its limit: that was a try.
HAND_BACK = signal.SIGUSR2


def when_told_to_stop(grace_seconds: float, *, at_first: Callable[[], object], at_last: Callable[[], object]) -> None:
    """`at_first`: once no work comes any more; `at_last`: when the grace time is over. Both from another thread."""
    told: SimpleQueue[None] = SimpleQueue()  # a signal handler may put into it, whatever it interrupted

    def leave() -> None:
        told.get()
        first = min(STILL_CONSUMING_SECONDS, grace_seconds)
        time.sleep(first)
        at_first()
        time.sleep(grace_seconds - first)
        log.warning("work in hand did not end within %g s, it goes back to the queue", grace_seconds)
        at_last()
        time.sleep(LEAVE_SECONDS)
        log.critical("some work does not let go, the process ends under it")
        logging.shutdown()
        os._exit(os.EX_OK)

    threading.Thread(target=leave, name="leaving", daemon=True).start()
    signals.worker_shutting_down.connect(lambda **_: told.put(None), weak=False)


class Interruptible:
    """Makes HAND_BACK end the stage that a pool process runs with a LeavingError, and a process that is idle.

    Whoever keeps the books (counts, leases) is not interrupted: what they do takes a moment.
    """

    def __init__(self) -> None:
        self._has_task = False
        self._in_stage = False
        self._told = False

    @contextmanager
    def task(self) -> Iterator[None]:
        """Around a message and its books, in the main thread."""
        self._has_task = True
        signal.signal(HAND_BACK, self._on_signal)
        try:
            yield
        finally:
            self._has_task = False

    @contextmanager
    def stage(self) -> Iterator[None]:
        """Around the work itself. Raises LeavingError."""
        self._in_stage = True
        try:
            if self._told:
                raise self._leaving()
            yield
        finally:
            self._in_stage = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._told = True
        if self._in_stage:
            raise self._leaving()
        if not self._has_task:
            raise SystemExit(os.EX_OK)

    def _leaving(self) -> LeavingError:
        return LeavingError("its process was told to stop")
