"""Far more work than the queue may hold, while workers are rolled over, stewards die, or everything does at once."""

import shutil
import time
from dataclasses import replace

from tests.faults.bench import Bench
from tests.faults.experiment import Control, Experiment
from tests.faults.experiments.queue import data_dir, kill_server
from tests.faults.setup import UNCONDITIONAL, Setup


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
    if not rounds:
        bench.complaints.append("the collection ended before the first restart")
    bench.notes.append(f"{rounds} rounds of restarts, two stewards, {bench.setup.jobs_in_flight} jobs let in at once")


def lose_everything(bench: Bench) -> None:
    """22: at half of a collection every process dies and Redis with all it holds; then all is started anew.

    No answer that was in the bucket by then may be computed again, counted by the engine's own log.
    """
    number = bench.times(200, 2000)
    bench.submit_collection(number)
    if not bench.wait_for(lambda: bench.results() >= number / 2, 600, "half of it has ended"):
        return
    with bench.crew.down():
        kill_server(bench)
        bench.valkey.stop()
        shutil.rmtree(data_dir(bench) / "appendonlydir")
        stored = bench.answered()
        given = len(bench.engine_log.entries())
        bench.valkey.start()
    seconds = bench.await_quiet()
    later = bench.engine_log.begun(since=given)
    bench.found["computed_again"] = tuple(sorted(stored & later.keys()))
    bench.notes.append(
        f"{len(stored)} answers were stored at the loss, {len(later)} were computed after it, in {seconds:.0f} s"
    )


LOST_TO_THE_LAST = Setup(items=0, jobs_in_flight=64, tones=False, engine_seconds=0.05, quiet_seconds=600)
ROLLED = replace(LOST_TO_THE_LAST, crew={**LOST_TO_THE_LAST.crew, "deputy": "steward"})

EXPERIMENTS = (
    Experiment(
        number=20,
        name="a collection, rolling restarts, two stewards",
        strike=roll,
        setup=ROLLED,
        controls=(
            Control(
                name="two stewards at once, no leases, store without conditions",
                setup=replace(ROLLED, **UNCONDITIONAL | {"environment": {"FAULTS_WITHOUT": "office,leases,self-test"}}),
                finds="doubled",
            ),
        ),
    ),
    Experiment(
        number=22,
        name="at half of a collection all processes and Redis are lost",
        strike=lose_everything,
        setup=LOST_TO_THE_LAST,
        controls=(
            Control(
                name="a mill that does not look what is there",
                setup=replace(LOST_TO_THE_LAST, environment={"FAULTS_WITHOUT": "memory"}),
                finds="computed_again",
            ),
        ),
    ),
)
