"""What an experiment costs: the memory of Redis and of the largest worker, sampled; seconds of the engine, counted."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import redis

from tests.faults.crew import Crew

SAMPLE_SECONDS = 0.5
MEGABYTE = 1_000_000


class Meter:
    """Samples in a thread of its own; Redis is asked past all proxies, and may be away."""

    def __init__(self, crew: Crew, server: Callable[[], redis.Redis]) -> None:
        self._crew = crew
        self._server = server
        self.redis_mb = 0.0
        self.rss_mb = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(SAMPLE_SECONDS):
            with suppress(redis.RedisError), self._server() as client:
                used = client.info("memory")["used_memory"]
                self.redis_mb = max(self.redis_mb, used / MEGABYTE)
            for process in self._crew.processes():
                with suppress(psutil.NoSuchProcess):
                    self.rss_mb = max(self.rss_mb, process.memory_info().rss / MEGABYTE)


class EngineLog:
    """What the engine wrote down: each request when it began with it, and when it had done with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def begun(self, since: int = 0) -> Counter[str]:
        """How often each request was begun, from the entry of that number on. A batch that is taken apart goes on."""
        return Counter(entry["began"] for entry in self.entries()[since:] if "began" in entry)

    def ended(self) -> Counter[str]:
        """How often each request was ended."""
        return Counter(entry["ended"] for entry in self.entries() if "ended" in entry)

    def unfinished(self) -> set[str]:
        """Requests that were begun more often than ended: they are in an engine, or it died with them."""
        return set(self.begun() - self.ended())

    def done_by_another(self) -> set[str]:
        """Of the unfinished, those that were begun anew elsewhere and ended there."""
        return self.unfinished() & set(self.ended())

    def latest_clock(self) -> float:
        """The furthest that a clock was when the engine began with something."""
        return max((float(entry["at"]) for entry in self.entries() if "at" in entry), default=0.0)

    def duplicate_seconds(self) -> float:
        """Seconds that the engine spent on requests it had answered before."""
        ended = [entry for entry in self.entries() if "ended" in entry]
        seen: set[str] = set()
        seconds = 0.0
        for entry in ended:
            seconds += entry["seconds"] if entry["ended"] in seen else 0.0
            seen.add(entry["ended"])
        return seconds
