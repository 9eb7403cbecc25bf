"""fairness: how long a short job waits while others keep the mill busy, against how long it takes alone.

The short job is ten seconds of sound, of a tenant of its own. Beside it works, for another tenant, first an archive in
the class `bulk`, recordings of ten minutes, and the short job is interactive; then one recording of ten hours in the
class `normal`, and short jobs are interactive and normal in turn. Each clip keeps the engine for 0.15 s. Waits are from
submission to result. What the mill was kept busy with must still be there at the end, or nothing was measured.
"""

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.identity import Asked
from pipeline.job import Options, Priority
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.services import SeaweedFS, Valkey
from pipeline.settings import Engine, Settings, Speech, Workers
from tests.fleet import Fleet, running
from tests.media_samples import RATE, beeps, write_wav

ARCHIVE, ARCHIVE_SECONDS, SHORT_SECONDS = 16, 600, 10
LONG_HOURS, LONG_PIECE_SECONDS = 10, 600
THINNED = 3  # of so many samples, one is kept
ROUNDS = 5
LONG_ROUNDS = 3  # of each class
WAITING = 8  # parcels of two clips each: then every worker has all the work it can take
BUSY_SECONDS = 120  # until so many wait
CLASSES: tuple[Priority, ...] = ("interactive", "normal")


@dataclass(slots=True)
class Waits:
    """Of the short jobs of one class, in seconds."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.beside) / statistics.median(self.alone)


class Caller:
    """The tenant of the short jobs, each of a pitch of its own, so that none is known already."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self._fleet = fleet
        self._folder = folder
        self._numbers = count()

    def wait(self, priority: Priority = "interactive") -> float:
        """Seconds from the submission of a short job to its result."""
        number = next(self._numbers)
        path = recording(self._folder / f"short-{number}.wav", SHORT_SECONDS, 600 + number)
        started = time.monotonic()
        asked = Asked(tenant="caller", priority=priority)
        job = self._fleet.producer.submit(path, path.name, Options(), asked=asked)
        while job.id in self._fleet.producer.open_jobs():
            time.sleep(0.02)
        seconds = time.monotonic() - started
        result = self._fleet.producer.result(job.id)
        if result.status != "done":
            raise SystemExit(f"the short job failed: {result.error}")
        return seconds


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="reelmill-fairness-") as name:
        folder = Path(name)
        with services(folder) as settings:
            with busy_mill(settings, folder, "archive") as fleet:
                archive, left = beside_an_archive(fleet, folder)
            with busy_mill(settings, folder, "long") as fleet:
                long = beside_a_long_recording(fleet, folder)
    report(archive, left, long)


@contextmanager
def services(folder: Path) -> Iterator[Settings]:
    valkey, seaweedfs = Valkey(folder), SeaweedFS(folder)
    valkey.start()
    seaweedfs.start()
    try:
        yield Settings(
            redis=valkey.settings,
            s3=seaweedfs.settings,
            engine=Engine(name="echo", model="echo", max_batch=1),
            workers=Workers(prepare_processes=2, cache_dir=folder / "cache"),
            speech=Speech(gate="none"),
        )
    finally:
        seaweedfs.stop()
        valkey.stop()


@contextmanager
def busy_mill(settings: Settings, folder: Path, name: str) -> Iterator[Fleet]:
    """Workers with a bucket and queues of their own, so that nothing of another part is in their way."""
    redis, s3 = (
        group.model_copy(update={key: name}) for group, key in ((settings.redis, "namespace"), (settings.s3, "bucket"))
    )
    logs = folder / f"logs-{name}"
    logs.mkdir()
    own = settings.model_copy(update={"redis": redis, "s3": s3})
    with running(own, logs, "prepare", "infer", "steward", module="tests.fault_workers") as fleet:
        yield fleet


def beside_an_archive(fleet: Fleet, folder: Path) -> tuple[Waits, int]:
    """Waits of interactive jobs, and how many recordings of the archive were left at the end."""
    caller, waits = Caller(fleet, folder), Waits()
    caller.wait()  # a worker's first job
    waits.alone = [caller.wait() for _ in range(ROUNDS)]
    archive = [recording(folder / f"archive-{number}.wav", ARCHIVE_SECONDS, 300 + number) for number in range(ARCHIVE)]
    for path in archive:
        fleet.producer.submit(path, path.name, Options(), asked=Asked(tenant="archive", priority="bulk"))
    until_busy(fleet)
    waits.beside = [caller.wait() for _ in range(ROUNDS)]
    left = len(fleet.producer.open_jobs())
    if not left:
        raise SystemExit("the archive ended first: nothing was measured")
    return waits, left


def beside_a_long_recording(fleet: Fleet, folder: Path) -> dict[Priority, Waits]:
    """Waits by class."""
    caller, waits = Caller(fleet, folder), {priority: Waits() for priority in CLASSES}
    caller.wait()
    for priority in CLASSES * LONG_ROUNDS:
        waits[priority].alone.append(caller.wait(priority))
    path = long_recording(folder / "long.mka", fleet.settings)
    asked = Asked(tenant="archive", priority="normal")
    job = fleet.producer.submit(path, path.name, Options(), asked=asked)
    until_busy(fleet)
    for priority in CLASSES * LONG_ROUNDS:
        waits[priority].beside.append(caller.wait(priority))
    if not fleet.producer.is_open(job.id):
        raise SystemExit("the long recording ended first: nothing was measured")
    return waits


def until_busy(fleet: Fleet) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while fleet.queued("infer") < WAITING:
        if time.monotonic() > deadline:
            raise SystemExit(f"no {WAITING} parcels wait within {BUSY_SECONDS} s")
        time.sleep(0.1)


def report(archive: Waits, left: int, long: Mapping[Priority, Waits]) -> None:
    table = Table("short job", "median s", "longest s", box=None)
    rows = [("interactive, alone", archive.alone)]
    rows.append((f"interactive, beside an archive ({left} recordings were left)", archive.beside))
    for priority, waits in long.items():
        rows.append((f"{priority}, alone", waits.alone))
        rows.append((f"{priority}, beside a recording of {LONG_HOURS} hours", waits.beside))
    for what, seconds in rows:
        table.add_row(what, f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}")
    Console().print(table)
    print(json.dumps({"benchmark": "fairness", "figures": figures(archive, long)}))


def figures(archive: Waits, long: Mapping[Priority, Waits]) -> dict[str, float]:
    found = {
        "short_job_wait_ratio": archive.ratio,
        "alone_seconds": statistics.median(archive.alone),
        "beside_seconds": statistics.median(archive.beside),
    }
    for priority, waits in long.items():
        found |= {
            f"{priority}_wait_ratio_beside_{LONG_HOURS}_hours": waits.ratio,
            f"{priority}_alone_seconds": statistics.median(waits.alone),
            f"{priority}_beside_{LONG_HOURS}_hours_seconds": statistics.median(waits.beside),
        }
    return {name: round(value, 2) for name, value in found.items()}


def recording(path: Path, seconds: int, hz: int) -> Path:
    """A beep every five seconds, of a pitch that no other recording has, and that orders nothing from the engine.

    One channel of few samples: the mill is to be busy, not whoever submits.
    """
    beep = beeps(5, (0,), hz=hz)[::THINNED, :1]
    return write_wav(path, np.tile(beep, (seconds // 5, 1)), RATE // THINNED)


def long_recording(path: Path, settings: Settings) -> Path:
    """Ten minutes, encoded without loss once and then repeated as they are, which takes no time."""
    ffmpeg = Ffmpeg.locate(settings)
    piece, coded = recording(path.with_name("piece.wav"), LONG_PIECE_SECONDS, 450), path.with_name("piece.flac")
    repeats = str(LONG_HOURS * 3600 // LONG_PIECE_SECONDS - 1)
    for arguments in (
        ("-i", str(piece), "-ac", "1", "-ar", "16000", str(coded)),
        ("-stream_loop", repeats, "-i", str(coded), "-c", "copy", str(path)),
    ):
        subprocess.run([str(ffmpeg.ffmpeg), "-nostdin", "-v", "error", "-y", *arguments], check=True)
    return path


if __name__ == "__main__":
    main()
