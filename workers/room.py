"""How much a worker takes at once, counted in segments: several of them may travel in one message.

Celery counts messages. A worker that held as many parcels as it has threads would leave nothing to its neighbours.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import signals


class Room:
    """Room for so many segments. With each parcel that is taken, Celery may hold fewer messages."""

    def __init__(self, segments: int) -> None:
        self._segments = segments
        self._more = 0  # segments in hand beyond one for each message
        self._lock = threading.Lock()
        self._consumer: Any = None
        signals.worker_ready.connect(lambda sender, **_: self.serve(sender), weak=False)

    def serve(self, consumer: Any) -> None:
        """From now on for this Celery consumer, which keeps its place when it connects again."""
        self._consumer = consumer

    @contextmanager
    def taken(self, segments: int) -> Iterator[None]:
        """While a message of so many segments is worked on."""
        self._change(segments - 1)
        try:
            yield
        finally:
            self._change(1 - segments)

    def _change(self, more: int) -> None:
        if more == 0:
            return
        with self._lock:
            self._more += more
            # Its loop tells the channel, as it does for Celery's own changes; none is there while it connects.
            if self._consumer is not None and self._consumer.qos is not None:
                self._consumer.qos.value = max(1, self._segments - self._more)
