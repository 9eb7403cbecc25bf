"""fairness: how long a short job waits while an archive is being worked on, against how long it takes alone.

The archive is recordings of ten minutes, all of one tenant and in the class `bulk`; each clip keeps the engine for
0.15 s. The short job is ten seconds of sound, interactive, of another tenant. Waits are from submission to result.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.identity import Asked
from pipeline.job import Options
from pipeline.services import SeaweedFS, Valkey
from pipeline.settings import Engine, Settings, Speech, Workers
from tests.fleet import Fleet, running
from tests.media_samples import beeps, write_wav

ARCHIVE, ARCHIVE_SECONDS, SHORT_SECONDS = 16, 600, 10
ROUNDS = 5
WAITING = 8  # parcels of two clips each: then every worker has all the work it can take


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="reelmill-fairness-") as name:
        folder = Path(name)
        valkey, seaweedfs = Valkey(folder), SeaweedFS(folder)
        valkey.start()
        seaweedfs.start()
        settings = Settings(
            redis=valkey.settings,
            s3=seaweedfs.settings,
            engine=Engine(name="echo", model="echo", max_batch=1),
            workers=Workers(prepare_processes=2, cache_dir=folder / "cache"),
            speech=Speech(gate="none"),
        )
        try:
            with running(settings, folder, "prepare", "infer", "steward", module="tests.fault_workers") as fleet:
                alone, beside, left = measure(fleet, folder)
        finally:
            seaweedfs.stop()
            valkey.stop()
    report(alone, beside, left)


def measure(fleet: Fleet, folder: Path) -> tuple[list[float], list[float], int]:
    """Waits alone and beside the archive, and how many recordings of that were left at the end."""
    wait(fleet, folder, 99)  # a worker's first job
    alone = [wait(fleet, folder, number) for number in range(ROUNDS)]
    archive = [recording(folder / f"archive-{number}.wav", ARCHIVE_SECONDS, 300 + number) for number in range(ARCHIVE)]
    for path in archive:
        fleet.producer.submit(path, path.name, Options(), asked=Asked(tenant="archive", priority="bulk"))
    while fleet.queued("infer") < WAITING:
        time.sleep(0.1)
    beside = [wait(fleet, folder, ROUNDS + number) for number in range(ROUNDS)]
    left = len(fleet.producer.open_jobs())
    if not left:
        raise SystemExit("the archive ended first: nothing was measured")
    return alone, beside, left


def report(alone: list[float], beside: list[float], left: int) -> None:
    table = Table("short job", "median s", "longest s", box=None)
    for what, waits in (("alone", alone), (f"beside an archive ({left} recordings were left)", beside)):
        table.add_row(what, f"{statistics.median(waits):.2f}", f"{max(waits):.2f}")
    Console().print(table)
    figures = {
        "short_job_wait_ratio": round(statistics.median(beside) / statistics.median(alone), 2),
        "alone_seconds": round(statistics.median(alone), 2),
        "beside_seconds": round(statistics.median(beside), 2),
    }
    print(json.dumps({"benchmark": "fairness", "figures": figures}))


def recording(path: Path, seconds: int, hz: int) -> Path:
    """A beep every five seconds, of a pitch that no other recording has, and that orders nothing from the engine."""
    return write_wav(path, np.tile(beeps(5, (0,), hz=hz), (seconds // 5, 1)))


def wait(fleet: Fleet, folder: Path, number: int) -> float:
    """Seconds from the submission of a short job to its result."""
    path = recording(folder / f"short-{number}.wav", SHORT_SECONDS, 600 + number)
    started = time.monotonic()
    asked = Asked(tenant="caller", priority="interactive")
    job = fleet.producer.submit(path, path.name, Options(), asked=asked)
    while job.id in fleet.producer.open_jobs():
        time.sleep(0.02)
    seconds = time.monotonic() - started
    if fleet.producer.result(job.id).status != "done":
        raise SystemExit(f"the short job failed: {fleet.producer.result(job.id).error}")
    return seconds


if __name__ == "__main__":
    main()
