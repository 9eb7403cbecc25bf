"""Messages that come too often, and a clock that is wrong."""

import importlib.metadata
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

from pipeline.broker import INFER_QUEUES, PREPARE_QUEUES, QUEUES
from tests.faults.bench import Bench
from tests.faults.experiment import Control, Experiment
from tests.faults.experiments.workers import TWO
from tests.faults.setup import UNCONDITIONAL, Setup

WAITING = 8  # segments on the queue, at least, when messages are doubled
PAUSE_SECONDS = 0.5  # in which they are worked on, until the next ones are doubled
JUMP_SECONDS = 2 * 3600  # more than the visibility timeout, by which messages are given out again


def multiply(bench: Bench) -> None:
    """12: every message that waits is doubled, and nobody looks whether another does or did the work."""
    copies = 0
    for _ in range(bench.times(2, 10)):
        with halted(bench, "infer"):
            bench.wait_for(
                lambda: waiting(bench, *INFER_QUEUES) >= WAITING or not waiting(bench, *PREPARE_QUEUES),
                60,
                "enough work waits",
            )
            with halted(bench, "prepare"):
                copies += double_all(bench)
        time.sleep(PAUSE_SECONDS)
    bench.notes.append(f"{copies} copies, a visibility timeout of 2 s, no leases")


@contextmanager
def halted(bench: Bench, role: str) -> Iterator[None]:
    """While no worker of a role takes anything."""
    for name in bench.crew.names(role):
        bench.crew.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        for name in bench.crew.names(role):
            bench.crew.signal(name, signal.SIGCONT)


def waiting(bench: Bench, *queues: str) -> int:
    """How many messages are on some queues."""
    with bench.redis() as client:
        return sum(client.llen(f"faults:{queue}") for queue in queues)


def double_all(bench: Bench) -> int:
    """Put a copy of each message beside it, so that both are worked on at the same time; returns how many.

    Of copies from an earlier round one is taken: else there would be a thousand of one message after ten rounds.
    """
    copies = 0
    with bench.redis() as client:
        for queue in (f"faults:{name}" for name in QUEUES):
            messages = list(dict.fromkeys(client.lrange(queue, 0, -1)))
            if messages:
                client.pipeline().delete(queue).rpush(queue, *chain(*zip(messages, messages, strict=True))).execute()
                copies += len(messages)
    return copies


def expect_doubled_work(bench: Bench) -> None:
    multiply(bench)
    twice = bench.engine_log.duplicate_seconds
    bench.wait_for(lambda: twice() > 0 or not bench.open_jobs(), 60, "some work is done twice")
    if not twice():
        bench.complaints.append("no work was done twice")


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
    """14: the wall clock of one infer worker jumps two hours ahead and an hour behind; its monotonic one not."""
    clock = start_jumping(bench)
    bench.wait_for(lambda: " ready." in bench.crew.log("jumping"), 60, "it is ready")
    for _ in range(bench.times(1, 2)):
        clock.write_text(f"+{JUMP_SECONDS}")
        time.sleep(bench.times(4, 15))
        bench.wait_for(
            lambda: bench.engine_log.latest_clock() > time.time() + JUMP_SECONDS / 2,
            60,
            "it works ahead of time",
        )
        clock.write_text(f"-{JUMP_SECONDS // 2}")
        time.sleep(bench.times(4, 10))
        clock.write_text("+0")
        time.sleep(bench.times(2, 4))
    bench.notes.append("+2 h and -1 h by libfaketime")


def start_jumping(bench: Bench) -> Path:
    """Start one more infer worker. The file that says how many seconds its clock is ahead."""
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
    return clock


#: With so short a time a message is given out again while it is worked on.
EAGER = {"FAULTS_VISIBILITY": "2", "FAULTS_WITHOUT": "leases"}
DOUBLED = Setup(
    items=50,
    full={"items": 120},
    crew=TWO,
    engine_seconds=1.0,
    stall_seconds=60,
    tones=False,
    max_attempts=50,  # without leases, copies that are worked on at the same time all look like tries that never ended
    environment=EAGER,
)

#: And a store where of two writes the last one stands.
OVERWRITTEN = replace(
    DOUBLED, s3_proxy=True, conditions=False, environment=EAGER | {"FAULTS_WITHOUT": "leases,self-test"}
)
CLOCKS = Setup(items=120, full={"items": 300}, per_second=4, engine_seconds=0.6, stall_seconds=60)

EXPERIMENTS = (
    Experiment(
        number=12,
        name="every message twice",
        strike=expect_doubled_work,
        setup=DOUBLED,
        quick=True,
        controls=(
            Control(
                name="store without conditions",
                setup=OVERWRITTEN,
                finds="doubled",
                strike=multiply,
            ),
        ),
    ),
    Experiment(
        number=14,
        name="clock of a worker jumps",
        strike=jump,
        setup=CLOCKS,
        lacks=lacks_faketime,
        controls=(
            Control(
                name="no leases, store without conditions",
                setup=replace(CLOCKS, **UNCONDITIONAL | {"environment": {"FAULTS_WITHOUT": "leases,self-test"}}),
                finds="doubled",
            ),
        ),
    ),
)
