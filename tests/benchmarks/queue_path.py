"""queue-path: what the way through queue, object store and workers costs, without a model (the engine echoes).

Two loads, each a collection: text documents of many segments, and tiny documents that are one segment each. Requests to
the object store are counted by SeaweedFS itself, commands by Valkey itself, CPU seconds of all processes together
(workers, SeaweedFS, Valkey) by the kernel. What the submitter does is told apart, and so is what the steward asks the
store by the clock: that is counted beside an open collection of which nothing is left to do.

Then fleets of one, two and four infer workers, each with as many processes that cut, whose engine takes a fixed time
for a few slots: as long as cores are free, each worker should add what the first one does. Where they are full, the
engine that takes no time tells how much that is. The share of all cores that was busy is told beside each, whoever kept
them so, and how much of it was this mill.

All texts that come out are compared with what went in before a figure is told.
"""

import json
import os
import socket
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import redis
from rich.console import Console
from rich.table import Table

from pipeline import keys
from pipeline.broker import Queues, create_app
from pipeline.collecting.record import Collection, Ended, Line
from pipeline.collecting.shards import Writer, all_lines, read_collection
from pipeline.daemon import HOST
from pipeline.identity import NORMAL
from pipeline.job import Options, Result
from pipeline.local import Worker
from pipeline.producer import Producer
from pipeline.redis_ledger import RedisLedger
from pipeline.services import SeaweedFS, Valkey
from pipeline.settings import Engine, Settings, Speech, Steward, Workers, asked_engine
from pipeline.stages import Ports
from pipeline.store import S3Store, open_store
from tests.fleet import running as fleet_running

SEGMENT_CHARACTERS = 8_000
LONG_JOBS, LONG_SEGMENTS = 40, 50
SHORT_JOBS = 500
OPTIONS = Options(to="de")
#: What the engine says of each segment, before the segment's own text.
ASKED = "Asked: Translate this text into German."
ROLES = ("steward", "prepare", "infer")

IDLE_SECONDS = 8  # in which the looks are counted that are made by the clock

#: Infer workers, step by step.
FLEETS = (1, 2, 4)
SLOTS, ANSWER_SECONDS = 8, 0.2  # so that one worker answers 40 segments a second
JOBS_A_WORKER = 6  # of LONG_SEGMENTS each
START_SECONDS = 120

Texts = Callable[[int], str]  #: the text of each document, by its number


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
    busy: float  #: core-seconds of the whole machine in which it was not idle
    at: float


class Mill:
    """The services and the workers of a small fleet, each with its counters."""

    def __init__(self, folder: Path, roles: Sequence[str], engine: Engine, prepare_processes: int) -> None:
        self.folder = folder
        self.valkey, self.seaweedfs = Valkey(folder), CountingSeaweedFS(folder)
        self.valkey.start()
        self.seaweedfs.start()
        self.settings = Settings(
            data_dir=folder,
            redis=self.valkey.settings,
            s3=self.seaweedfs.settings,
            engine=engine,
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
        self.pids = [(worker.role, worker.pid) for worker in self.workers if worker.pid is not None]
        """Of all workers, those that somebody else started among them."""
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
        return Seen(self.seaweedfs.requests(), commands, self._cpu(), busy_core_seconds(), time.monotonic())

    def redis_megabytes(self) -> float:
        return float(self._client.info("memory")["used_memory"]) / 1e6

    def _cpu(self) -> dict[str, float]:
        cpu: Counter[str] = Counter()
        for name, pid in (*self.pids, ("valkey", self.valkey.pid), ("seaweedfs", self.seaweedfs.pid)):
            for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                times = process.cpu_times()
                # Of pool processes that were replaced, their parent has the time.
                cpu[name] += times.user + times.system + times.children_user + times.children_system
        return dict(cpu)


def busy_core_seconds() -> float:
    """Of all cores since the machine's start."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


ECHO = Engine(name="echo", model="echo", max_batch=16, batch_wait=0.002)


@contextmanager
def mill(roles: Sequence[str] = ROLES, engine: Engine = ECHO, prepare_processes: int = 2) -> Iterator[Mill]:
    with tempfile.TemporaryDirectory(prefix="reelmill-queue-") as folder:
        running = Mill(Path(folder), roles, engine, prepare_processes)
        try:
            yield running
        finally:
            running.stop()


def begin(running: Mill, name: str) -> Writer:
    """A collection that is open until its writer is closed."""
    engine = asked_engine(running.settings.engine)
    return Writer(running.store, Collection(id=name, name=name, engine=engine, submitted_at=datetime.now(UTC)))


def add(running: Mill, writer: Writer, number: int, text: str, folder: Path) -> None:
    """One document more, whose number is in its name."""
    path = folder / f"{writer.collection.id}-{number}.txt"
    path.write_text(text)
    media, is_new = running.producer.upload(path, path.name, NORMAL.tenant)
    writer.add(Line(media=media, task="translate", options=OPTIONS, is_new=is_new))


def submit(running: Mill, name: str, texts: Texts, jobs: int, folder: Path) -> None:
    """A collection of text documents."""
    writer = begin(running, name)
    for number in range(jobs):
        add(running, writer, number, texts(number), folder)
    writer.close()


def wait(running: Mill, name: str) -> Ended:
    while not running.store.exists(keys.ended_collection(name)):
        running.own_looks += 1
        time.sleep(0.2)
    running.own_looks += 2
    return Ended.from_bytes(running.store.get(keys.ended_collection(name)))


def long_text(name: str, number: int) -> str:
    return f"document {number} of {name}. " + "word " * (LONG_SEGMENTS * SEGMENT_CHARACTERS // 5 - 10)


def short_text(name: str, number: int) -> str:
    return f"a short text of {name}, number {number}"


def refuse_other_text(result: Result, text: str) -> None:
    """Stop unless the text of a result is the echo of a document."""
    if heard([segment.text for segment in result.segments]) != text.split():
        raise SystemExit(f"the text of {result.media.name} is another one: no figure is told")


def heard(answers: Sequence[str]) -> list[str] | None:
    """The words that the engine was given, by its answers; None where one of them is no echo."""
    if not all(answer.startswith(ASKED) for answer in answers):
        return None
    return [word for answer in answers for word in answer.removeprefix(ASKED).split()]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one load took, from the first line in to the collection's end."""

    jobs: int
    segments: int
    seconds: float
    requests: Counter[str]
    commands: Counter[str]
    cpu: Mapping[str, float]
    busy: float  #: core-seconds, whoever used them

    @property
    def segments_per_second(self) -> float:
        return self.segments / self.seconds


def measure(running: Mill, name: str, text: Callable[[str, int], str], jobs: int, folder: Path) -> Cost:
    """Submit first (not measured: the steward waits), then let the mill at it; look at all texts at the end."""
    steward = psutil.Process(dict(running.pids)["steward"])
    steward.suspend()
    submit(running, name, lambda number: text(name, number), jobs, folder)
    before, own_before = running.look(), running.own_looks
    steward.resume()
    ended = wait(running, name)
    after = running.look()
    own = Counter(GET=running.own_looks - own_before)  # it counts HEAD as one
    assert ended.tally.statuses == {"done": jobs}, ended
    return Cost(
        jobs,
        _segments(running, name, text),
        after.at - before.at,
        after.requests - before.requests - own,
        after.commands - before.commands,
        {role: after.cpu[role] - before.cpu[role] for role in after.cpu},
        after.busy - before.busy,
    )


def _segments(running: Mill, name: str, text: Callable[[str, int], str]) -> int:
    """How many the documents of a collection became; their texts are what they should be."""
    collection, segments = read_collection(running.store, name), 0
    for number, line in enumerate(all_lines(running.store, name)):
        result = running.producer.result(line.job(collection).id)
        refuse_other_text(result, text(name, number))
        segments += len(result.segments)
    return segments


@dataclass(frozen=True, slots=True)
class Looks:
    """What is asked of the store by the clock, whatever there is to do."""

    requests: Counter[str]
    seconds: float

    @property
    def per_second(self) -> float:
        return self.requests.total() / self.seconds

    def within(self, requests: Counter[str], seconds: float) -> float:
        """How many of a load's requests these are, at the most.

        No more than the clock allows; and no more than there were listings, of which each look makes the same number
        and a job of one segment none: a busy steward looks less often.
        """
        by_clock = seconds / self.seconds
        by_listings = requests["LIST"] / self.requests["LIST"] if self.requests["LIST"] else 0.0
        return self.requests.total() * min(by_clock, by_listings)


def looks(running: Mill, name: str, folder: Path) -> Looks:
    """Of a steward that follows a collection of which all lines that are in have ended."""
    writer = begin(running, name)
    add(running, writer, 0, short_text(name, 0), folder)
    writer.flush()
    ended = keys.result(next(all_lines(running.store, name)).job(writer.collection).id)
    while not running.store.exists(ended):
        time.sleep(0.2)
    time.sleep(2 * running.settings.steward.interval)  # its end is noted, too
    before = running.look()
    time.sleep(IDLE_SECONDS)
    after = running.look()
    writer.close()
    wait(running, name)
    return Looks(after.requests - before.requests, after.at - before.at)


def growth(folder: Path, scale: float = 1.0) -> dict[int, Cost]:
    """The same work for each worker, with more and more workers whose engine takes its time."""
    os.environ["FAULTS_ENGINE_SECONDS"] = str(ANSWER_SECONDS)
    engine = ECHO.model_copy(update={"max_batch": SLOTS})
    costs: dict[int, Cost] = {}
    with mill((), engine, prepare_processes=1) as running, ExitStack() as fleets:
        for workers in FLEETS:
            for number in range(len(running.pids) // 2, workers):
                _start_more(running, number, fleets)
            _wait_for_workers(running.settings, 2 * workers)
            measure(running, f"warm-{workers}", short_text, 8 * workers, folder)
            jobs = max(1, round(scale * JOBS_A_WORKER)) * workers
            costs[workers] = measure(running, f"fleet-{workers}", long_text, jobs, folder)
    return costs


def _start_more(running: Mill, number: int, fleets: ExitStack) -> None:
    """One infer worker and one that cuts; with the first ones, the steward."""
    roles = ("prepare", "infer") if number else ROLES
    logs = running.folder / f"logs-{number}"
    logs.mkdir()
    fleet = fleets.enter_context(fleet_running(running.settings, logs, *roles, module="tests.fault_workers"))
    running.pids += [(role, fleet.pid(role)) for role in roles]


def _wait_for_workers(settings: Settings, number: int) -> None:
    """Until so many answer, over the queue."""
    deadline = time.monotonic() + START_SECONDS
    with create_app(settings) as app:
        while len(app.control.ping(timeout=1)) < number:
            if time.monotonic() > deadline:
                raise SystemExit(f"not all of {number} workers answer within {START_SECONDS} s")


def main() -> None:
    infer_workers = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    scale = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    with tempfile.TemporaryDirectory() as texts:
        folder = Path(texts)
        with mill([*ROLES, *["infer"] * (infer_workers - 1)]) as running:
            measure(running, "warm", short_text, 20, folder)
            by_clock = looks(running, "idle", folder)
            long = measure(running, "long", long_text, round(scale * LONG_JOBS), folder)
            short = measure(running, "short", short_text, round(scale * SHORT_JOBS), folder)
        fleets = growth(folder, scale)
    console = Console()
    console.print(_table("a segment of a long job", long, long.segments))
    console.print(_table("a one-segment job", short, short.jobs))
    console.print(_looks_table(by_clock))
    console.print(_growth_table(fleets, long))
    figures = {
        "segments_per_second": round(long.segments_per_second, 1),
        "redis_commands": round(long.commands.total() / long.segments, 1),
        "s3_calls": round(long.requests.total() / long.segments, 2),
        "cpu_ms": round(1000 * sum(long.cpu.values()) / long.segments, 2),
        "jobs_per_second_one_segment": round(short.jobs / short.seconds, 1),
        "s3_calls_one_segment_job": round(short.requests.total() / short.jobs, 2),
        "s3_calls_one_segment_job_without_looks": round(own_calls(short, by_clock), 2),
        "s3_looks_per_second": round(by_clock.per_second, 1),
        "cores_busy": round(_share_of_cores(long.busy, long), 2),
        **growth_figures(fleets),
    }
    print(json.dumps({"benchmark": "queue-path", "figures": figures}))


def own_calls(cost: Cost, by_clock: Looks) -> float:
    """Requests for each job beyond what is asked by the clock."""
    return (cost.requests.total() - by_clock.within(cost.requests, cost.seconds)) / cost.jobs


def growth_figures(fleets: Mapping[int, Cost]) -> dict[str, float]:
    """By name: how fast each fleet was, over the smallest one, and which share of all cores was busy meanwhile."""
    figures: dict[str, float] = {}
    least = fleets[min(fleets)].segments_per_second
    for workers, cost in fleets.items():
        name = f"{workers}_worker{'s' if workers > 1 else ''}"
        figures[f"segments_per_second_{name}"] = round(cost.segments_per_second, 1)
        if workers > min(fleets):
            figures[f"growth_{name}"] = round(cost.segments_per_second / least, 2)
        figures[f"cores_busy_{name}"] = round(_share_of_cores(cost.busy, cost), 2)
    return figures


def _share_of_cores(core_seconds: float, cost: Cost) -> float:
    return core_seconds / (cost.seconds * (os.cpu_count() or 1))


def _table(name: str, cost: Cost, each: int) -> Table:
    table = Table("what", f"for {name}", box=None, title=f"{each} in {cost.seconds:.1f} s: {each / cost.seconds:.0f}/s")
    for kind, number in cost.requests.most_common():
        table.add_row(f"S3 {kind}", f"{number / each:.2f}")
    for kind, number in cost.commands.most_common(12):
        table.add_row(f"Redis {kind}", f"{number / each:.2f}")
    for role, seconds in sorted(cost.cpu.items()):
        table.add_row(f"CPU of {role}", f"{1000 * seconds / each:.2f} ms")
    return table


def _looks_table(by_clock: Looks) -> Table:
    title = f"{by_clock.per_second:.1f} looks a second, by the clock"
    table = Table("what", "a second, beside an open collection", box=None, title=title)
    for kind, number in by_clock.requests.most_common():
        table.add_row(f"S3 {kind}", f"{number / by_clock.seconds:.2f}")
    return table


def _growth_table(fleets: Mapping[int, Cost], at_once: Cost) -> Table:
    title = f"{SLOTS} slots, {ANSWER_SECONDS:g} s for an answer: {SLOTS / ANSWER_SECONDS:.0f}/s at most for each worker"
    table = Table("infer workers", "segments a second", "cores busy", "by the mill", box=None, title=title)
    rows = {str(workers): cost for workers, cost in fleets.items()} | {"answered at once": at_once}
    for name, cost in rows.items():
        shares = (_share_of_cores(seconds, cost) for seconds in (cost.busy, sum(cost.cpu.values())))
        table.add_row(name, f"{cost.segments_per_second:.1f}", *(f"{share:.0%}" for share in shares))
    return table


if __name__ == "__main__":
    main()
