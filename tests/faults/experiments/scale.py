"""Far more work than the queue may hold, while workers are rolled over and stewards die."""

import time

from tests.faults.bench import Bench
from tests.faults.experiment import Experiment
from tests.faults.setup import Setup

#: Redis may take this much, MB, however many jobs wait: I4.
MEMORY_BOUND_MB = 100


def roll(bench: Bench) -> None:
    """20: a collection is submitted at once; SIGTERM to one worker after the other, SIGKILL to a steward of two."""
    number = bench.times(300, 4000)
    bench.submit_collection(number)
    bench.wait_for(lambda: bench.results() > 0, 60, "the collection is worked on")
    rounds = 0
    deadline = time.monotonic() + bench.times(20, 120)
    while time.monotonic() < deadline and bench.open_jobs():
        rounds += 1
        for name in ("infer", "prepare"):
            bench.crew.terminate(name)
            time.sleep(bench.chance.uniform(3, 5))
        bench.crew.kill(bench.chance.choice(("steward", "deputy")))
        time.sleep(bench.chance.uniform(0, 2))
    if bench.meter.redis_mb > MEMORY_BOUND_MB:
        bench.complaints.append(f"Redis took {bench.meter.redis_mb:.0f} MB")
    bench.notes.append(f"{rounds} rounds of restarts, two stewards, {bench.setup.jobs_in_flight} jobs let in at once")


EXPERIMENTS = (
    Experiment(
        number=20,
        name="a collection, rolling restarts, two stewards",
        strike=roll,
        setup=Setup(
            items=0,
            jobs_in_flight=64,
            tones=False,
            engine_seconds=0.05,
            crew={"prepare": "prepare", "infer": "infer", "steward": "steward", "deputy": "steward"},
            quiet_seconds=600,
        ),
    ),
)
