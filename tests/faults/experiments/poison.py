"""Media that cannot succeed, and media that ends whoever touches it: each is quarantined, and nothing else is."""

import random
from dataclasses import replace
from pathlib import Path

from tests.fault_workers import KILL_HZ
from tests.faults import load
from tests.faults.bench import Bench
from tests.faults.experiment import Control, Experiment
from tests.faults.load import Item
from tests.faults.setup import Setup
from tests.hostile.bombs import bombs

MAX_TRIES = 3


def corpus(folder: Path, chance: random.Random) -> list[Item]:
    """Truncated, empty, misnamed, blown up; and names that make their process crash, run out of memory, or not end."""
    whole = load.tone(folder / "whole.wav", 300, chance).path.read_bytes()
    files = {
        "empty.wav": b"",
        "noise.mp3": chance.randbytes(4000),
        "header only.wav": whole[:40],
        "zip.mp4": bombs()["zip"],
        "channels.wav": bombs()["wav of 65,535 channels"],
        "no end.mkv": bombs()["matroska without an end"],
        "laughs.mp3": bombs()["a billion laughs"],
        "pixels.png": bombs()["png of 30,000 x 30,000"],
    }
    made = [load.bytes_of(folder / name, data) for name, data in files.items()]
    for name in ("!crash", "!memory", "!endless", "!deaf"):
        made.append(load.tone(folder / f"{name}.wav", 300, chance, fate="failed"))
    for order in ("crash", "memory"):
        made.append(load.text(folder / f"engine {order}.txt", chance, 3, f"!{order}", fate="failed"))
    made.append(load.tone(folder / "kills the engine.wav", KILL_HZ, chance, fate="failed"))
    return made


def killer(folder: Path, chance: random.Random) -> list[Item]:
    return [load.tone(folder / "kills the engine.wav", KILL_HZ, chance, fate="failed")]


def expect_few_tries(bench: Bench) -> None:
    """18: wait, then see that none was tried more often than allowed."""
    bench.wait_for(lambda: not bench.open_jobs(), bench.setup.quiet_seconds, "all has ended")
    told, begun = bench.tries(), bench.engine_log.begun()
    for name, tries in (("by the results", told), ("by the engine's own log", begun)):
        if max(tries.values(), default=0) > MAX_TRIES:
            bench.complaints.append(f"tried {max(tries.values())} times {name}")
    with bench.redis() as client:
        bench.notes.append(f"{client.hlen('faults:unacked')} messages left unacknowledged")


def expect_prepare_alive(bench: Bench) -> None:
    """18: as above; whatever one process of its pool met, the worker that prepares never ended."""
    expect_few_tries(bench)
    if bench.crew.exits("prepare"):
        bench.complaints.append(f"the prepare worker ended {len(bench.crew.exits('prepare'))} times")


def nothing(bench: Bench) -> None:
    """The items are the fault."""


#: Time limits that end what hangs within seconds; the real ones take half an hour.
LIMITED = {"FAULTS_LIMITS": "4,7"}
POISON = Setup(items=30, full={"items": 60}, sick=corpus, environment=LIMITED, quiet_seconds=240)

EXPERIMENTS = (
    Experiment(
        number=18,
        name="poisoned media",
        strike=expect_prepare_alive,
        setup=POISON,
        controls=(
            Control(
                name="tries not counted",
                setup=replace(
                    POISON,
                    sick=killer,
                    environment={"FAULTS_WITHOUT": "counting"},
                    quiet_seconds=40,
                ),
                finds="lost",
                strike=nothing,
            ),
        ),
    ),
)
