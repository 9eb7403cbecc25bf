"""Far more work than the queue should hold, while workers are rolled over and stewards die."""

import time

from tests.faults.bench import Bench, Setup
from tests.faults.experiment import Experiment
from tests.faults.experiments.queue import MEMORY_BOUND_MB


def roll(bench: Bench) -> None:
    """20: SIGTERM to one worker after the other, SIGKILL to a steward of two, again and again."""
    rounds = 0
    deadline = time.monotonic() + bench.times(20, 120)
    while time.monotonic() < deadline and bench.open_jobs():
        rounds += 1
        for name in ("infer", "prepare"):
            bench.crew.terminate(name)
            time.sleep(bench.chance.uniform(2, 4))
        bench.crew.kill(bench.chance.choice(("steward", "deputy")))
        time.sleep(bench.chance.uniform(0, 2))
    if bench.meter.redis_mb > MEMORY_BOUND_MB:
        bench.complaints.append(f"Redis took {bench.meter.redis_mb:.0f} MB")
    bench.notes.append(f"{rounds} rounds of restarts, two stewards")


EXPERIMENTS = (
    Experiment(
        number=20,
        name="a backlog, rolling restarts, two stewards",
        strike=roll,
        setup=Setup(
            items=200,
            full_items=3000,
            per_second=200,
            jobs_in_flight=64,
            tones=False,
            engine_seconds=0.05,
            crew={"prepare": "prepare", "infer": "infer", "steward": "steward", "deputy": "steward"},
            quiet_seconds=600,
        ),
    ),
)
