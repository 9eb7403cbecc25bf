"""bulk: an archive of very many small files, through the command line and a whole mill with an engine that echoes.

First a manifest of a million addresses is accepted, with nobody at work. Then a folder of 100,000 texts is submitted
and worked off. Both numbers may be given: `python -m tests.benchmarks.bulk 20000 2000`. Memory is looked at twice a
second: what Redis says it uses, and the largest of all processes (services, workers and pools, the command itself).
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import redis
from rich.console import Console
from rich.table import Table

from pipeline.collecting.record import Ended
from pipeline.settings import child_environment
from tests.benchmarks.queue_path import Mill, mill, wait

LINES, JOBS = 1_000_000, 100_000
PER_FOLDER = 1_000
LOOK_SECONDS = 0.5


class Peaks:
    """The most memory that was seen, in MB."""

    def __init__(self, running: Mill) -> None:
        self.redis = 0.0
        self.process = 0.0
        self.of = ""
        self._running = running
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @contextmanager
    def watched(self) -> Iterator["Peaks"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._stop.wait(LOOK_SECONDS):
            with suppress(redis.RedisError):
                self.redis = max(self.redis, self._running.redis_megabytes())
            for process in own.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    size = process.memory_info().rss / 1e6
                    if size > self.process:
                        self.process, self.of = size, " ".join(process.cmdline()[:4])


def submit(running: Mill, *arguments: object) -> tuple[str, float]:
    """The collection that the command line makes of it, and the seconds that took."""
    began = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pipeline.cli",
            "submit",
            *map(str, arguments),
            "--task",
            "translate",
            "--to",
            "de",
            "--json",
        ],
        env=child_environment(running.settings),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    accepted = json.loads(done.stdout)
    return str(accepted["collection"]), time.monotonic() - began


def write_manifest(path: Path, lines: int) -> Path:
    with path.open("w") as file:
        for number in range(lines):
            file.write(json.dumps({"path": f"s3://archive/{number // 1000:06d}/{number:09d}.txt"}) + "\n")
    return path


def write_texts(folder: Path, jobs: int) -> Path:
    for number in range(jobs):
        inner = folder / f"{number // PER_FOLDER:05d}"
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"{number:07d}.txt").write_text(f"a short text, number {number}")
    return folder


def accept(folder: Path, lines: int) -> tuple[float, Peaks]:
    manifest = write_manifest(folder / "archive.jsonl", lines)
    with mill(roles=()) as running, Peaks(running).watched() as peaks:
        _, seconds = submit(running, "--manifest", manifest)
    return seconds, peaks


def work_off(folder: Path, jobs: int) -> tuple[float, float, Ended, Peaks]:
    """Seconds until all was accepted and until all had ended."""
    texts = write_texts(folder / "texts", jobs)
    with mill() as running, Peaks(running).watched() as peaks:
        began = time.monotonic()
        collection, accepting = submit(running, texts)
        ended = wait(running, collection)
        return accepting, time.monotonic() - began, ended, peaks


def main(arguments: Sequence[str]) -> None:
    given = tuple(map(int, arguments))
    lines, jobs = (*given, *(LINES, JOBS)[len(given) :])
    with tempfile.TemporaryDirectory(prefix="reelmill-bulk-") as name:
        folder = Path(name)
        accepting, peaks = accept(folder, lines)
        accepted, seconds, ended, working = work_off(folder, jobs)
    if ended.tally.statuses != {"done": jobs}:
        raise SystemExit(f"not all of {jobs} jobs are done: {ended.tally.statuses}")
    table = Table("", f"manifest of {lines:,} lines", f"{jobs:,} texts", box=None)
    table.add_row("accepted in, s", f"{accepting:.0f}", f"{accepted:.0f}")
    table.add_row("ended after, s", "", f"{seconds:.0f}")
    table.add_row("most memory of Redis, MB", f"{peaks.redis:.1f}", f"{working.redis:.1f}")
    table.add_row("most memory of a process, MB", f"{peaks.process:.0f}", f"{working.process:.0f}")
    table.add_row("which", peaks.of[-60:], working.of[-60:])
    Console().print(table)
    figures = {
        "lines_per_second": round(lines / accepting),
        "jobs_per_second": round(jobs / seconds, 1),
        "redis_mb": round(max(peaks.redis, working.redis), 1),
        "peak_memory_mb": round(max(peaks.process, working.process)),
    }
    print(json.dumps({"benchmark": "bulk", "figures": figures}))


if __name__ == "__main__":
    main(sys.argv[1:])
