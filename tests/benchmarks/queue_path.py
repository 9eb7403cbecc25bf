"""queue-path: what the way through queue, object store and workers costs, without a model (the engine echoes).

Two loads, each a collection: text documents of many segments, and tiny documents that are one segment each. Requests to
the object store are counted by SeaweedFS itself, commands by Valkey itself, CPU seconds of all processes together
(workers, SeaweedFS, Valkey) by the kernel. What the submitter does is told apart.
"""

import json
import socket
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import redis
from rich.console import Console
from rich.table import Table

from pipeline import keys
from pipeline.broker import Queues
from pipeline.collecting.record import Collection, Ended, Line
from pipeline.collecting.shards import Writer, all_lines, read_collection
from pipeline.daemon import HOST
from pipeline.identity import NORMAL
from pipeline.job import Options
from pipeline.local import Worker
from pipeline.producer import Producer
from pipeline.redis_ledger import RedisLedger
from pipeline.services import SeaweedFS, Valkey
from pipeline.settings import Engine, Settings, Speech, Steward, Workers, asked_engine
from pipeline.stages import Ports
from pipeline.store import S3Store, open_store

SEGMENT_CHARACTERS = 8_000
LONG_JOBS, LONG_SEGMENTS = 40, 50
SHORT_JOBS = 1_000
OPTIONS = Options(to="de")
ROLES = ("steward", "prepare", "infer")


class CountingSeaweedFS(SeaweedFS):
    """Tells how many requests of each kind it has served."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        with socket.create_server((HOST, 0)) as free:
            self._metrics_port = int(free.getsockname()[1])

    def _arguments(self) -> list[str]:
        return [*super()._arguments(), f"-metricsPort={self._metrics_port}"]

    def requests(self) -> Counter[str]:
        with urllib.request.urlopen(f"http://{HOST}:{self._metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        counts: Counter[str] = Counter()
        for line in lines:
            if line.startswith("SeaweedFS_s3_request_total{"):
                labels, _, number = line.rpartition(" ")
                counts[labels.split('type="')[1].split('"')[0]] += round(float(number))
        return counts


@dataclass(frozen=True, slots=True)
class Seen:
    """Counters at one moment."""

    requests: Counter[str]
    commands: Counter[str]
    cpu: Mapping[str, float]
    at: float


class Mill:
    """The services and the workers of a small fleet, each with its counters."""

    def __init__(self, folder: Path, roles: Sequence[str], prepare_processes: int) -> None:
        self.valkey, self.seaweedfs = Valkey(folder), CountingSeaweedFS(folder)
        self.valkey.start()
        self.seaweedfs.start()
        self.settings = Settings(
            data_dir=folder,
            redis=self.valkey.settings,
            s3=self.seaweedfs.settings,
            engine=Engine(name="echo", model="echo", max_batch=16, batch_wait=0.002),
            workers=Workers(prepare_processes=prepare_processes, infer_threads=16, cache_dir=folder / "cache"),
            steward=Steward(interval=1),
            speech=Speech(gate="none"),
        )
        self.store: S3Store = open_store(self.settings.s3)
        self.own_looks = 0
        """Requests of whoever waits for the end, which the store counts like any others."""
        self.workers = [Worker(role, self.settings, folder / "logs") for role in roles]
        for worker in self.workers:
            worker.start()
        self._client = redis.Redis.from_url(self.valkey.url)
        self.producer = Producer(
            Ports(store=self.store, ledger=RedisLedger(self.settings), send=Queues(self.settings).send), self.settings
        )

    def stop(self) -> None:
        for worker in self.workers:
            worker.ask_to_stop()
        for worker in self.workers:
            worker.make_stop(time.monotonic() + 10)
        self.seaweedfs.stop()
        self.valkey.stop()

    def look(self) -> Seen:
        stats = self._client.info("commandstats")
        commands = Counter({name.removeprefix("cmdstat_"): int(seen["calls"]) for name, seen in stats.items()})
        return Seen(self.seaweedfs.requests(), commands, self._cpu(), time.monotonic())

    def redis_megabytes(self) -> float:
        return float(self._client.info("memory")["used_memory"]) / 1e6

    def _cpu(self) -> dict[str, float]:
        pids = [(worker.role, worker.pid) for worker in self.workers]
        pids += [("valkey", self.valkey.pid), ("seaweedfs", self.seaweedfs.pid)]
        cpu: Counter[str] = Counter()
        for name, pid in pids:
            for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                times = process.cpu_times()
                # Of pool processes that were replaced, their parent has the time.
                cpu[name] += times.user + times.system + times.children_user + times.children_system
        return dict(cpu)


@contextmanager
def mill(roles: Sequence[str] = ROLES, prepare_processes: int = 2) -> Iterator[Mill]:
    with tempfile.TemporaryDirectory(prefix="reelmill-queue-") as folder:
        running = Mill(Path(folder), roles, prepare_processes)
        try:
            yield running
        finally:
            running.stop()


def submit(running: Mill, name: str, texts: Iterator[str], folder: Path) -> int:
    """A collection of text documents; returns how many."""
    collection = Collection(
        id=name, name=name, engine=asked_engine(running.settings.engine), submitted_at=datetime.now(UTC)
    )
    writer = Writer(running.store, collection)
    for number, text in enumerate(texts):
        path = folder / f"{name}-{number}.txt"
        path.write_text(text)
        media, is_new = running.producer.upload(path, path.name, NORMAL.tenant)
        writer.add(Line(media=media, task="translate", options=OPTIONS, is_new=is_new))
    writer.close()
    return writer.lines


def wait(running: Mill, name: str) -> Ended:
    while not running.store.exists(keys.ended_collection(name)):
        running.own_looks += 1
        time.sleep(0.2)
    running.own_looks += 2
    return Ended.from_bytes(running.store.get(keys.ended_collection(name)))


def long_texts(jobs: int = LONG_JOBS) -> Iterator[str]:
    for number in range(jobs):
        yield f"document {number}. " + "word " * (LONG_SEGMENTS * SEGMENT_CHARACTERS // 5 - 10)


def short_texts(jobs: int = SHORT_JOBS) -> Iterator[str]:
    for number in range(jobs):
        yield f"a short text, number {number}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one load took, from the first line in to the collection's end."""

    jobs: int
    segments: int
    seconds: float
    requests: Counter[str]
    commands: Counter[str]
    cpu: Mapping[str, float]


def measure(running: Mill, name: str, texts: Iterator[str], folder: Path) -> Cost:
    """Submit first (not measured: the steward waits), then let the mill at it."""
    steward = psutil.Process(running.workers[0].pid)
    steward.suspend()
    jobs = submit(running, name, texts, folder)
    before, own_before = running.look(), running.own_looks
    steward.resume()
    ended = wait(running, name)
    after = running.look()
    own = Counter(GET=running.own_looks - own_before)  # it counts HEAD as one
    assert ended.tally.statuses == {"done": jobs}, ended
    return Cost(
        jobs,
        _segments(running, name),
        after.at - before.at,
        after.requests - before.requests - own,
        after.commands - before.commands,
        {role: after.cpu[role] - before.cpu[role] for role in after.cpu},
    )


def _segments(running: Mill, name: str) -> int:
    collection = read_collection(running.store, name)
    return sum(
        len(running.producer.result(line.job(collection).id).segments) for line in all_lines(running.store, name)
    )


def main() -> None:
    infer_workers = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    scale = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    console = Console()
    with tempfile.TemporaryDirectory() as texts, mill([*ROLES, *["infer"] * (infer_workers - 1)]) as running:
        folder = Path(texts)
        measure(running, "warm", short_texts(20), folder)
        long = measure(running, "long", long_texts(round(scale * LONG_JOBS)), folder)
        short = measure(running, "short", short_texts(round(scale * SHORT_JOBS)), folder)
    console.print(_table("a segment of a long job", long, long.segments))
    console.print(_table("a one-segment job", short, short.jobs))
    figures = {
        "segments_per_second": round(long.segments / long.seconds, 1),
        "redis_commands": round(long.commands.total() / long.segments, 1),
        "s3_calls": round(long.requests.total() / long.segments, 2),
        "cpu_ms": round(1000 * sum(long.cpu.values()) / long.segments, 2),
        "jobs_per_second_one_segment": round(short.jobs / short.seconds, 1),
        "s3_calls_one_segment_job": round(short.requests.total() / short.jobs, 2),
    }
    print(json.dumps({"benchmark": "queue-path", "figures": figures}))


def _table(name: str, cost: Cost, each: int) -> Table:
    table = Table("what", f"for {name}", box=None, title=f"{each} in {cost.seconds:.1f} s: {each / cost.seconds:.0f}/s")
    for kind, number in cost.requests.most_common():
        table.add_row(f"S3 {kind}", f"{number / each:.2f}")
    for kind, number in cost.commands.most_common(12):
        table.add_row(f"Redis {kind}", f"{number / each:.2f}")
    for role, seconds in sorted(cost.cpu.items()):
        table.add_row(f"CPU of {role}", f"{1000 * seconds / each:.2f} ms")
    return table


if __name__ == "__main__":
    main()
