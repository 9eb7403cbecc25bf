"""Workers as deploy/ runs them: on a light install, asked whether they are well, and told to stop."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from PIL import Image

from pipeline.job import Options
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.sandbox.isolation import locate
from pipeline.settings import S3, Engine, Redis, Sandbox, Settings, Speech, Steward, Workers, child_environment
from tests.acceptance.test_faults import tone
from tests.deployment import seconds, services
from tests.fleet import ROOT, Fleet, running
from tests.media_samples import noise_bursts, write_wav
from tests.watching import until

#: Of the roles that are on the queues.
CELERY_ROLES = ("prepare", "infer")


@pytest.fixture
def settings(redis_settings: Redis, s3_settings: S3, tmp_path: Path) -> Settings:
    return Settings(
        redis=redis_settings,
        s3=s3_settings,
        engine=Engine(name="echo", model="echo", max_batch=1),
        workers=Workers(prepare_processes=1, cache_dir=tmp_path / "cache"),
        steward=Steward(interval=0.5, lease_seconds=3),
        speech=Speech(gate="none"),
    )


def with_programs_of_the_system(settings: Settings) -> Settings:
    """Media programs named, as an image has them from Debian."""
    found = Ffmpeg.locate(settings)
    sandbox = Sandbox(mode="required", bwrap=locate(settings.sandbox).bwrap)
    return settings.model_copy(update={"ffmpeg": found.ffmpeg, "ffprobe": found.ffprobe, "sandbox": sandbox})


def test_prepare_and_steward_work_with_what_their_image_has(settings: Settings, tmp_path: Path) -> None:
    vad = settings.model_copy(update={"speech": Speech(gate="vad")})
    Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 50).convert("RGB").save(tmp_path / "picture.png")
    write_wav(tmp_path / "sound.wav", noise_bursts(40))
    light = with_programs_of_the_system(vad)
    with running(light, tmp_path, "prepare", "steward", module="tests.light_workers") as fleet:
        jobs = [
            fleet.producer.submit(tmp_path / "sound.wav", "sound.wav", Options()).id,
            fleet.producer.submit(tmp_path / "picture.png", "picture.png", Options(), task="caption").id,
        ]
        with running(settings, tmp_path, "infer"):
            assert fleet.wait(jobs, 60, meanwhile=fleet.keep_alive) == set(), fleet.logs()
        assert [result.status for result in fleet.results(jobs)] == ["done", "done"]


@pytest.fixture
def fleet(settings: Settings, tmp_path: Path) -> Iterator[Fleet]:
    with running(settings, tmp_path, *CELERY_ROLES, module="tests.fault_workers") as started:
        yield started


def ping(settings: Settings, role: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers.ping", role],
        cwd=ROOT,
        env=child_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_worker_that_consumes_answers_and_one_that_is_stopped_does_not(settings: Settings, fleet: Fleet) -> None:
    for role in CELERY_ROLES:
        until(lambda role=role: ping(settings, role).returncode == 0)  # type: ignore[misc]
    fleet.kill("infer")
    assert ping(settings, "prepare").returncode == 0
    asked = ping(settings, "infer")
    assert asked.returncode == 1
    assert "answered within" in asked.stderr


def test_a_steward_that_leads_is_well_and_none_is_not(settings: Settings, tmp_path: Path) -> None:
    nobody = ping(settings, "steward")
    assert nobody.returncode == 1
    assert "no steward has led" in nobody.stderr
    with running(settings, tmp_path, "steward"):
        until(lambda: ping(settings, "steward").returncode == 0)


def test_a_worker_that_is_told_to_stop_puts_its_work_back_in_time(
    settings: Settings, fleet: Fleet, tmp_path: Path
) -> None:
    described = services(tmp_path / "compose")
    files = [tone(tmp_path / f"{number:02d}.wav", 200 + 7 * number) for number in range(30)]
    jobs = fleet.submit(files)
    until(lambda: len(fleet.producer.open_jobs()) < len(jobs) and fleet.is_inferring())
    for role in CELERY_ROLES:
        process, began = psutil.Process(fleet.pid(role)), time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(seconds(described[role]["stop_grace_period"]))
        assert time.monotonic() - began < seconds(described[role]["stop_grace_period"]) / 2
    assert fleet.producer.open_jobs(), "it was in the middle"
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as client:
        assert client.hlen(f"{settings.redis.namespace}:unacked") == 0, "nothing waits for a worker that is gone"
    fleet.start(*CELERY_ROLES, "steward")
    assert fleet.wait(jobs, 60) == set(), fleet.logs()
