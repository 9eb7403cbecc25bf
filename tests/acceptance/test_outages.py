"""Redis or the object store is away for a while: workers wait without haste, stay, and go on when it is back."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from pipeline.services import Valkey
from pipeline.settings import S3, Engine, Redis, Settings, Speech, Steward, Workers
from tests.acceptance.test_faults import after_progress, tone
from tests.fleet import running
from tests.s3_proxy import S3Proxy, serving

pytestmark = pytest.mark.slow

NUM_FILES = 24
ROLES = ("prepare", "infer", "steward")
AWAY_SECONDS = 15
#: Most of a core that a process may use while it can do nothing.
BUSY_SHARE = 0.5

Outage = Callable[[Valkey, S3Proxy], None]


@pytest.fixture
def proxy(s3_settings: S3) -> Iterator[S3Proxy]:
    with serving(s3_settings, seed=1) as passing:
        yield passing


@pytest.fixture
def settings(server: Valkey, proxy: S3Proxy, tmp_path: Path) -> Settings:
    return Settings(
        redis=Redis(url=server.settings.url, namespace="outage"),
        s3=proxy.settings,
        engine=Engine(name="echo", model="echo", max_batch=4),
        workers=Workers(prepare_processes=1, cache_dir=tmp_path / "cache"),
        steward=Steward(interval=0.5, lease_seconds=3),
        speech=Speech(gate="none"),
    )


def frozen(server: Valkey, proxy: S3Proxy) -> None:
    """Redis keeps its connections and says nothing."""
    del proxy
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    time.sleep(AWAY_SECONDS)
    os.kill(server.pid, signal.SIGCONT)


def killed(server: Valkey, proxy: S3Proxy) -> None:
    """Redis is gone, and comes back under its address."""
    del proxy
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    time.sleep(AWAY_SECONDS)
    server.start()


def no_store(server: Valkey, proxy: S3Proxy) -> None:
    del server
    proxy.down = True
    time.sleep(AWAY_SECONDS)
    proxy.heal()


def neither(server: Valkey, proxy: S3Proxy) -> None:
    proxy.down = True
    killed(server, proxy)
    proxy.heal()


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@pytest.mark.parametrize("outage", [frozen, killed, no_store, neither])
def test_an_outage_ends_no_worker_and_counts_no_try(
    settings: Settings, server: Valkey, proxy: S3Proxy, tmp_path: Path, outage: Outage
) -> None:
    with running(settings, tmp_path, *ROLES, module="tests.fault_workers") as fleet:
        jobs = fleet.submit(tone(tmp_path / f"{number:02d}.wav", 200 + 7 * number) for number in range(NUM_FILES))
        after_progress(fleet, jobs, lambda: None)
        processes = [psutil.Process(fleet.pid(role)) for role in ROLES]
        before = [cpu_seconds(process) for process in processes]
        outage(server, proxy)
        used = [cpu_seconds(process) - start for process, start in zip(processes, before, strict=True)]
        assert max(used) < BUSY_SHARE * AWAY_SECONDS
        more = fleet.submit(tone(tmp_path / f"later {number}.wav", 1200 + 7 * number) for number in range(3))
        assert fleet.wait([*jobs, *more], 90) == set(), fleet.logs()
        assert all(process.is_running() for process in processes), fleet.logs()
        results = fleet.results([*jobs, *more])
        assert {result.status for result in results} == {"done"}
        assert {result.provenance.attempts for result in results} == {1}, "an outage is no try"


def test_workers_that_start_before_their_services_wait_for_them(
    settings: Settings, server: Valkey, proxy: S3Proxy, tmp_path: Path
) -> None:
    with running(settings, tmp_path, module="tests.fault_workers") as fleet:
        proxy.down = True
        fleet.start(*ROLES)
        deadline = time.monotonic() + 60
        while not all("waiting for it" in (tmp_path / f"{role}.log").read_text() for role in ROLES):
            assert time.monotonic() < deadline, fleet.logs()
            time.sleep(0.2)
        processes = [psutil.Process(fleet.pid(role)) for role in ROLES]
        proxy.heal()
        jobs = fleet.submit([tone(tmp_path / "a.wav", 440)])
        assert fleet.wait(jobs, 60) == set(), fleet.logs()
        assert all(process.is_running() for process in processes)


def test_a_wrong_password_is_told_and_not_waited_for(settings: Settings, tmp_path: Path) -> None:
    scheme, _, place = settings.redis.url.get_secret_value().partition("://")
    redis = settings.redis.model_copy(update={"url": SecretStr(f"{scheme}://:wrong@{place.rpartition('@')[2]}")})
    with running(settings.model_copy(update={"redis": redis}), tmp_path, "steward") as fleet:
        status = psutil.Process(fleet.pid("steward")).wait(30)
        assert status in (78, None), fleet.logs()
        assert "does not let us in" in (tmp_path / "steward.log").read_text()
