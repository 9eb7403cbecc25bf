"""What a pool process works on when its worker loses the queue, or is told to stop."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from pipeline.job import Options, Work
from pipeline.redis_ledger import RedisLedger
from pipeline.services import Valkey
from pipeline.settings import S3, Engine, Redis, Settings, Speech, Steward, Workers
from tests.fleet import Fleet, running
from tests.watching import until

GRACE_SECONDS = 2
LOSSES = 4  # of the connection: more than there are tries
BETWEEN_SECONDS = 1.5


@pytest.fixture
def settings(server: Valkey, s3_settings: S3, tmp_path: Path) -> Settings:
    return Settings(
        redis=Redis(url=server.settings.url, namespace="in-hand"),
        s3=s3_settings,
        engine=Engine(name="echo", model="echo"),
        workers=Workers(prepare_processes=2, cache_dir=tmp_path / "cache", grace_seconds=GRACE_SECONDS),
        steward=Steward(interval=0.5, lease_seconds=30),
        speech=Speech(gate="none"),
    )


@pytest.fixture
def ledger(settings: Settings) -> Iterator[RedisLedger]:
    opened = RedisLedger(settings)
    yield opened
    opened.close()


def prepared(fleet: Fleet, ledger: RedisLedger, path: Path) -> Work:
    """A job that is being prepared now; the name of its file tells how that goes, see `faults/sabotage.py`."""
    path.write_text("Some words.\n")
    job = fleet.producer.submit(path, path.name, Options(to="French"), task="translate")
    work = Work(stage="prepare", job=job.id)
    until(lambda: ledger.held([work]))
    return work


def test_work_goes_on_while_its_worker_loses_the_queue_and_connects_again(
    settings: Settings, ledger: RedisLedger, server: Valkey, tmp_path: Path
) -> None:
    with running(settings, tmp_path, "prepare", "infer", "steward", module="tests.fault_workers") as fleet:
        work = prepared(fleet, ledger, tmp_path / "!slow.txt")
        with redis.Redis.from_url(server.url) as client:
            for _ in range(LOSSES):
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                time.sleep(BETWEEN_SECONDS)
                assert ledger.tries(work) == 1, "it was begun once"
        assert fleet.wait([work.job], 60) == set(), fleet.logs()
        (result,) = fleet.results([work.job])
        assert result.status == "done"
        assert (tmp_path / "prepare.log").read_text().count("Connection to broker lost") >= LOSSES


def test_work_that_does_not_end_in_time_goes_back_when_its_worker_is_told_to_stop(
    settings: Settings, ledger: RedisLedger, tmp_path: Path
) -> None:
    with running(settings, tmp_path, "prepare", "steward", module="tests.fault_workers") as fleet:
        work = prepared(fleet, ledger, tmp_path / "!endless.txt")
        until(lambda: " ready." in (tmp_path / "prepare.log").read_text())
        old = fleet.replace("prepare")
        assert old.wait(GRACE_SECONDS + 10) == 0
        until(lambda: (tmp_path / "prepare.log").read_text().count("received") == 2)
        until(lambda: ledger.held([work]))
        assert "goes back to the queue: its process was told to stop" in (tmp_path / "prepare.log").read_text()
        assert ledger.tries(work) == 1, "only the new worker has begun it"
        fleet.kill("prepare")
