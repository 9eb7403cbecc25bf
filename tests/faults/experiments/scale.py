"""Far more work than the queue may hold, while workers are rolled over, stewards die, or everything does at once."""

import json
import shutil
import time

from tests.faults.bench import Bench
from tests.faults.experiment import Experiment
from tests.faults.experiments.queue import data_dir, kill_server
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


def lose_everything(bench: Bench) -> None:
    """22: at half of a collection every process dies and Redis with all it holds; then all is started anew.

    No answer that was in the bucket by then may be computed again, counted by the engine's own log.
    """
    number = bench.times(200, 2000)
    bench.submit_collection(number)
    if not bench.wait_for(lambda: bench.results() >= number / 2, 600, "half of it has ended"):
        return
    crew = {name: bench.setup.crew[name] for name in bench.crew.names()}
    for name in crew:
        bench.crew.dismiss(name)
    kill_server(bench)
    bench.valkey.stop()
    shutil.rmtree(data_dir(bench) / "appendonlydir")
    stored = bench.answered()
    given = len(bench.engine_log.read_text().splitlines())
    bench.valkey.start()
    for name, role in crew.items():
        bench.crew.start(name, role, bench.routed(name))
    seconds = bench.await_quiet()
    later = [json.loads(line)["id"] for line in bench.engine_log.read_text().splitlines()[given:]]
    again = sorted(stored.intersection(later))
    if again:
        bench.complaints.append(f"{len(again)} stored answers were computed again: {', '.join(again[:3])}")
    bench.notes.append(
        f"{len(stored)} answers were stored at the loss, {len(later)} were computed after it, in {seconds:.0f} s"
    )


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
    Experiment(
        number=22,
        name="at half of a collection all processes and Redis are lost",
        strike=lose_everything,
        setup=Setup(items=0, jobs_in_flight=64, tones=False, engine_seconds=0.05, quiet_seconds=600),
    ),
)
