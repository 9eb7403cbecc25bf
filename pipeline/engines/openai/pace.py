"""How hard an ailing server is pressed: after a failure requests wait, longer each time, until one succeeds."""

import threading
import time
from collections.abc import Callable

FIRST_PAUSE = 0.5  # seconds
LONGEST_PAUSE = 30.0  # also of what a server asks for with Retry-After: whoever waits holds a slot


class Pace:
    """Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._since = clock()  # start of the present pause, or of the last one
        self._until = self._since

    def pause(self) -> float:
        """Seconds that a request should wait now before it is sent."""
        with self._lock:
            return max(0.0, self._until - self._clock())

    def failed(self, sent_at: float, asked: float = 0.0) -> None:
        """A request sent at `sent_at` met an ailing server, which asked to be left alone for `asked` seconds.

        Many requests that were under way together meet the same outage: together they count once.
        """
        with self._lock:
            now = self._clock()
            if sent_at >= self._since:
                self._failures += 1
                self._since = now
            pause = max(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), asked)
            self._until = max(self._until, now + min(pause, LONGEST_PAUSE))

    def succeeded(self, sent_at: float) -> None:
        """A request was answered. One from before the present pause proves nothing about the server now."""
        with self._lock:
            if sent_at >= self._since:
                self._failures = 0
                self._until = self._clock()
