"""A mill over three machines, one of which is cut off in the middle for a minute: every job ends, and every key is
written once.

CUT_OFF_SECONDS=20 makes it shorter.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from pipeline import keys
from pipeline.broker import QUEUES
from pipeline.settings import S3, Engine, Redis, Settings, Speech, Steward, Workers
from tests.acceptance.test_faults import tone, written_more_than_once
from tests.conftest import sdk_client
from tests.deployed_services import deployed
from tests.fleet import Fleet, running
from tests.hosts import Host, network
from tests.watching import until

pytestmark = pytest.mark.slow

NUM_FILES = 60
CUT_OFF_SECONDS = float(os.environ.get("CUT_OFF_SECONDS", "60"))
#: In the log of an infer worker: a segment of which job.
TAKEN = re.compile(r"\[infer\.(j[a-z2-7]+)\S*\] received")
DONE = re.compile(r"\[infer\.(j[a-z2-7]+)\S*\] succeeded in")
#: For broken connections to be given up (a read of the store takes the longest) and for their work to be done anew.
RECOVERY_SECONDS = 120


@dataclass(frozen=True)
class Mill:
    """Services on the first host, workers on the two others; the steward on the last."""

    settings: Settings
    left: Host
    right: Host
    on_left: Fleet
    on_right: Fleet

    def keep_alive(self) -> None:
        for host, fleet in ((self.left, self.on_left), (self.right, self.on_right)):
            with host.inside():
                fleet.keep_alive()

    def messages(self) -> dict[str, int]:
        """How many messages there are, queued or held by a worker."""
        prefix = f"{self.settings.redis.namespace}:"
        with redis.Redis.from_url(self.settings.redis.url.get_secret_value()) as client:
            counts = {queue: client.llen(prefix + queue) for queue in QUEUES}
            return {
                name: number for name, number in (counts | {"held": client.hlen(f"{prefix}unacked")}).items() if number
            }


@pytest.fixture
def mill(tmp_path: Path) -> Iterator[Mill]:
    with (
        network("services", "left", "right") as (first, left, right),
        first.inside(),
        deployed(tmp_path / "services", first.address) as (queue, store),
    ):
        sdk_client(store).set_bucket_versioning(store.bucket, VersioningConfig(ENABLED))
        settings = settings_of(queue, store)
        with (
            workers_on(left, settings, tmp_path / "left", "prepare", "infer") as on_left,
            workers_on(right, settings, tmp_path / "right", "prepare", "infer", "steward") as on_right,
        ):
            yield Mill(settings, left, right, on_left, on_right)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "media"
    folder.mkdir()
    return [tone(folder / f"{number:02d}.wav", 200 + 7 * number) for number in range(NUM_FILES)]


def settings_of(queue: Redis, store: S3) -> Settings:
    return Settings(
        redis=queue,
        s3=store,
        engine=Engine(name="echo", model="echo", max_batch=1, stall_seconds=30),
        workers=Workers(prepare_processes=1),
        steward=Steward(interval=0.5, lease_seconds=3),
        speech=Speech(gate="none"),
    )


@contextmanager
def workers_on(host: Host, settings: Settings, folder: Path, *roles: str) -> Iterator[Fleet]:
    folder.mkdir()
    own_disk = settings.workers.model_copy(update={"cache_dir": folder / "cache"})
    settings = settings.model_copy(update={"workers": own_disk})
    with running(settings, folder, module="tests.fault_workers") as fleet:
        with host.inside():
            fleet.start(*roles)
        yield fleet


def test_a_worker_machine_that_is_cut_off_costs_nothing(mill: Mill, files: list[Path]) -> None:
    """The other one takes over what it had in hand; when it is back, with the same work in hand, it changes nothing."""
    jobs = mill.on_right.submit(files)
    with cut_off_at_work(mill, jobs, mill.left, mill.on_left) as held:
        until(lambda: not open_of(mill, jobs) & held)
    check_done_once(mill, jobs)


def test_the_machine_of_the_steward_that_is_cut_off_costs_nothing(mill: Mill, files: list[Path]) -> None:
    """The other one does what is on the queue; what was in hand is sent again when the steward is back."""
    jobs = mill.on_right.submit(files)
    with cut_off_at_work(mill, jobs, mill.right, mill.on_right) as held:
        before = open_of(mill, jobs)
        until(lambda: len(open_of(mill, jobs)) < len(before))
        assert held <= open_of(mill, jobs)
    check_done_once(mill, jobs)


@contextmanager
def cut_off_at_work(mill: Mill, jobs: list[str], host: Host, fleet: Fleet) -> Iterator[frozenset[str]]:
    """Cut a machine off when it has work in hand, for a while and for the block; gives the jobs whose work that is."""
    until(lambda: in_hand(fleet) and len(open_of(mill, jobs)) < len(jobs) - 5, 60)
    with host.cut_off():
        end = time.monotonic() + CUT_OFF_SECONDS
        time.sleep(1)  # what it had already sent arrives
        held, num_done = in_hand(fleet) & open_of(mill, jobs), len(DONE.findall(log_of(fleet)))
        assert held
        yield held
        time.sleep(max(0.0, end - time.monotonic()))
        assert len(DONE.findall(log_of(fleet))) == num_done, "it got nothing done: it was cut off"


def check_done_once(mill: Mill, jobs: list[str]) -> None:
    began = time.monotonic()
    assert mill.on_right.wait(jobs, RECOVERY_SECONDS, meanwhile=mill.keep_alive) == set()
    print(f"done {time.monotonic() - began:.0f} s after the machine was back")
    assert [result.status for result in mill.on_right.results(jobs)] == ["done"] * len(jobs)
    until(lambda: mill.messages() == {}, RECOVERY_SECONDS)
    print(f"no message left {time.monotonic() - began:.0f} s after the machine was back")
    assert list(mill.on_right.store.list(keys.OPEN)) == []
    assert written_more_than_once(mill.settings.s3) == []


def in_hand(fleet: Fleet) -> frozenset[str]:
    """Jobs of which the infer worker of a machine has taken a segment and is not done with it."""
    taken = Counter(TAKEN.findall(log_of(fleet)))
    taken.subtract(DONE.findall(log_of(fleet)))
    return frozenset(job for job, number in taken.items() if number > 0)


def log_of(fleet: Fleet) -> str:
    return (fleet.log_dir / "infer.log").read_text()


def open_of(mill: Mill, jobs: list[str]) -> frozenset[str]:
    return mill.on_right.producer.open_jobs() & set(jobs)
