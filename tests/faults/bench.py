"""The world of one experiment: its own Valkey, bucket, workers, submitter and proxies, and the hands to break them."""

import random
import secrets
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import redis
from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig
from pydantic import SecretStr

from pipeline.fleet import open_ports
from pipeline.producer import Producer
from pipeline.services import Valkey
from pipeline.settings import S3, Engine, Settings, Speech, Steward, Webhooks, Workers, asked_engine
from pipeline.webhooks.posting import new_secret
from tests.faults.checker import Verdict, check, read_bucket
from tests.faults.crew import Crew
from tests.faults.load import Item, items
from tests.faults.meter import EngineLog, Meter
from tests.faults.proxies import TcpProxy, address, through
from tests.faults.sabotage import ARMED
from tests.faults.setup import Setup
from tests.faults.submitter import Stream, Submitter
from tests.s3_proxy import S3Proxy, serving
from tests.webhook_receiver import Receiver, moody

Part = TypeVar("Part")
POLL_SECONDS = 0.2
BUSY_SECONDS = 60
BUSY_SHARE = 0.1


class Bench:
    """A context manager: up on entry, with work submitted; down on exit."""

    def __init__(self, setup: Setup, s3: S3, folder: Path, *, seed: int, full: bool) -> None:
        self.setup = setup = replace(setup, **setup.full) if full else setup
        self.folder = folder
        self.chance = random.Random(seed)
        self.full = full
        self.log = folder / "submitted.jsonl"
        self.engine_log = EngineLog(folder / "engine.jsonl")
        self.notes: list[str] = []
        """What the strike found worth telling."""
        self.complaints: list[str] = []
        """What the strike found wrong."""
        self.found: dict[str, tuple[str, ...]] = {}
        """Violations that the strike itself has to look for, as `Verdict.violations` has the others."""
        self._seed = seed
        self._exit = ExitStack()
        self._s3 = s3.model_copy(update={"bucket": f"faults-{secrets.token_hex(6)}"})
        self.client = _client(self._s3)

    def __enter__(self) -> Self:
        try:
            self._put_up()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def times(self, small: int, full: int) -> int:
        """How often to strike, by the scale of the run."""
        return full if self.full else small

    # The parts of the world

    def _put_up(self) -> None:
        setup = self.setup
        self.state = state = setup.state(self.folder)
        self._exit.callback(_let_go, state)
        self.valkey = Valkey(state / "services")
        self.valkey.start()
        self._exit.callback(self.valkey.stop)
        self.client.make_bucket(self._s3.bucket)
        self.client.set_bucket_versioning(self._s3.bucket, VersioningConfig(ENABLED))
        self._exit.callback(self.client.remove_bucket, self._s3.bucket)
        self.settings = self._settings(state)
        self.s3_proxy: S3Proxy | None = None
        if setup.s3_proxy:
            self.s3_proxy = self._exit.enter_context(serving(self._s3, seed=self._seed))
            self.s3_proxy.strip_conditions = not setup.conditions
            self.settings = self.settings.model_copy(update={"s3": self.s3_proxy.settings})
        self.redis_proxies: dict[str, TcpProxy] = {}
        environment = {
            "FAULTS_ENGINE_LOG": str(self.engine_log.path),
            "FAULTS_ENGINE_SECONDS": str(setup.engine_seconds),
            "FAULTS_CRASH_DIR": str(self.crash_dir),
            "TMPDIR": str(state),
            **setup.environment,
        }
        self.crash_dir.mkdir()
        self.arm(setup.crash_points)
        answer = moody(self._seed)
        self.receiver = self._exit.enter_context(Receiver(self.settings.webhooks.keys[0], answer).serving())
        logs = state / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.crew = Crew(logs, environment)
        self._exit.callback(self.crew.stop)
        for name, role in setup.crew.items():
            self.crew.start(name, role, self.routed(name))
        self.meter = Meter(self.crew, self.redis)
        self._exit.callback(self.meter.stop)
        ports = open_ports(self.routed("submitter"))
        producer = Producer(ports, self.settings)
        self.submitter = Submitter(
            producer, ports.store, asked_engine(self.settings.engine), self.log, self.receiver.url
        )
        self.log.touch()

    @property
    def crash_dir(self) -> Path:
        return self.folder / "crash"

    def arm(self, points: Iterable[str]) -> None:
        """Let whoever comes by these points crash there, once at each."""
        for point in points:
            (self.crash_dir / f"{point}{ARMED}").touch()

    def _settings(self, state: Path) -> Settings:
        setup = self.setup
        return Settings(
            redis=self.valkey.settings.model_copy(update={"namespace": "faults"}),
            s3=self._s3,
            engine=Engine(name="echo", model="echo", max_batch=4, stall_seconds=setup.stall_seconds),
            workers=Workers(prepare_processes=2, cache_dir=state / "cache"),
            steward=Steward(
                interval=0.5,
                lease_seconds=setup.lease_seconds,
                jobs_in_flight=setup.jobs_in_flight,
                max_attempts=setup.max_attempts,
            ),
            speech=Speech(gate="none"),
            webhooks=Webhooks(secrets=SecretStr(new_secret()), private=True, request_seconds=5),
        )

    def routed(self, name: str) -> Settings:
        """The settings of one process: with a Redis proxy of its own, where the experiment has proxies."""
        if not self.setup.redis_proxy:
            return self.settings
        if name not in self.redis_proxies:
            proxy = TcpProxy(address(self.valkey.url))
            self._exit.callback(proxy.close)
            self.redis_proxies[name] = proxy
        return self.settings.model_copy(update={"redis": through(self.settings.redis, self.redis_proxies[name].port)})

    def redis(self) -> redis.Redis:
        """A client of the server itself, past all proxies."""
        return redis.Redis.from_url(self.valkey.url, socket_timeout=5, socket_connect_timeout=2)

    def keep(self, part: AbstractContextManager[Part]) -> Part:
        """One more part of the world, which stays as long as this one."""
        return self._exit.enter_context(part)

    # The course of an experiment

    def submit(self) -> Stream:
        """Start to submit; sick items go among the first healthy ones."""
        media = self.folder / "media"
        media.mkdir()
        healthy = items(media, self._seed, tones=self.setup.tones, long_every=self.setup.long_every)
        sick = self.setup.sick(media, self.chance)
        head = list(islice(healthy, min(4, self.setup.items)))
        mixed: Iterator[Item] = chain(head, sick, healthy)
        number = self.setup.items + len(sick)
        return Stream(self.submitter, mixed, number=number, per_second=self.setup.per_second)

    def submit_collection(self, number: int) -> None:
        """Submit so many healthy items as one collection."""
        media = self.folder / "collected"
        media.mkdir()
        healthy = items(media, self._seed + 1, tones=self.setup.tones)
        self.submitter.submit_collection("archive", islice(healthy, number))

    def open_jobs(self) -> set[str]:
        """Keys of the jobs, and of the collections, that have not ended."""
        found = self.client.list_objects(self._s3.bucket, prefix="open", recursive=True)
        return {str(item.object_name) for item in found}

    def owed(self) -> bool:
        """Whether somebody is still to be told of an end."""
        return any(self.client.list_objects(self._s3.bucket, prefix="webhooks/owed/", recursive=True))

    def results(self) -> int:
        """How many jobs have a result."""
        found = self.client.list_objects(self._s3.bucket, prefix="jobs/", recursive=True)
        return sum(str(item.object_name).endswith("/result.json") for item in found)

    def answered(self) -> set[str]:
        """The requests whose answers are in the bucket, as the engine knows them: of jobs and of single segments."""
        found = self.client.list_objects(self._s3.bucket, prefix="jobs/", recursive=True)
        parts = [str(item.object_name).split("/") for item in found]
        several = {job for _, job, *rest in parts if rest[0] == "plans"}
        whole = {f"infer.{job}" for _, job, *rest in parts if rest == ["result.json"] and job not in several}
        return whole | {
            f"infer.{job}.{window}-{index}"
            for _, job, *rest in parts
            if rest[0] == "answers"
            for window, first, *last in [[int(number) for number in rest[1].removesuffix(".json").split("-")]]
            for index in range(first, (last or [first])[0] + 1)
        }

    def await_busy(self) -> None:
        """Wait until some jobs have ended and more are open, if there is anything to do."""
        deadline = time.monotonic() + BUSY_SECONDS
        while self.setup.items and self.ended() < BUSY_SHARE * self.setup.items and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def ended(self) -> int:
        return self.submitter.num_accepted - len(self.open_jobs())

    def wait_for(self, condition: Callable[[], bool], seconds: float, what: str) -> bool:
        """Wait until a condition holds; complains when it does not in time."""
        if self.comes_true(condition, seconds):
            return True
        self.complaints.append(f"waited {seconds:.0f} s in vain until {what}")
        return False

    def comes_true(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for so long at most until a condition holds; whether it does."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def await_quiet(self) -> float:
        """Wait until nothing is open or owed; the seconds that took. A busy mill is the checker's business."""
        started = time.monotonic()
        while (self.open_jobs() or self.owed()) and time.monotonic() - started < self.setup.quiet_seconds:
            time.sleep(POLL_SECONDS)
        return time.monotonic() - started

    def heal(self) -> None:
        """End all faults of the proxies."""
        if self.s3_proxy is not None:
            self.s3_proxy.heal()
            self.s3_proxy.strip_conditions = not self.setup.conditions
        for proxy in self.redis_proxies.values():
            proxy.heal()

    def leases(self, stage: str) -> set[str]:
        """Names of the work of a stage that is in somebody's hands."""
        with self.redis() as client:
            return {bytes(key).decode() for key in client.scan_iter(f"faults:ledger:lease:{stage}.*", count=1000)}

    def tries(self) -> dict[str, int]:
        """How often the most often tried part of each job was tried, by the results."""
        results = read_bucket(self.client, self._s3.bucket).results
        return {job: int(result["provenance"]["attempts"]) for job, result in results.items()}

    def verdict(self) -> Verdict:
        return check(self.client, self._s3.bucket, self.log, self.receiver.deliveries)


def _let_go(state: Path) -> None:
    """Unmount it, if it is a file system of its own."""
    if state.is_mount():
        subprocess.run(["umount", "--lazy", state], check=True)


def _client(s3: S3) -> Minio:
    secret = s3.secret_key.get_secret_value()
    return Minio(s3.endpoint, access_key=s3.access_key, secret_key=secret, secure=s3.secure, region=s3.region)
