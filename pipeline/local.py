"""Local mode: the embedded services and the fleet's worker processes under one supervisor, in one data directory."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout
from pydantic import SecretStr, ValidationError

from pipeline.daemon import bound_to_parent, write_private
from pipeline.errors import MISCONFIGURED, UsageError, WorldError
from pipeline.media.sandbox.isolation import choose
from pipeline.services import SeaweedFS, Valkey
from pipeline.settings import S3, Engine, Group, Redis, Sandbox, Settings, Webhooks, asked_engine, child_environment
from pipeline.store import open_store
from pipeline.webhooks.posting import new_secret

log = logging.getLogger(__name__)

ROLES = ("prepare", "infer", "steward")
CONNECTION = "connection.json"
LOCK = "mill.lock"
WEBHOOK_SECRET = "webhook-secret"
#: A worker that dies this often, each time this soon after its start, is given up.
MAX_QUICK_DEATHS = 5
QUICK_SECONDS = 20
#: For running work to end: whoever pressed Ctrl-C waits for it. The next mill on the directory does the rest.
GRACE_SECONDS = 4
#: Then it is killed.
STOP_SECONDS = 10
TAIL_BYTES = 2_000


class Connection(Group):
    """How other commands reach a mill that is up."""

    redis: dict[str, str]
    s3: dict[str, str]
    engine: Engine  #: what its infer worker runs


class Worker:
    """One supervised process of the fleet. In a session of its own, so that Ctrl-C reaches only the supervisor."""

    def __init__(self, role: str, settings: Settings, log_dir: Path) -> None:
        self.role = role
        self.log = log_dir / f"{role}.log"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._not_before = 0.0
        self._num_quick_deaths = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        self._started = time.monotonic()
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                bound_to_parent([sys.executable, "-m", "workers", self.role]),
                env=child_environment(self._settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Start it again when it died. Raises WorldError when that is of no use."""
        if self._process is None or self._process.poll() is None:
            return
        status = self._process.returncode
        now = time.monotonic()
        if not self._not_before:
            quick = now - self._started < QUICK_SECONDS
            self._num_quick_deaths = self._num_quick_deaths + 1 if quick else 0
            if status == MISCONFIGURED or self._num_quick_deaths >= MAX_QUICK_DEATHS:
                raise WorldError(f"the {self.role} worker does not start (status {status}):\n{self.tail()}")
            self._not_before = now + 0.5 * 2**self._num_quick_deaths
            log.warning("the %s worker ended with status %s, starting it again", self.role, status)
        elif now >= self._not_before:
            self._not_before = 0.0
            self.start()

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def make_stop(self, deadline: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tail(self) -> str:
        """The end of its log."""
        data = self.log.read_bytes() if self.log.exists() else b""
        return data[-TAIL_BYTES:].decode(errors="replace").strip()


class LocalMill:
    """Valkey, SeaweedFS and workers. A context manager: up on entry, down in order on exit."""

    def __init__(self, settings: Settings, roles: Sequence[str] = ROLES) -> None:
        self._data_dir = settings.data_dir.absolute()
        self._asked = settings
        self._roles = roles
        self._lock = FileLock(self._data_dir / LOCK)
        self.valkey = Valkey(self._data_dir)
        self.seaweedfs = SeaweedFS(self._data_dir)
        self.workers: list[Worker] = []
        self.settings = settings
        self.broken: WorldError | None = None
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._started = threading.Event()

    def __enter__(self) -> Self:
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise WorldError(f"another mill is up in {self._data_dir}; choose another --data-dir") from error
        self._supervisor.start()
        self._started.wait()
        if self.broken:
            self.stop()
            raise self.broken
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the workers, then the services. Work in hand goes back to the queue; what is stored stays."""
        self._stopping.set()
        self._supervisor.join()
        (self._data_dir / CONNECTION).unlink(missing_ok=True)
        self._lock.release()

    def raise_if_broken(self) -> None:
        """Raises the WorldError for which a part cannot be kept up."""
        if self.broken:
            raise self.broken

    def _supervise(self) -> None:
        # Everything is started from this thread, which outlives it: on Linux a service ends with its starter.
        try:
            self._start()
            self._started.set()
            while not self._stopping.wait(0.3):
                self._check()
        except WorldError as error:
            self.broken = error
        except Exception as error:
            self.broken = WorldError(f"local mode failed: {error!r}")
            log.exception("local mode failed")
        finally:
            self._take_down()
            self._started.set()

    def _start(self) -> None:
        self.valkey.start()
        self.seaweedfs.start()
        workers = self._asked.workers.model_copy(
            update={"grace_seconds": min(self._asked.workers.grace_seconds, GRACE_SECONDS)}
        )
        self.settings = self._asked.model_copy(
            update={
                "redis": self.valkey.settings,
                "s3": self.seaweedfs.settings,
                "workers": workers,
                "webhooks": webhooks_of(self._asked),
            }
        )
        if "prepare" in self._roles:
            self.settings = self.settings.model_copy(update={"sandbox": sandbox_of_own_media(self._asked.sandbox)})
        open_store(self.settings.s3).self_test()
        _write_connection(self._data_dir, self.settings)
        self.workers = [Worker(role, self.settings, self._data_dir / "logs") for role in self._roles]
        for worker in self.workers:
            worker.start()

    def _check(self) -> None:
        for service in (self.valkey, self.seaweedfs):
            if not service.alive:
                log.warning("%s ended, starting it again", service.name)
                service.start()
        for worker in self.workers:
            worker.check()

    def _take_down(self) -> None:
        for worker in self.workers:
            worker.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self.workers:
            worker.make_stop(deadline)
        self.seaweedfs.stop()
        self.valkey.stop()


def sandbox_of_own_media(asked: Sandbox) -> Sandbox:
    """On this machine the media is its user's: where there is no sandbox, that is said here, and the work goes on."""
    return asked.model_copy(update={"mode": "off" if choose(asked) is None else "required"})


def webhooks_of(settings: Settings) -> Webhooks:
    """Those of the settings; without a secret, with the one that the data directory keeps for its mill."""
    if settings.webhooks.keys:
        return settings.webhooks
    path = settings.data_dir / WEBHOOK_SECRET
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        write_private(fresh, new_secret())
        with suppress(FileExistsError):  # somebody was first, and that one counts
            os.link(fresh, path)
        fresh.unlink()
    return settings.webhooks.model_copy(update={"secrets": SecretStr(path.read_text())})


def _write_connection(data_dir: Path, settings: Settings) -> None:
    connection = Connection(
        redis={"url": settings.redis.url.get_secret_value(), "namespace": settings.redis.namespace},
        s3={
            "endpoint": settings.s3.endpoint,
            "access_key": settings.s3.access_key,
            "secret_key": settings.s3.secret_key.get_secret_value(),
            "bucket": settings.s3.bucket,
            "secure": str(settings.s3.secure),
        },
        engine=settings.engine.model_copy(update={"api_key": SecretStr("")}),
    )
    write_private(data_dir / CONNECTION, connection.model_dump_json(indent=2))


def reach(settings: Settings) -> Settings | None:
    """Settings of the mill that is up in the data directory, its engine among them; None when none is up."""
    path = settings.data_dir / CONNECTION
    lock = FileLock(settings.data_dir / LOCK)
    if not path.exists():
        return None
    try:
        with lock.acquire(timeout=0):
            return None  # nobody holds it: the file was left by a mill that was killed
    except Timeout:
        pass
    try:
        connection = Connection.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return settings.model_copy(
        update={
            "redis": Redis.model_validate(connection.redis),
            "s3": S3.model_validate(connection.s3),
            "engine": connection.engine,
        }
    )


def refuse_other_engine(asked: Engine, running: Engine) -> None:
    """Raise UsageError when work was meant for another engine than that of the mill that is up."""
    if asked != Engine() and asked_engine(asked) != asked_engine(running):
        raise UsageError(
            f"the mill that is up runs {asked_engine(running)}, not {asked_engine(asked)}: stop it and start one with "
            "that engine, or name another data directory"
        )


@contextmanager
def services_of(settings: Settings) -> Iterator[Settings]:
    """The services of a data directory without its workers: to look at results while no mill is up."""
    if not (settings.data_dir / "services.json").exists():
        raise nothing_is_up(settings)
    with LocalMill(settings, roles=()) as mill:
        yield mill.settings


def nothing_is_up(settings: Settings) -> UsageError:
    return UsageError(
        f"no mill is up in {settings.data_dir.absolute()}: start one with `reelmill up`, "
        "or set REELMILL_S3__ENDPOINT and REELMILL_REDIS__URL to use your own services"
    )
