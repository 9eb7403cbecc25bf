"""bulk: an archive of very many small files, through the command line and a whole mill with an engine that echoes.

First a manifest of a million addresses is accepted, with nobody at work. Then a folder of 100,000 texts is submitted
and worked off, and the text of some of the results is looked at. Both numbers may be given:
`python -m tests.benchmarks.bulk 20000 2000`. Memory is looked at twice a second: what Redis says it uses, and the
largest of all processes (services, workers and pools, the command itself). Of the command that submits, the most that
it ever held is told over what it held for a tenth of the lines, and of the texts: 1.0 is memory that does not grow.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath

import psutil
import redis
from rich.console import Console
from rich.table import Table

from pipeline.collecting.record import Ended
from pipeline.collecting.shards import all_lines, read_collection
from pipeline.settings import child_environment
from tests.benchmarks.queue_path import Mill, mill, refuse_other_text, wait
from tests.watching import peak_of

LINES, JOBS = 1_000_000, 100_000
PER_FOLDER = 1_000
SAMPLED = 200  # results whose text is looked at
LOOK_SECONDS = 0.5
POLL_SECONDS = 0.05  # between two looks at the most memory that the command ever held, which the kernel keeps


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


@dataclass(frozen=True, slots=True)
class Submitted:
    """What the command line made of it."""

    collection: str
    seconds: float
    megabytes: float  #: the most memory that the command held


def submit(running: Mill, *arguments: object) -> Submitted:
    began, peak = time.monotonic(), 0
    command = [sys.executable, "-m", "pipeline.cli", "submit", *map(str, arguments)]
    command += ["--task", "translate", "--to", "de", "--json"]
    with subprocess.Popen(command, env=child_environment(running.settings), stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid)[0])
            time.sleep(POLL_SECONDS)
        assert process.stdout
        told = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"submitting ended with status {process.returncode}")
    return Submitted(str(json.loads(told)["collection"]), time.monotonic() - began, peak / 1024)


def write_manifest(path: Path, lines: int) -> Path:
    with path.open("w") as file:
        for number in range(lines):
            file.write(json.dumps({"path": f"s3://archive/{number // 1000:06d}/{number:09d}.txt"}) + "\n")
    return path


def write_texts(folder: Path, jobs: int) -> Path:
    for number in range(jobs):
        inner = folder / f"{number // PER_FOLDER:05d}"
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"{number:07d}.txt").write_text(text(number))
    return folder


def text(number: int) -> str:
    return f"a short text, number {number}"


def accept(folder: Path, lines: int) -> tuple[Submitted, Submitted, Peaks]:
    """A manifest of a tenth of the lines, and one of all."""
    tenth = write_manifest(folder / "tenth.jsonl", max(1, lines // 10))
    manifest = write_manifest(folder / "archive.jsonl", lines)
    with mill(roles=()) as running, Peaks(running).watched() as peaks:
        return submit(running, "--manifest", tenth), submit(running, "--manifest", manifest), peaks


def put_a_tenth(folder: Path, jobs: int) -> Submitted:
    """As `work_off` submits, with nobody at work."""
    texts = write_texts(folder / "tenth", max(1, jobs // 10))
    with mill(roles=()) as running:
        return submit(running, texts)


def work_off(folder: Path, jobs: int) -> tuple[Submitted, float, Ended, Peaks]:
    """What was accepted, and the seconds until all had ended; the text of some is looked at."""
    texts = write_texts(folder / "texts", jobs)
    with mill() as running, Peaks(running).watched() as peaks:
        began = time.monotonic()
        submitted = submit(running, texts)
        ended = wait(running, submitted.collection)
        seconds = time.monotonic() - began
        look_at_some(running, submitted.collection, max(1, jobs // SAMPLED))
        return submitted, seconds, ended, peaks


def look_at_some(running: Mill, name: str, step: int) -> None:
    """Stop unless each result of so many is the echo of its own text."""
    collection = read_collection(running.store, name)
    for line in islice(all_lines(running.store, name), 0, None, step):
        number = int(PurePath(line.media.name).stem)
        refuse_other_text(running.producer.result(line.job(collection).id), text(number))


def main(arguments: Sequence[str]) -> None:
    given = tuple(map(int, arguments))
    lines, jobs = (*given, *(LINES, JOBS)[len(given) :])
    with tempfile.TemporaryDirectory(prefix="reelmill-bulk-") as name:
        folder = Path(name)
        few_lines, all_of_them, peaks = accept(folder, lines)
        few_texts = put_a_tenth(folder, jobs)
        all_texts, seconds, ended, working = work_off(folder, jobs)
    if ended.tally.statuses != {"done": jobs}:
        raise SystemExit(f"not all of {jobs} jobs are done: {ended.tally.statuses}")
    table = Table("", f"manifest of {lines:,} lines", f"{jobs:,} texts", box=None)
    table.add_row("accepted in, s", f"{all_of_them.seconds:.0f}", f"{all_texts.seconds:.0f}")
    table.add_row("ended after, s", "", f"{seconds:.0f}")
    table.add_row("most memory of Redis, MB", f"{peaks.redis:.1f}", f"{working.redis:.1f}")
    table.add_row("most memory of a process, MB", f"{peaks.process:.0f}", f"{working.process:.0f}")
    table.add_row("which", peaks.of[-60:], working.of[-60:])
    table.add_row("most of the one that submits, MB", f"{all_of_them.megabytes:.0f}", f"{all_texts.megabytes:.0f}")
    table.add_row("for a tenth, MB", f"{few_lines.megabytes:.0f}", f"{few_texts.megabytes:.0f}")
    Console().print(table)
    figures = {
        "lines_per_second": round(lines / all_of_them.seconds),
        "jobs_per_second": round(jobs / seconds, 1),
        "redis_mb": round(max(peaks.redis, working.redis), 1),
        "peak_memory_mb": round(max(peaks.process, working.process)),
        "submitter_mb": round(max(all_of_them.megabytes, all_texts.megabytes)),
        "submitter_memory_ratio_lines": round(all_of_them.megabytes / few_lines.megabytes, 2),
        "submitter_memory_ratio_texts": round(all_texts.megabytes / few_texts.megabytes, 2),
    }
    print(json.dumps({"benchmark": "bulk", "figures": figures}))


if __name__ == "__main__":
    main(sys.argv[1:])
