"""Redis itself: killed, emptied, stopped, full, or replaced by a copy that missed the last writes."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import redis

from pipeline.services import Valkey
from tests.faults.bench import Bench
from tests.faults.experiment import Control, Experiment
from tests.faults.experiments.workers import without_steward
from tests.faults.proxies import address
from tests.faults.sentinels import QUORUM, SENTINELS, watching
from tests.faults.setup import UNCONDITIONAL, Setup

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
    return bench.state / "services" / bench.valkey.name


def flush(bench: Bench) -> None:
    """7: FLUSHALL on the live server."""
    forgotten = 0
    for _ in range(bench.times(2, 6)):
        with bench.redis() as client:
            forgotten += client.dbsize()
            client.flushall()
        time.sleep(bench.chance.uniform(0.5, 3))
    bench.notes.append(f"{forgotten} keys forgotten")


def stop_server(bench: Bench) -> None:
    """8: SIGSTOP for longer than any socket timeout, then CONT; jobs wait for it."""
    assert bench.valkey.pid is not None
    seconds = bench.times(14, 60)
    os.kill(bench.valkey.pid, signal.SIGSTOP)
    time.sleep(seconds)
    waiting = len(bench.open_jobs())
    os.kill(bench.valkey.pid, signal.SIGCONT)
    if not waiting:
        bench.complaints.append("nothing waited for it")
    bench.notes.append(f"{seconds} s, at the end of which {waiting} jobs waited")


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


def fail_over_and_end(bench: Bench) -> None:
    """10: the primary is cut off from its replica, goes on for a while, and then loses all clients to it.

    Some clients are moved before the others, so that for a moment both are written to. The address that clients know
    is a proxy's, as a service address or HAProxy behind Sentinel would be.
    """
    fail_over(
        bench, lambda: bench.wait_for(lambda: not bench.open_jobs(), bench.setup.quiet_seconds, "all ended on it")
    )


def fail_over(bench: Bench, until: Callable[[], object]) -> None:
    """All clients go to a replica that missed the last writes, for so long; then back to the primary as it was."""
    replica = Valkey(bench.folder / f"replica-{bench.chance.randrange(10**6)}")
    replica.start()
    try:
        host, port = address(bench.valkey.url)
        password = urlsplit(bench.valkey.url).password or ""
        with redis.Redis.from_url(replica.url, socket_timeout=5, single_connection_client=True) as client:
            client.config_set("masterauth", password)
            client.execute_command("REPLICAOF", host, port)
            bench.wait_for(lambda: client.info("replication")["master_link_status"] == "up", 30, "the replica follows")
            time.sleep(2)
            client.execute_command("REPLICAOF", "NO", "ONE")  # the link breaks: from here on it misses all writes
            client.config_set("requirepass", password)
            time.sleep(3)
            move_clients(bench, replica)
            until()
            if "cmdstat_brpop" not in client.info("commandstats"):
                bench.complaints.append("nobody came to the replica")
    finally:
        # The old primary comes back with what it knew, and everybody returns to it.
        for proxy in bench.redis_proxies.values():
            proxy.target = address(bench.valkey.url)
            proxy.cut()
        replica.stop()


def move_clients(bench: Bench, server: Valkey) -> None:
    """One after the other, so that for a moment both servers are written to."""
    for name, proxy in sorted(bench.redis_proxies.items()):
        proxy.target = address(server.url)
        proxy.cut()
        time.sleep(0.5 if name != "infer" else 2)


def outvote_primary(bench: Bench) -> None:
    """10: the Sentinels and the replica lose sight of the primary, while all clients still write to it.

    They promote the replica; the clients are moved to it, as HAProxy in front of Sentinel would. When the network is
    whole again, the Sentinels make the old primary forget what it was told alone.
    """
    watch = bench.keep(watching(bench.valkey, bench.folder))
    bench.wait_for(watch.is_ready, 30, "the Sentinels know the replica and each other")
    watch.network.stall()
    if not bench.wait_for(watch.has_promoted, 60, "they promote the replica"):
        return
    if not bench.open_jobs():
        bench.complaints.append("nothing waited for it")
    move_clients(bench, watch.replica)
    time.sleep(bench.times(2, 30))
    watch.network.heal()
    bench.wait_for(watch.has_demoted, 60, "the old primary follows the new one")
    bench.notes.append(f"{SENTINELS} Sentinels of Valkey, a quorum of {QUORUM}")


USUAL = Setup(items=60, full={"items": 200}, per_second=8)
PROXIED = replace(USUAL, redis_proxy=True)
#: So much that some of it waits on the queue of the primary when that is outvoted.
OUTVOTED = replace(PROXIED, items=100, per_second=5, engine_seconds=1.0, full={"items": 300})
FILLED = Setup(items=150, full={"items": 500}, per_second=20, jobs_in_flight=100_000)

EXPERIMENTS = (
    Experiment(
        number=6,
        name="Redis SIGKILL, restart on its file",
        strike=kill_and_restart,
        setup=USUAL,
        controls=(without_steward(USUAL),),
    ),
    Experiment(
        number=7,
        name="Redis SIGKILL, restart empty",
        strike=kill_and_forget,
        setup=USUAL,
        controls=(
            without_steward(USUAL),
            Control(
                name="webhooks crossed out first",
                setup=replace(USUAL, environment={"FAULTS_WITHOUT": "debts"}),
                finds="untold",
            ),
        ),
    ),
    Experiment(
        number=7,
        name="FLUSHALL",
        strike=flush,
        setup=USUAL,
        controls=(without_steward(USUAL),),
        quick=True,
    ),
    Experiment(
        number=8,
        name="Redis SIGSTOP, then CONT",
        strike=stop_server,
        setup=USUAL,
        recover_seconds=60,
        controls=(without_steward(USUAL, 30),),
    ),
    Experiment(
        number=9,
        name="Redis out of memory",
        strike=fill_memory,
        setup=FILLED,
        controls=(without_steward(FILLED, 40),),
    ),
    Experiment(
        number=10,
        name="failover by Sentinels, the primary cut off from them",
        strike=outvote_primary,
        setup=OUTVOTED,
        controls=(without_steward(OUTVOTED, 40),),
    ),
    Experiment(
        number=10,
        name="failover to a stale replica",
        strike=fail_over_and_end,
        setup=PROXIED,
        controls=(
            Control(
                name="no leases, store without conditions",
                setup=replace(
                    PROXIED, items=200, **UNCONDITIONAL | {"environment": {"FAULTS_WITHOUT": "leases,self-test"}}
                ),
                finds="doubled",
            ),
        ),
    ),
)
