"""The engine: it dies, hangs, or has too little memory for a batch. Only the culprit pays."""

import random
import signal
from dataclasses import replace
from pathlib import Path

from tests.fault_workers import CRASH_HZ, HANG_HZ, KILL_HZ, LARGE_HZ, MEMORY_HZ
from tests.faults import load
from tests.faults.bench import Bench
from tests.faults.experiment import Control, Experiment
from tests.faults.experiments.poison import expect_few_tries, nothing
from tests.faults.load import Item
from tests.faults.setup import Setup
from workers.infer import LOST


def culprits(folder: Path, chance: random.Random) -> list[Item]:
    """Segments that end, hang or exhaust the engine; and some that only want to be alone in their batch."""
    sick = {"kill": KILL_HZ, "hang": HANG_HZ, "crash": CRASH_HZ, "memory": MEMORY_HZ}
    made = [load.tone(folder / f"{name}.wav", hz, chance, fate="failed") for name, hz in sick.items()]
    return made + [load.tone(folder / f"large {number}.wav", LARGE_HZ, chance) for number in range(3)]


def hanging(folder: Path, chance: random.Random) -> list[Item]:
    return [load.tone(folder / "hang.wav", HANG_HZ, chance, fate="failed")]


def expect_restarts(bench: Bench) -> None:
    """19: as of poisoned media; the watchdog ended the process that hung, and the others died as they were told to."""
    expect_few_tries(bench)
    exits = set(bench.crew.exits("infer"))
    if not exits >= ENDS:
        bench.complaints.append(f"the infer worker ended with {sorted(exits)}, not each of {sorted(ENDS)}")


#: By the watchdog, by SIGKILL, by SIGSEGV.
ENDS = {LOST, -signal.SIGKILL, -signal.SIGSEGV}

FAULTY = Setup(items=40, full={"items": 100}, sick=culprits, stall_seconds=4, quiet_seconds=240)

EXPERIMENTS = (
    Experiment(
        number=19,
        name="engine killed, hung, out of memory",
        strike=expect_restarts,
        setup=FAULTY,
        controls=(
            Control(
                name="no watchdog",
                setup=replace(FAULTY, sick=hanging, stall_seconds=3600, quiet_seconds=30),
                finds="lost",
                strike=nothing,
            ),
        ),
    ),
)
