"""Messages that come too often, and a clock that is wrong."""

import importlib.metadata
import time
from dataclasses import replace
from pathlib import Path

from pipeline.broker import STAGES
from tests.faults.bench import Bench
from tests.faults.experiment import Control, Experiment
from tests.faults.experiments.workers import TWO
from tests.faults.setup import Setup

COPY_SECONDS = 0.3
COPIED_AT_ONCE = 6
JUMP_SECONDS = 2 * 3600  # more than the visibility timeout, by which messages are given out again


def multiply(bench: Bench) -> None:
    """12: every message is copied while it waits, and nobody looks whether another does or did the work."""
    copies = 0
    wanted, deadline = bench.times(150, 1000), time.monotonic() + bench.times(40, 90)
    while copies < wanted and time.monotonic() < deadline and bench.open_jobs():
        with bench.redis() as client:
            for stage in STAGES:
                # To the end that is taken from, so that a copy and its like are worked on at the same time.
                for message in client.lrange(f"faults:{stage}", -COPIED_AT_ONCE, -1):
                    copies += client.rpush(f"faults:{stage}", message) > 0
        time.sleep(COPY_SECONDS)
    bench.notes.append(f"{copies} copies, a visibility timeout of 2 s, no leases")


def expect_doubled_work(bench: Bench) -> None:
    multiply(bench)
    bench.wait_for(lambda: bench.duplicate_seconds() > 0, 60, "some work is done twice")


def faketime() -> Path | None:
    """The library that lies about the time, out of its wheel."""
    try:
        files = importlib.metadata.files("libfaketime") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == "libfaketime.so.1"), None)


def lacks_faketime() -> str | None:
    return None if faketime() else "needs libfaketime: pip install libfaketime (Linux x86-64)"


def jump(bench: Bench) -> None:
    """14: the wall clock of one infer worker jumps two hours ahead, and back; its monotonic clock does not."""
    library = faketime()
    assert library is not None
    clock = bench.folder / "clock"
    clock.write_text("+0")
    bench.crew.start(
        "jumping",
        "infer",
        bench.routed("jumping"),
        {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
        },
    )
    time.sleep(bench.times(8, 10))
    for _ in range(bench.times(1, 2)):
        clock.write_text(f"+{JUMP_SECONDS}")
        time.sleep(bench.times(8, 15))
        clock.write_text("+0")
        time.sleep(bench.times(2, 8))
    bench.notes.append("+2 h by libfaketime")


#: With so short a time a message is given out again while it is worked on.
EAGER = {"FAULTS_VISIBILITY": "2", "FAULTS_WITHOUT": "leases"}
DOUBLED = Setup(
    items=50, full_items=120, crew=TWO, engine_seconds=1.0, stall_seconds=60, tones=False, environment=EAGER
)

EXPERIMENTS = (
    Experiment(
        number=12,
        name="every message twice",
        strike=expect_doubled_work,
        setup=DOUBLED,
        controls=(
            Control(
                name="store without conditions",
                setup=replace(
                    DOUBLED,
                    full_items=50,
                    s3_proxy=True,
                    conditions=False,
                    environment=EAGER | {"FAULTS_WITHOUT": "leases,self-test"},
                ),
                finds="doubled",
                strike=multiply,
            ),
        ),
    ),
    Experiment(
        number=14,
        name="clock of a worker jumps",
        strike=jump,
        setup=Setup(items=100, full_items=300, per_second=6, engine_seconds=0.6, stall_seconds=60),
        lacks=lacks_faketime,
    ),
)
