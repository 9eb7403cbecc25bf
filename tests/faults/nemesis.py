"""The nemesis: random faults from a seed, one after the other, under bad weather that lasts through several of them."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.broker import QUEUES
from tests.faults.bench import Bench
from tests.faults.experiment import Experiment
from tests.faults.experiments.delivery import lacks_faketime, start_jumping
from tests.faults.experiments.disk import fill_for, lacks_mount, small_disk
from tests.faults.experiments.engine import culprits
from tests.faults.experiments.poison import corpus
from tests.faults.experiments.queue import TAKEN_BYTES, data_dir, fail_over
from tests.faults.experiments.workers import PATIENT, POINTS, without_steward
from tests.faults.load import Item
from tests.faults.setup import Setup

ITEMS_PER_SECOND = 2.0
FAULTS_PER_WEATHER = 4
CONTROL_SECONDS = 60
DISK_BYTES = 400_000_000
SLEEPERS = frozenset({"!endless", "!deaf"})


def kill_child(bench: Bench) -> None:
    bench.crew.kill_child("prepare", bench.chance.randrange(8))


def kill_worker(bench: Bench) -> None:
    bench.crew.kill(bench.chance.choice(bench.crew.names()))


def terminate_worker(bench: Bench) -> None:
    bench.crew.terminate(bench.chance.choice(bench.crew.names()))


def freeze_worker(bench: Bench) -> None:
    name = bench.chance.choice(bench.crew.names())
    bench.crew.signal(name, signal.SIGSTOP)
    time.sleep(bench.setup.lease_seconds + 4)
    bench.crew.signal(name, signal.SIGCONT)


def flush(bench: Bench) -> None:
    with bench.redis() as client:
        client.flushall()


def restart_redis(bench: Bench) -> None:
    _end_redis(bench)
    bench.valkey.start()


def forget_redis(bench: Bench) -> None:
    _end_redis(bench)
    shutil.rmtree(data_dir(bench) / "appendonlydir")
    bench.valkey.start()


def _end_redis(bench: Bench) -> None:
    assert bench.valkey.pid is not None
    os.kill(bench.valkey.pid, signal.SIGKILL)
    bench.valkey.stop()
    time.sleep(bench.chance.uniform(0, 3))


def stop_redis(bench: Bench) -> None:
    assert bench.valkey.pid is not None
    os.kill(bench.valkey.pid, signal.SIGSTOP)
    time.sleep(bench.chance.uniform(1, 13))
    os.kill(bench.valkey.pid, signal.SIGCONT)


def fill_redis(bench: Bench) -> None:
    with bench.redis() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] - TAKEN_BYTES)
        time.sleep(bench.chance.uniform(1, 6))
        client.config_set("maxmemory", "512mb")


def kill_clients(bench: Bench) -> None:
    with bench.redis() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def lose_replies(bench: Bench) -> None:
    proxy = bench.redis_proxies[bench.chance.choice(bench.crew.names())]
    proxy.stall(requests=False)
    time.sleep(1)
    proxy.cut()
    proxy.heal()


def go_dead(bench: Bench) -> None:
    proxy = bench.redis_proxies[bench.chance.choice(bench.crew.names())]
    proxy.abandon()


def copy_messages(bench: Bench) -> None:
    with bench.redis() as client:
        for queue in QUEUES:
            waiting = client.lrange(f"faults:{queue}", 0, -1)
            if waiting:
                client.lpush(f"faults:{queue}", *waiting)


def store_away(bench: Bench) -> None:
    assert bench.s3_proxy is not None
    bench.s3_proxy.down = True
    time.sleep(bench.chance.uniform(1, 8))
    bench.s3_proxy.down = False


def crash_somewhere(bench: Bench) -> None:
    bench.arm([bench.chance.choice(POINTS)])


def lose_everything(bench: Bench) -> None:
    with bench.crew.down():
        forget_redis(bench)


def fail_over_for_a_while(bench: Bench) -> None:
    fail_over(bench, lambda: time.sleep(bench.chance.uniform(2, 6)))


def jump_clock(bench: Bench) -> None:
    clock = bench.folder / "clock"
    clock.write_text(bench.chance.choice(("+7200", "-3600")))
    time.sleep(bench.chance.uniform(4, 8))
    clock.write_text("+0")


def fill_disk(bench: Bench) -> None:
    fill_for(bench, bench.chance.uniform(2, 8))


#: Those of every machine.
FAULTS: tuple[Callable[[Bench], None], ...] = (
    kill_child,
    kill_worker,
    terminate_worker,
    freeze_worker,
    flush,
    restart_redis,
    forget_redis,
    stop_redis,
    fill_redis,
    kill_clients,
    lose_replies,
    go_dead,
    copy_messages,
    store_away,
    crash_somewhere,
    lose_everything,
    fail_over_for_a_while,
)
#: Those that a machine may lack something for.
FURTHER: tuple[tuple[Callable[[Bench], None], Callable[[], str | None]], ...] = (
    (jump_clock, lacks_faketime),
    (fill_disk, lacks_mount),
)


def change_weather(bench: Bench) -> None:
    """A store that is overloaded, silent or cut off now and then, a network that is slow; or none of it."""
    bench.heal()
    store = bench.s3_proxy
    assert store is not None
    match bench.chance.randrange(5):
        case 0:
            store.slow_down_rate = 0.1
        case 1:
            store.lose_answer_rate = 0.1
        case 2:
            store.cut_body_rate = 0.1
        case 3:
            for proxy in bench.redis_proxies.values():
                proxy.delay = 0.02


def strike_for(seconds: float) -> Callable[[Bench], None]:
    def strike(bench: Bench) -> None:
        faults = [*FAULTS, *(fault for fault, lacks in FURTHER if lacks() is None)]
        bench.notes += [lack for _, lacks in FURTHER if (lack := lacks()) is not None]
        if jump_clock in faults:
            start_jumping(bench)
        bench.submit_collection(round(seconds / 4))
        counts: Counter[str] = Counter()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if counts.total() % FAULTS_PER_WEATHER == 0:
                change_weather(bench)
            fault = bench.chance.choice(faults)
            counts[fault.__name__] += 1
            fault(bench)
            time.sleep(bench.chance.uniform(0.5, 4))
        told = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in sorted(counts.items()))
        bench.notes.append(f"{counts.total()} faults, {PATIENT} tries allowed: {told}")

    return strike


def sick(folder: Path, chance: random.Random) -> list[Item]:
    """Poisoned media and orders to the engine; without what only a short time limit ends, which bad weather needs."""
    return [item for item in (*corpus(folder, chance), *culprits(folder, chance)) if item.path.stem not in SLEEPERS]


def soak(seconds: float) -> Experiment:
    setup = Setup(
        items=round(seconds * ITEMS_PER_SECOND),
        per_second=ITEMS_PER_SECOND,
        sick=sick,
        crew={"prepare": "prepare", "infer": "infer", "second": "infer", "steward": "steward", "deputy": "steward"},
        redis_proxy=True,
        s3_proxy=True,
        stall_seconds=15,
        max_attempts=PATIENT,
        quiet_seconds=300,
        state=partial(small_disk, num_bytes=DISK_BYTES) if lacks_mount() is None else Setup.state,
    )
    short = min(seconds, CONTROL_SECONDS)
    control = replace(without_steward(setup, 30), strike=strike_for(short))
    return Experiment(
        number=21,
        name=f"soak of {seconds:.0f} s, faults at random",
        strike=strike_for(seconds),
        setup=setup,
        controls=(replace(control, setup=replace(control.setup, items=round(short * ITEMS_PER_SECOND))),),
    )
