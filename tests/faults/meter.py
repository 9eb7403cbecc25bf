"""What an experiment costs: the memory of Redis and of the largest worker, sampled; seconds of the engine, counted."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

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


def duplicate_seconds(engine_log: Path) -> float:
    """Seconds that the engine spent on requests it had answered before."""
    if not engine_log.exists():
        return 0.0
    entries = [json.loads(line) for line in engine_log.read_text().splitlines()]
    seen: Counter[str] = Counter()
    seconds = 0.0
    for entry in entries:
        seconds += entry["seconds"] if seen[entry["id"]] else 0.0
        seen[entry["id"]] += 1
    return seconds
