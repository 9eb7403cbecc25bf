"""Processes that die: one of a pool, a whole worker, at a named line, or only for a while."""

import signal
import time
from dataclasses import replace

from tests.faults.bench import Bench
from tests.faults.experiment import Control, Experiment
from tests.faults.sabotage import FIRED
from tests.faults.setup import UNCONDITIONAL, Setup

WITHOUT_STEWARD = {"prepare": "prepare", "infer": "infer"}
#: A storm of kills hits some healthy item three times by chance, which nobody can tell from an item that kills.
PATIENT = 8


def kill_children(bench: Bench) -> None:
    """1: SIGKILL processes of the prepare pool at random."""
    wanted, killed = bench.times(10, 200), 0
    deadline = time.monotonic() + bench.times(20, 120)
    while killed < wanted and time.monotonic() < deadline and bench.open_jobs():
        killed += bench.crew.kill_child("prepare", bench.chance.randrange(8))
        time.sleep(bench.chance.uniform(0.1, 0.5))
    bench.notes.append(f"{killed} kills, {PATIENT} tries allowed")


def kill_workers(bench: Bench) -> None:
    """2: SIGKILL whole workers, with all their children, at random."""
    wanted = bench.times(3, 45)
    for killed in range(wanted):
        if killed and not bench.open_jobs():
            break
        name = bench.chance.choice(bench.crew.names("prepare", "infer"))
        bench.crew.kill(name)
        time.sleep(bench.chance.uniform(1, 5))
    bench.notes.append(f"{sum(bench.crew.starts(name) - 1 for name in bench.crew.names())} restarts, {PATIENT} tries")


def crash_at_points(bench: Bench) -> None:
    """3: every armed point must have been met; each ended its process."""
    points = bench.setup.crash_points

    def fired() -> set[str]:
        return {path.name.removesuffix(FIRED) for path in bench.crash_dir.glob(f"*{FIRED}")}

    bench.wait_for(
        lambda: len(fired()) == len(points) or not (bench.open_jobs() or bench.owed()), 300, "all crash points are met"
    )
    missed = sorted(set(points) - fired())
    if missed:
        bench.complaints.append(f"nobody came by {', '.join(missed)}")
    bench.notes.append(f"{len(points) - len(missed)} crash points")


def both(*places: str) -> tuple[str, ...]:
    """Before a call and after it."""
    return tuple(f"{moment}.{place}" for place in places for moment in ("before", "after"))


#: Between two effects of a stage there is a place where its process can die. `receive`: after the queue gave a message
#: out, before it is noted as unacknowledged.
POINTS = both(
    "prepare.receive",
    "infer.receive",
    "prepare.acknowledge",
    "infer.acknowledge",
    "ledger.start.prepare",
    "ledger.start.cut",
    "ledger.start.infer",
    "ledger.start.finish",
    "ledger.begin.infer",
    "ledger.end.prepare",
    "ledger.end.infer",
    "ledger.announce.cut",
    "ledger.announce.infer",
    "ledger.answered.infer",
    "store.create.windows",
    "store.create.whole",
    "store.create.segments",
    "store.create.plans",
    "store.create.answers",
    "store.create.result",
    "store.create.transcript",
    "store.delete.open",
    "store.delete.webhooks",
    "store.delete.whole",
    "send.cut",
    "send.infer",
    "send.finish",
)


def freeze_one(bench: Bench) -> None:
    """13: SIGSTOP a worker until another has done its work, then let it go on and write."""
    frozen = 0
    for name in ("infer", "second") * bench.times(1, 3):
        if not bench.wait_for(lambda: len(bench.leases("infer")) >= 2, 60, "both workers infer"):
            break
        bench.crew.signal(name, signal.SIGSTOP)
        frozen += 1
        time.sleep(bench.setup.lease_seconds + 7)
        bench.crew.signal(name, signal.SIGCONT)
        time.sleep(1)
    bench.notes.append(f"{frozen} times frozen")


def expect_work_twice(bench: Bench) -> None:
    freeze_one(bench)
    if not bench.duplicate_seconds():
        bench.complaints.append("no frozen worker came back to work that another had done")


TWO = {"prepare": "prepare", "infer": "infer", "second": "infer", "steward": "steward"}
ZOMBIES = Setup(items=60, full_items=500, crew=TWO, engine_seconds=1.0, stall_seconds=60, tones=False)
KILLS = Setup(items=60, full_items=400, per_second=8, max_attempts=PATIENT)

EXPERIMENTS = (
    Experiment(number=1, name="SIGKILL of pool processes", strike=kill_children, setup=KILLS, quick=True),
    Experiment(
        number=2,
        name="SIGKILL of whole workers",
        strike=kill_workers,
        setup=KILLS,
        controls=(
            Control(
                name="no steward",
                # Slow enough that each kill meets work in hand, on a fast machine as well.
                setup=replace(KILLS, crew=WITHOUT_STEWARD, full_items=60, engine_seconds=1.0, quiet_seconds=15),
                finds="lost",
            ),
        ),
    ),
    Experiment(
        number=3,
        name="crash at every named point",
        strike=crash_at_points,
        setup=Setup(items=60, per_second=2, long_every=5, crash_points=POINTS, max_attempts=PATIENT, quiet_seconds=300),
        controls=(
            Control(
                name="no steward",
                setup=Setup(crew=WITHOUT_STEWARD, crash_points=both("infer.receive"), quiet_seconds=15),
                finds="lost",
            ),
        ),
    ),
    Experiment(
        number=13,
        name="SIGSTOP past the lease, then CONT",
        strike=expect_work_twice,
        setup=ZOMBIES,
        controls=(
            Control(
                name="store without conditions",
                setup=replace(ZOMBIES, full_items=60, **UNCONDITIONAL),
                finds="doubled",
                strike=freeze_one,
            ),
        ),
    ),
)
