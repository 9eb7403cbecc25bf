"""A disk that is full: temporary files, the media cache, logs, and the append-only file of Redis."""

import os
import subprocess
import time
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.experiment import Experiment
from tests.faults.experiments.workers import without_steward
from tests.faults.setup import Setup

DISK_BYTES = 48_000_000
#: What a log says of a disk that is full: its own, or that of Redis.
REFUSALS = ("No space left on device", "MISCONF", "the disk is full")


def small_disk(folder: Path, num_bytes: int = DISK_BYTES) -> Path:
    """A file system of its own, of a few megabytes."""
    place = folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "reelmill-faults", place], check=True)
    return place


def lacks_mount() -> str | None:
    return None if os.geteuid() == 0 else "a small file system can be mounted by root only: sudo make faults"


def fill(bench: Bench) -> None:
    """17: no byte is left on the disk for a while."""
    seconds = bench.times(10, 40)
    fill_for(bench, seconds)
    told = bench.crew.logs(10**6)
    if not any(words in told for words in REFUSALS):
        bench.complaints.append("nobody met the full disk")
    bench.notes.append(f"{seconds} s without a free byte for cache, temporary files, logs and Redis")
    if ended := [
        name for name in bench.crew.names() if bench.crew.exits(name)
    ]:  # Celery, when a Redis that cannot write
        bench.notes.append(f"{' and '.join(ended)} ended, and were started again")  # refuses to give out messages


def fill_for(bench: Bench, seconds: float) -> None:
    filler = bench.state / "filler"
    deadline = time.monotonic() + seconds
    with filler.open("ab", buffering=0) as file:
        while time.monotonic() < deadline:  # what is removed meanwhile is filled, too
            try:
                file.write(bytes(4096))
            except OSError:
                time.sleep(0.02)
    filler.unlink()


FULL = Setup(items=60, full={"items": 150}, per_second=6, state=small_disk)

EXPERIMENTS = (
    Experiment(
        number=17,
        name="disk full",
        strike=fill,
        setup=FULL,
        lacks=lacks_mount,
        controls=(without_steward(FULL, 60),),
    ),
)
