"""Redis itself: killed, emptied, stopped, full, or replaced by a copy that missed the last writes."""

import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import redis

from pipeline.services import Valkey
from tests.faults.bench import Bench
from tests.faults.experiment import Control, Experiment
from tests.faults.experiments.workers import WITHOUT_STEWARD
from tests.faults.setup import Setup

#: Of what Redis has in use, so much is taken away: it refuses every write until enough of it is gone.
TAKEN_BYTES = 200_000


def kill_server(bench: Bench) -> None:
    assert bench.valkey.pid is not None
    os.kill(bench.valkey.pid, signal.SIGKILL)
    time.sleep(bench.chance.uniform(1, 4))


def kill_and_restart(bench: Bench) -> None:
    """6: SIGKILL, then a start on the same append-only file, which lacks what was written in the last second."""
    for _ in range(bench.times(1, 4)):
        kill_server(bench)
        bench.valkey.stop()  # takes note of its death
        bench.valkey.start()
        time.sleep(bench.chance.uniform(1, 4))


def kill_and_forget(bench: Bench) -> None:
    """7: SIGKILL, then a start on an empty directory."""
    for _ in range(bench.times(1, 3)):
        kill_server(bench)
        bench.valkey.stop()
        shutil.rmtree(data_dir(bench) / "appendonlydir")
        bench.valkey.start()
        time.sleep(bench.chance.uniform(1, 4))


def data_dir(bench: Bench) -> Path:
    return bench.setup.state(bench.folder) / "services" / bench.valkey.name


def flush(bench: Bench) -> None:
    """7: FLUSHALL on the live server."""
    for _ in range(bench.times(2, 6)):
        with bench.redis() as client:
            client.flushall()
        time.sleep(bench.chance.uniform(0.5, 3))


def stop_server(bench: Bench) -> None:
    """8: SIGSTOP for longer than any socket timeout, then CONT."""
    assert bench.valkey.pid is not None
    seconds = bench.times(14, 60)
    os.kill(bench.valkey.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(bench.valkey.pid, signal.SIGCONT)
    bench.notes.append(f"{seconds} s")


def fill_memory(bench: Bench) -> None:
    """9: no memory left, and nothing may be evicted; submission goes on meanwhile."""
    with bench.redis() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] - TAKEN_BYTES)
        time.sleep(bench.times(10, 40))
        errors = client.info("errorstats").get("errorstat_OOM", {"count": 0})["count"]
        client.config_set("maxmemory", "512mb")
    if not errors:
        bench.complaints.append("Redis refused nothing")
    bench.notes.append(f"{errors} commands refused for want of memory")


def fail_over(bench: Bench) -> None:
    """10: the primary is cut off from its replica, goes on for a while, and then loses all clients to it.

    Some clients are moved before the others, so that for a moment both are written to. The address that clients know
    is a proxy's, as a service address or HAProxy behind Sentinel would be.
    """
    replica = Valkey(bench.folder / "replica")
    replica.start()
    try:
        host, port = bench.address(bench.valkey)
        password = urlsplit(bench.valkey.url).password or ""
        with redis.Redis.from_url(replica.url, socket_timeout=5) as client:
            client.config_set("masterauth", password)
            client.execute_command("REPLICAOF", host, port)
            bench.wait_for(lambda: client.info("replication")["master_link_status"] == "up", 30, "the replica follows")
            time.sleep(2)
            client.execute_command("REPLICAOF", "NO", "ONE")  # the link breaks: from here on it misses all writes
            client.config_set("requirepass", password)
        time.sleep(3)
        for name, proxy in sorted(bench.redis_proxies.items()):
            proxy.target = bench.address(replica)
            proxy.cut()
            time.sleep(0.5 if name != "infer" else 2)
        bench.wait_for(lambda: not bench.open_jobs(), bench.setup.quiet_seconds, "all ended on the replica")
    finally:
        # The old primary comes back with what it knew, and everybody returns to it.
        for proxy in bench.redis_proxies.values():
            proxy.target = bench.address(bench.valkey)
            proxy.cut()
        replica.stop()


USUAL = Setup(items=60, full_items=200, per_second=8)

EXPERIMENTS = (
    Experiment(number=6, name="Redis SIGKILL, restart on its file", strike=kill_and_restart, setup=USUAL),
    Experiment(
        number=7,
        name="Redis SIGKILL, restart empty",
        strike=kill_and_forget,
        setup=USUAL,
        controls=(
            Control(
                name="webhooks crossed out first",
                setup=replace(USUAL, full_items=60, environment={"FAULTS_WITHOUT": "debts"}),
                finds="untold",
            ),
        ),
    ),
    Experiment(
        number=7,
        name="FLUSHALL",
        strike=flush,
        setup=USUAL,
        controls=(
            Control(
                name="no steward",
                setup=replace(USUAL, full_items=60, crew=WITHOUT_STEWARD, quiet_seconds=15),
                finds="lost",
            ),
        ),
        quick=True,
    ),
    Experiment(number=8, name="Redis SIGSTOP, then CONT", strike=stop_server, setup=USUAL, recover_seconds=100),
    Experiment(
        number=9,
        name="Redis out of memory",
        strike=fill_memory,
        setup=Setup(items=150, full_items=500, per_second=20, jobs_in_flight=100_000),
    ),
    Experiment(
        number=10,
        name="failover to a stale replica",
        strike=fail_over,
        setup=replace(USUAL, redis_proxy=True),
    ),
)
