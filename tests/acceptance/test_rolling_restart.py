"""Workers are replaced in turn under load: nothing is lost, nothing is done twice, nobody waits for a lease."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from pipeline.settings import S3, Engine, Redis, Settings, Speech, Steward, Workers
from tests.acceptance.test_faults import after_progress, tone, written_more_than_once
from tests.fleet import Fleet, running
from tests.watching import until

pytestmark = pytest.mark.slow

NUM_FILES = 60
ROLES = ("infer", "prepare", "steward")
GRACE_SECONDS = 10
#: Longer than the whole test may take: whoever waited for a lease to run out would be late.
LEASE_SECONDS = 300
MOST_SECONDS = 200


@pytest.fixture
def engine_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "engine.jsonl"
    monkeypatch.setenv("FAULTS_ENGINE_LOG", str(path))
    monkeypatch.setenv("FAULTS_ENGINE_SECONDS", "1.5")
    return path


@pytest.fixture
def settings(redis_settings: Redis, versioned_s3_settings: S3, tmp_path: Path) -> Settings:
    return Settings(
        redis=redis_settings,
        s3=versioned_s3_settings,
        engine=Engine(name="echo", model="echo", max_batch=4),
        workers=Workers(prepare_processes=2, cache_dir=tmp_path / "cache", grace_seconds=GRACE_SECONDS),
        steward=Steward(interval=0.5, lease_seconds=LEASE_SECONDS),
        speech=Speech(gate="none"),
    )


@pytest.fixture
def fleet(settings: Settings, engine_log: Path, tmp_path: Path) -> Iterator[Fleet]:
    with running(settings, tmp_path, *ROLES, module="tests.fault_workers") as started:
        yield started


def asked(engine_log: Path) -> Counter[str]:
    """How often the engine was given each segment."""
    return Counter(entry["ended"] for entry in map(json.loads, engine_log.read_text().splitlines()) if "ended" in entry)


def is_ready(log: Path, times: int) -> bool:
    """Whether so many workers of a role have begun to take work: before, SIGTERM just ends them."""
    return "steward" in log.name or log.read_text().count(" ready.") >= times


def test_workers_replaced_in_turn_lose_nothing_and_do_nothing_twice(
    fleet: Fleet, engine_log: Path, versioned_s3_settings: S3, tmp_path: Path
) -> None:
    jobs = fleet.submit(tone(tmp_path / f"{number:02d}.wav", 200 + 7 * number) for number in range(NUM_FILES))
    after_progress(fleet, jobs, lambda: None)
    deadline = time.monotonic() + MOST_SECONDS
    replaced: Counter[str] = Counter()
    for role in cycle(ROLES):
        old = fleet.replace(role)
        assert old.wait(GRACE_SECONDS + 20) == 0, f"{role} did not end by itself"
        replaced[role] += 1
        if not fleet.wait(jobs, 1.0):
            break
        until(lambda role=role: is_ready(tmp_path / f"{role}.log", replaced[role] + 1))  # type: ignore[misc]
        assert time.monotonic() < deadline, fleet.logs()
    assert len(replaced) == len(ROLES), "each was replaced under load"
    assert [result.status for result in fleet.results(jobs)] == ["done"] * NUM_FILES
    assert list(fleet.producer.quarantined()) == []
    assert {name: number for name, number in asked(engine_log).items() if number > 1} == {}
    assert written_more_than_once(versioned_s3_settings) == []
