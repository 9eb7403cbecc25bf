"""The network between the workers and Redis: replies that get lost, connections that go dead or are killed."""

import time
from dataclasses import replace

from tests.faults.bench import Bench
from tests.faults.experiment import Control, Experiment
from tests.faults.experiments.workers import without_steward
from tests.faults.setup import UNCONDITIONAL, Setup

WORKERS = ("prepare", "infer")


def lose_replies(bench: Bench) -> None:
    """4: hold back what Redis answers for a second, while it gives out messages, then cut: they are gone from Redis."""
    for _ in range(bench.times(2, 6)):
        for name in WORKERS:
            bench.redis_proxies[name].stall(requests=False)
        time.sleep(1.2)
        for name in WORKERS:
            bench.redis_proxies[name].cut()
            bench.redis_proxies[name].heal()
        time.sleep(bench.chance.uniform(1, 3))


def go_dead(bench: Bench) -> None:
    """5: every connection goes dead without a sign, and new ones hang; after a while new ones work again."""
    proxies = bench.redis_proxies.values()
    for proxy in proxies:
        proxy.abandon()
        proxy.stall()
    seconds = bench.times(12, 600)
    time.sleep(seconds)
    bench.notes.append(f"{seconds} s, by a userspace proxy")


def kill_clients(bench: Bench) -> None:
    """11: CLIENT KILL of all connections every 2 s, while the engine takes longer than that for a batch."""
    before, kills = bench.ended(), bench.times(5, 90)
    for _ in range(kills):
        with bench.redis() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(2)
    progress = bench.ended() - before
    if not progress:
        bench.complaints.append("no job ended during the storm")
    bench.notes.append(f"{kills} storms, {progress} jobs ended meanwhile")


PROXIED = Setup(items=60, full={"items": 200}, per_second=6, redis_proxy=True)
STORM = Setup(
    items=60,
    engine_seconds=2.5,
    stall_seconds=60,
    tones=False,
    full={"items": 24, "engine_seconds": 60.0, "stall_seconds": 200.0, "quiet_seconds": 900.0},
)

EXPERIMENTS = (
    Experiment(
        number=4,
        name="replies of Redis lost",
        strike=lose_replies,
        setup=PROXIED,
        recover_seconds=60,
        controls=(without_steward(PROXIED, 25),),
        quick=True,
    ),
    Experiment(
        number=5,
        name="half-open connections",
        strike=go_dead,
        setup=PROXIED,
        recover_seconds=100,
        controls=(
            Control(
                name="no socket timeouts",
                setup=replace(PROXIED, environment={"FAULTS_WITHOUT": "deadlines"}, quiet_seconds=120),
                finds="lost",
            ),
        ),
    ),
    Experiment(
        number=11,
        name="CLIENT KILL storm",
        strike=kill_clients,
        setup=STORM,
        controls=(
            Control(
                name="no leases, store without conditions",
                setup=replace(STORM, **UNCONDITIONAL | {"environment": {"FAULTS_WITHOUT": "leases,self-test"}}),
                finds="doubled",
            ),
        ),
    ),
)
