"""The same command line against a Redis and an S3 that somebody else runs, named by settings."""

from pathlib import Path

import pytest

from pipeline.settings import S3, Engine, Redis, Settings, Speech, Workers, child_environment
from tests.command import documents, reelmill
from tests.fleet import running
from tests.media_samples import noise_bursts, write_wav


@pytest.fixture
def settings(redis_settings: Redis, s3_settings: S3, tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        redis=redis_settings,
        s3=s3_settings,
        engine=Engine(name="echo", model="echo"),
        workers=Workers(prepare_processes=1, cache_dir=tmp_path / "cache"),
        speech=Speech(gate="none"),
    )


def test_jobs_wait_for_workers_are_cancelled_retried_and_done(settings: Settings, tmp_path: Path) -> None:
    variables = {name: value for name, value in child_environment(settings).items() if name.startswith("REELMILL_")}
    for number in range(3):
        write_wav(tmp_path / f"{number}.wav", noise_bursts(2, seed=number))
    done = [reelmill("submit", "--json", tmp_path / f"{number}.wav", **variables) for number in (0, 1)]
    submitted = [job for one in done for job in documents(one)]
    first, second = (job["job"] for job in submitted)
    assert [Path(job["name"]).name for job in submitted] == ["0.wav", "1.wav"]

    # No worker is there yet.
    late = reelmill("wait", "--json", "--timeout", "0.1", **variables)
    assert (late.returncode, {job["status"] for job in documents(late)}) == (1, {"waiting"})
    early = reelmill("results", first, **variables)
    assert (early.returncode, "has not ended yet" in early.stderr) == (2, True)
    (told,) = documents(reelmill("cancel", "--json", first, **variables))
    assert told == {"job": first, "status": "cancelled"}

    with running(settings, tmp_path, "prepare", "infer", "steward"):
        waited = reelmill("wait", "--json", first, second, **variables)
        assert waited.returncode == 1
        assert {job["job"]: job["status"] for job in documents(waited)} == {first: "cancelled", second: "done"}

        (told,) = documents(reelmill("retry", "--json", first, **variables))
        assert told["job"] == first
        assert reelmill("wait", first, **variables).returncode == 0
        results = reelmill("results", "--json", **variables)
        assert results.returncode == 0
        for result in documents(results):
            assert result["status"] == "done"
            assert "seconds of sound" in result["text"]
            for place in result["outputs"].values():
                assert place.startswith(f"s3://{settings.s3.bucket}/jobs/{result['job']}/")

        ran = reelmill("run", "--json", tmp_path / "2.wav", **variables)
        assert (ran.returncode, [job["status"] for job in documents(ran)]) == (0, ["done"])
        answered = num_answered(tmp_path)
        assert reelmill("run", tmp_path / "2.wav", **variables).returncode == 0
        assert num_answered(tmp_path) == answered, "it is answered from what is stored"
        assert reelmill("run", "--force", tmp_path / "2.wav", **variables).returncode == 0
        assert num_answered(tmp_path) == answered + 1, "it is done anew"

        well = reelmill("doctor", "--json", **variables)
        assert well.returncode == 0
        assert any(settings.s3.endpoint in row["found"] for row in documents(well))
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"rates", "transcripts"}, (
        "no service was started here"
    )


def num_answered(log_dir: Path) -> int:
    return (log_dir / "infer.log").read_text().count("] succeeded in")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"REELMILL_S3__SECRET_KEY": "wrong"}, "refuses the signature|check the access key"),
        ({"REELMILL_S3__ENDPOINT": "127.0.0.1:1"}, "does not answer"),
    ],
)
def test_a_store_that_cannot_be_used_is_named_with_what_to_check(
    settings: Settings, change: dict[str, str], words: str
) -> None:
    variables = {name: value for name, value in child_environment(settings).items() if name.startswith("REELMILL_")}
    done = reelmill("status", **variables | change)
    assert done.returncode == 3
    assert any(word in done.stderr for word in words.split("|")), done.stderr
    assert "Traceback" not in done.stderr
