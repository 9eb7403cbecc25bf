"""A disk that is full: temporary files, the media cache, logs, and the append-only file of Redis."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.experiment import Experiment
from tests.faults.setup import Setup

DISK_BYTES = 48_000_000


def small_disk(folder: Path) -> Path:
    """A file system of its own, of a few megabytes."""
    place = folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "reelmill-faults", place], check=True)
    return place


def lacks_mount() -> str | None:
    return None if os.geteuid() == 0 else "a small file system can be mounted by root only: sudo make faults"


def fill(place: Callable[[Path], Path]) -> Callable[[Bench], None]:
    def strike(bench: Bench) -> None:
        """17: no byte is left on the disk for a while."""
        filler = place(bench.folder) / "filler"
        seconds = bench.times(10, 40)
        deadline = time.monotonic() + seconds
        with filler.open("ab", buffering=0) as file:
            while time.monotonic() < deadline:  # what is removed meanwhile is filled, too
                try:
                    file.write(bytes(4096))
                except OSError:
                    time.sleep(0.02)
        filler.unlink()
        bench.notes.append(f"{seconds} s without a free byte for cache, temporary files, logs and Redis")

    return strike


EXPERIMENTS = (
    Experiment(
        number=17,
        name="disk full",
        strike=fill(lambda folder: folder / "small"),
        setup=Setup(items=60, full_items=150, per_second=6, state=small_disk),
        lacks=lacks_mount,
    ),
)
