"""A local mill observed from outside while it works: the memory of its processes, its messages, its bucket."""

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis

from pipeline import keys, local
from pipeline.errors import ReelmillError
from pipeline.settings import Settings
from pipeline.store import ObjectStore, open_store

PERIOD = 0.2  # seconds between two looks
MEBIBYTE = 1024 * 1024


@dataclass(slots=True)
class Seen:
    """What all looks together saw."""

    memory: list[float] = field(default_factory=list)
    """MiB that the largest process of the prepare worker (pool and ffmpeg included) held, look by look."""
    message_sizes: list[int] = field(default_factory=list)
    """Bytes of each message on a list or in a worker's hands."""
    windows_at_once: int = 0
    """Most windows that had segments in the bucket and no plan yet."""
    plans_at_first_answer: int | None = None
    num_plans: int = 0

    @property
    def peak_memory(self) -> float:
        return max(self.memory)


def watch(process: "subprocess.Popen[bytes]", data_dir: Path, *, seconds: float) -> Seen:
    """Look at the mill of a `run` until that ends. Ends it, and fails, when it takes longer than `seconds`."""
    seen = Seen()
    deadline = time.monotonic() + seconds
    reached: Settings | None = None
    store: ObjectStore | None = None
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"the run did not end in {seconds:g} s")
        _look_at_memory(process.pid, seen)
        reached = reached or local.reach(Settings(data_dir=data_dir))
        if reached is not None:
            try:
                _look_at_queue(reached, seen)
                store = store or open_store(reached.s3)
                _look_at_bucket(store, seen)
            except (redis.RedisError, ReelmillError):
                pass  # the run is stopping its services
        time.sleep(PERIOD)
    return seen


def _look_at_memory(pid: int, seen: Seen) -> None:
    sizes = [0]
    for process in psutil.process_iter(["cmdline", "ppid"]):
        if process.info["ppid"] == pid and (process.info["cmdline"] or [])[-2:] == ["workers", "prepare"]:
            for member in (process, *_below(process)):
                try:
                    sizes.append(member.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
    seen.memory.append(max(sizes) / MEBIBYTE)


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _look_at_queue(settings: Settings, seen: Seen) -> None:
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as client:
        for key in client.scan_iter(_type="list"):
            seen.message_sizes += map(len, client.lrange(key, 0, -1))  # type: ignore[arg-type]
        seen.message_sizes += map(len, client.hvals(f"{settings.redis.namespace}:unacked"))  # type: ignore[arg-type]


def _look_at_bucket(store: ObjectStore, seen: Seen) -> None:
    parts = [key.removeprefix(keys.JOBS).split("/", 1) for key in store.list(keys.JOBS)]
    places = {kind: set[tuple[str, int]]() for kind in ("plans", "segments", "answers")}
    for job, rest in parts:
        kind = rest.split("/")[0]
        if kind in places:
            places[kind].add((job, keys.numbers(rest)[0]))
    seen.windows_at_once = max(seen.windows_at_once, len(places["segments"] - places["plans"]))
    seen.num_plans = max(seen.num_plans, len(places["plans"]))
    if places["answers"] and seen.plans_at_first_answer is None:
        seen.plans_at_first_answer = len(places["plans"])


class PeakOfChildren:
    """Most memory, in kB, that any process below this one held while it was watched.

    What the kernel tells of ended children (`ru_maxrss`) would not do: it knows of all there ever were, and of the
    memory of this process, which a child has until it becomes another program.
    """

    def __init__(self) -> None:
        self.kilobytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "PeakOfChildren":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.kilobytes = max([self.kilobytes, *peaks_of_children(psutil.Process())])


def peaks_of_children(process: psutil.Process) -> list[int]:
    """Most memory, in kB, that each process below one ever held.

    Until it becomes another program, a child has the memory of its parent: such are left out.
    """
    _, own = peak_of(process.pid)
    found = [peak_of(child.pid) for child in _below(process)]
    return [peak for peak, program in found if program not in (own, b"")]


def peak_of(pid: int) -> tuple[int, bytes]:
    """Most memory, in kB, that a process ever held, and its command line; nothing of one that is gone."""
    place = Path(f"/proc/{pid}")
    try:
        lines, program = (place / "status").read_text().splitlines(), (place / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0, b""
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0), program


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so; fails when it does not become so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def mill_processes(data: Path) -> list[psutil.Process]:
    """Every process that has this data directory in its command line, environment or as its folder."""
    found = []
    for process in psutil.process_iter():
        try:
            traces = [*process.cmdline(), process.cwd(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(data) in trace for trace in traces) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found
