"""Machines die and Redis forgets in the middle of a run: every job still ends, and every key is written once."""

import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline import keys
from pipeline.settings import S3, Engine, Redis, Settings, Speech, Steward, Workers
from tests.conftest import sdk_client
from tests.fault_workers import HANG_HZ, KILL_HZ
from tests.fleet import Fleet, running

NUM_FILES = 40
ROLES = ("prepare", "infer", "steward")


def tone(path: Path, hz: float, seconds: float = 1.5) -> Path:
    """A file with one tone, 16 kHz mono."""
    times = np.arange(round(seconds * 16_000)) / 16_000
    samples = (0.3 * 32767 * np.sin(2 * np.pi * hz * times)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "media"
    folder.mkdir()
    return [tone(folder / f"{number:02d}.wav", 200 + 7 * number) for number in range(NUM_FILES)]


@pytest.fixture
def settings(redis_settings: Redis, versioned_s3_settings: S3, tmp_path: Path) -> Settings:
    return Settings(
        redis=redis_settings,
        s3=versioned_s3_settings,
        engine=Engine(name="echo", model="echo", max_batch=4, stall_seconds=6),
        workers=Workers(prepare_processes=2, cache_dir=tmp_path / "cache"),
        steward=Steward(interval=0.5, lease_seconds=3),
        speech=Speech(gate="none"),
    )


@pytest.fixture
def fleet(settings: Settings, tmp_path: Path) -> Iterator[Fleet]:
    with running(settings, tmp_path, *ROLES, module="tests.fault_workers") as started:
        yield started


def some_are_answered(fleet: Fleet, jobs: list[str], most: int = NUM_FILES) -> bool:
    """Whether the run is in its middle."""
    return 0 < len(fleet.producer.open_jobs() & set(jobs)) < most


def after_progress(fleet: Fleet, jobs: list[str], strike: Callable[[], object]) -> None:
    """Wait until some jobs have ended and segments are being worked on, then strike."""
    deadline = time.monotonic() + 60
    while not (some_are_answered(fleet, jobs) and fleet.is_inferring()):
        assert time.monotonic() < deadline, fleet.logs()
        time.sleep(0.01)
    strike()


def written_more_than_once(s3: S3) -> list[str]:
    """Answer and result keys of a versioned bucket that have more than one version."""
    versions: dict[str, int] = {}
    for version in sdk_client(s3).list_objects(s3.bucket, recursive=True, include_version=True):
        name = str(version.object_name)
        if not version.is_delete_marker and ("/answers/" in name or name.endswith("result.json")):
            versions[name] = versions.get(name, 0) + 1
    assert versions
    return [name for name, number in versions.items() if number != 1]


def check_all_done(fleet: Fleet, jobs: list[str], s3: S3) -> None:
    late = fleet.wait(jobs, 90, meanwhile=fleet.keep_alive)
    assert late == set(), fleet.logs()
    results = fleet.results(jobs)
    assert [result.status for result in results] == ["done"] * len(jobs)
    assert all("seconds of sound" in result.text for result in results)
    assert written_more_than_once(s3) == []


def test_a_killed_infer_worker_loses_nothing(fleet: Fleet, files: list[Path], versioned_s3_settings: S3) -> None:
    jobs = fleet.submit(files)
    after_progress(fleet, jobs, lambda: fleet.kill("infer"))
    check_all_done(fleet, jobs, versioned_s3_settings)


def test_a_killed_prepare_process_loses_nothing(fleet: Fleet, files: list[Path], versioned_s3_settings: S3) -> None:
    jobs = fleet.submit(files)
    after_progress(fleet, jobs, lambda: fleet.kill_child("prepare"))
    check_all_done(fleet, jobs, versioned_s3_settings)


def test_a_live_flush_of_redis_loses_nothing(fleet: Fleet, files: list[Path], versioned_s3_settings: S3) -> None:
    jobs = fleet.submit(files)
    after_progress(fleet, jobs, fleet.flush_redis)
    check_all_done(fleet, jobs, versioned_s3_settings)


@pytest.mark.parametrize("strike", [Fleet.flush_redis, lambda fleet: fleet.kill("infer")], ids=["flush", "kill"])
def test_without_the_steward_the_same_strike_loses_jobs(
    settings: Settings, files: list[Path], tmp_path: Path, strike: Callable[[Fleet], None]
) -> None:
    """The negative control: what the tests above rest on is the steward."""
    with running(settings, tmp_path, "prepare", "infer", module="tests.fault_workers") as fleet:
        jobs = fleet.submit(files)
        after_progress(fleet, jobs, lambda: strike(fleet))
        assert fleet.wait(jobs, 12, meanwhile=fleet.keep_alive) != set()


@pytest.mark.parametrize(("hz", "how"), [(KILL_HZ, "kills"), (HANG_HZ, "hangs")])
def test_a_segment_that_ends_its_worker_is_quarantined_and_its_batch_mates_are_done(
    fleet: Fleet, files: list[Path], hz: float, how: str
) -> None:
    poison = tone(files[0].with_name(f"it {how} the worker.wav"), hz)
    jobs = fleet.submit([*files[:6], poison, *files[6:12]])
    late = fleet.wait(jobs, 150, meanwhile=fleet.keep_alive)
    assert late == set(), fleet.logs()
    statuses = {result.media.name: result.status for result in fleet.results(jobs)}
    assert {name for name, status in statuses.items() if status != "done"} == {poison.name}
    (quarantined,) = fleet.producer.quarantined()
    assert quarantined.media.name == poison.name
    assert quarantined.failures[0].error == "quarantined"
    assert quarantined.failures[0].attempts == 3


def test_the_temporary_objects_are_gone_when_all_is_done(fleet: Fleet, files: list[Path]) -> None:
    jobs = fleet.submit(files[:5])
    assert fleet.wait(jobs, 60) == set()
    left = [key for key in fleet.store.list(keys.JOBS) if "/segments/" in key]
    assert left == []
    assert list(fleet.store.list(keys.OPEN)) == []
