"""Real worker processes on the test run's Valkey and SeaweedFS, one bucket and one namespace per fleet."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis

from pipeline.broker import Queues
from pipeline.job import Options, Result, Stage
from pipeline.producer import Producer
from pipeline.redis_ledger import RedisLedger
from pipeline.settings import Settings, child_environment
from pipeline.stages import Ports
from pipeline.store import open_store

ROOT = Path(__file__).parent.parent


class Fleet:
    """Worker processes by role; whatever is killed is started again by `keep_alive`."""

    def __init__(self, settings: Settings, log_dir: Path, module: str = "workers") -> None:
        self.settings = settings
        self.log_dir = log_dir
        self._module = module
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._queues = Queues(settings)
        self._ledger = RedisLedger(settings)
        self.store = open_store(settings.s3)
        self.producer = Producer(Ports(store=self.store, ledger=self._ledger, send=self._queues.send), settings)

    def start(self, *roles: str) -> None:
        for role in roles:
            with (self.log_dir / f"{role}.log").open("ab") as log:
                self._processes[role] = subprocess.Popen(
                    [sys.executable, "-m", self._module, role],
                    cwd=ROOT,
                    env=child_environment(self.settings),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def keep_alive(self) -> None:
        """Start again what has died."""
        for role, process in list(self._processes.items()):
            if process.poll() is not None:
                self.start(role)

    def kill(self, role: str) -> None:
        """SIGKILL a worker and all its children, as an out-of-memory killer or a power cut would."""
        os.killpg(self._processes[role].pid, signal.SIGKILL)
        self._processes[role].wait()

    def kill_child(self, role: str) -> bool:
        """SIGKILL one pool process of a worker; False when it has none yet."""
        children = [
            child for child in psutil.Process(self._processes[role].pid).children() if child.name().startswith("python")
        ]
        for child in children[-1:]:
            child.kill()
        return bool(children)

    def replace(self, role: str) -> subprocess.Popen[bytes]:
        """Start another worker of a role and tell the one there was to stop; gives that one."""
        old = self._processes[role]
        self.start(role)
        old.terminate()
        return old

    def is_inferring(self) -> bool:
        """Whether segments are in the hands of an infer worker right now."""
        with redis.Redis.from_url(self.settings.redis.url.get_secret_value()) as client:
            return any(True for _ in client.scan_iter(f"{self.settings.redis.namespace}:ledger:lease:infer.*"))

    def queued(self, stage: Stage) -> int:
        """How much work of a stage waits."""
        return self._queues.depth(stage)

    def flush_redis(self) -> None:
        with redis.Redis.from_url(self.settings.redis.url.get_secret_value()) as client:
            client.flushall()

    def pid(self, role: str) -> int:
        return self._processes[role].pid

    def submit(self, paths: Iterable[Path]) -> list[str]:
        return [self.producer.submit(path, path.name, Options()).id for path in paths]

    def wait(self, jobs: Iterable[str], seconds: float, meanwhile: Callable[[], None] = lambda: None) -> set[str]:
        """Wait until jobs have ended; returns those that have not in time."""
        deadline = time.monotonic() + seconds
        pending = set(jobs)
        while pending and time.monotonic() < deadline:
            meanwhile()
            pending &= self.producer.open_jobs()
            time.sleep(0.2)
        return pending

    def results(self, jobs: Iterable[str]) -> list[Result]:
        return [self.producer.result(job) for job in jobs]

    def logs(self) -> str:
        return "\n".join(f"== {log.name}\n{log.read_text()[-4000:]}" for log in sorted(self.log_dir.glob("*.log")))

    def stop(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._ledger.close()
        self._queues.close()


@contextmanager
def running(settings: Settings, log_dir: Path, *roles: str, module: str = "workers") -> Iterator[Fleet]:
    fleet = Fleet(settings, log_dir, module)
    fleet.start(*roles)
    try:
        yield fleet
    except BaseException:
        print(fleet.logs())
        raise
    finally:
        fleet.stop()
