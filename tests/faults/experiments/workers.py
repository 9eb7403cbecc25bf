"""Processes that die: one of a pool, a whole worker, at a named line, or only for a while."""

import random
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.faults import load
from tests.faults.bench import Bench
from tests.faults.experiment import Control, Experiment
from tests.faults.load import Item
from tests.faults.sabotage import FIRED
from tests.faults.setup import UNCONDITIONAL, Setup


def without_steward(setup: Setup, quiet_seconds: float = 15) -> Control:
    """Nobody sends again what was lost. `quiet_seconds`: more than the experiment itself takes to recover."""
    crew = {name: role for name, role in setup.crew.items() if role != "steward"}
    return Control(name="no steward", setup=replace(setup, crew=crew, quiet_seconds=quiet_seconds), finds="lost")


#: A storm of kills hits some healthy item three times by chance, which nobody can tell from an item that kills.
PATIENT = 8


def kill_children(bench: Bench) -> None:
    """1: SIGKILL processes of the prepare pool at random."""
    kill_so_many(bench, bench.times(10, 200), bench.times(20, 240))


def kill_so_many(bench: Bench, wanted: int, seconds: float) -> None:
    killed = 0
    deadline = time.monotonic() + seconds
    while killed < wanted and time.monotonic() < deadline and bench.open_jobs():
        killed += bench.crew.kill_child("prepare", bench.chance.randrange(8))
        time.sleep(bench.chance.uniform(0.1, 0.5))
    if killed < wanted:
        bench.complaints.append(f"only {killed} of {wanted} kills: the work or the time ran out")
    bench.notes.append(f"{killed} kills, {PATIENT} tries allowed")


def kill_workers(bench: Bench) -> None:
    """2: SIGKILL whole workers, with all their children, at random."""
    wanted, killed = bench.times(3, 45), 0
    while killed < wanted and bench.open_jobs():
        bench.crew.kill(bench.chance.choice(bench.crew.names("prepare", "infer")))
        killed += 1
        time.sleep(bench.chance.uniform(1, 5))
    if killed < wanted:
        bench.complaints.append(f"only {killed} of {wanted} kills: the work ran out")
    bench.notes.append(f"{killed} kills, {PATIENT} tries allowed")


def crash_at_points(bench: Bench) -> None:
    """3: every armed point must have been met; each ended its process. A collection goes through meanwhile."""
    points = bench.setup.crash_points
    if "steward" in bench.crew.names():
        bench.submit_collection(bench.setup.items)

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
    # Those of a steward who lets a collection in and follows it to its end, and of work that was tried before.
    "store.create.open",
    "store.create.collections",
    "store.delete.open-collections",
    "ledger.admit.job",
    "store.create.alone",
    "store.create.tries",
    "store.create.quarantine",
)


def freeze_one(bench: Bench) -> None:
    """13: SIGSTOP a worker until another has done its work, then let it go on and write."""
    frozen = 0
    for name in ("infer", "second") * bench.times(1, 3):
        if not bench.wait_for(lambda: len(bench.leases("infer")) >= 2, 60, "both workers infer"):
            break
        bench.crew.signal(name, signal.SIGSTOP)
        frozen += 1
        in_engine = frozenset(bench.engine_log.unfinished())
        time.sleep(bench.setup.lease_seconds + 7)
        # Where it had nothing in its engine, this is in vain, and no fault: one of all must come back too late.
        bench.comes_true(partial(_another_has_done, bench, in_engine), 60)
        bench.crew.signal(name, signal.SIGCONT)
        time.sleep(1)
    bench.notes.append(f"{frozen} times frozen")


def _another_has_done(bench: Bench, requests: frozenset[str]) -> bool:
    return bool(requests & bench.engine_log.done_by_another())


def expect_work_twice(bench: Bench) -> None:
    freeze_one(bench)
    if not bench.engine_log.duplicate_seconds():
        bench.complaints.append("no frozen worker came back to work that another had done")


def broken(folder: Path, chance: random.Random) -> list[Item]:
    """What no decoder can read, so that something ends in quarantine."""
    return [load.bytes_of(folder / "noise.mp3", chance.randbytes(4000))]


TWO = {"prepare": "prepare", "infer": "infer", "second": "infer", "steward": "steward"}
ZOMBIES = Setup(items=60, full={"items": 500}, crew=TWO, engine_seconds=1.0, stall_seconds=60, tones=False)
KILLS = Setup(items=60, full={"items": 1200}, per_second=8, max_attempts=PATIENT)
#: Slow enough that each kill meets work in hand, on a fast machine as well.
SLOW = replace(KILLS, full={"items": 700}, per_second=4, engine_seconds=0.7)
CRASHES = Setup(
    items=60, per_second=2, long_every=5, sick=broken, crash_points=POINTS, max_attempts=PATIENT, quiet_seconds=300
)

EXPERIMENTS = (
    Experiment(
        number=1,
        name="SIGKILL of pool processes",
        strike=kill_children,
        setup=KILLS,
        controls=(
            # Most kills meet a process between two pieces of work, where nothing is lost: it takes many.
            replace(without_steward(replace(KILLS, items=400)), strike=lambda bench: kill_so_many(bench, 80, 60)),
        ),
        quick=True,
    ),
    Experiment(
        number=2,
        name="SIGKILL of whole workers",
        strike=kill_workers,
        setup=SLOW,
        controls=(without_steward(SLOW),),
    ),
    Experiment(
        number=3,
        name="crash at every named point",
        strike=crash_at_points,
        setup=CRASHES,
        controls=(without_steward(replace(CRASHES, sick=Setup.sick, crash_points=both("infer.receive"))),),
    ),
    Experiment(
        number=13,
        name="SIGSTOP past the lease, then CONT",
        strike=expect_work_twice,
        setup=ZOMBIES,
        controls=(
            Control(
                name="store without conditions",
                setup=replace(ZOMBIES, **UNCONDITIONAL),
                finds="doubled",
                strike=freeze_one,
            ),
        ),
    ),
)
