"""The real command line, as a person and as a program use it."""

import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import srt
import webvtt

from pipeline.media.ffmpeg import Ffmpeg
from pipeline.sample import speech_sample
from pipeline.settings import Settings
from tests.command import ECHO, documents, reelmill, started
from tests.media_samples import encode, noise_bursts, write_wav
from tests.watching import mill_processes, until


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "noise.wav", noise_bursts(4))


@pytest.fixture
def text_as_mp3(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp3"
    path.write_text("These are words, not sound.\n")
    return path


def test_human_speech_becomes_text_and_valid_captions(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = reelmill("run", "--json", "--data-dir", data, speech_sample())
    assert done.returncode == 0, done.stderr
    (job,) = documents(done)
    assert job["status"] == "done"
    assert "it was the best of times" in job["text"].lower()
    assert "superlative degree of comparison only" in job["text"].lower()
    assert all(segment["start"] < segment["end"] <= 44.4 for segment in job["segments"])
    outputs = {name: Path(path) for name, path in job["outputs"].items()}
    cues = list(srt.parse(outputs["srt"].read_text()))
    captions = webvtt.read(str(outputs["vtt"]))
    assert len(cues) == len(captions) > 5
    assert "best of times" in outputs["txt"].read_text()
    assert json.loads(outputs["json"].read_text())["text"] == job["text"]

    again = reelmill("run", "--data-dir", data, speech_sample())
    assert again.returncode == 0, again.stderr
    assert "best of times" in again.stdout
    assert "real-time factor" in again.stdout
    assert str(data / "transcripts") in again.stdout
    log = (data / "logs" / "infer.log").read_text().splitlines()
    received = [line for line in log if "Task infer[" in line and line.endswith("received")]
    assert len(received) == 1, "44 s are two segments in one parcel; the second run is answered from what is stored"


def test_one_process_and_a_fleet_give_the_same_bytes(tmp_path: Path, noise: Path, text_as_mp3: Path) -> None:
    long = encode(Ffmpeg.locate(Settings()), write_wav(tmp_path / "long.wav", noise_bursts(200)), tmp_path / "long.mp3")
    made: list[dict[str, bytes]] = []
    for mode in ([], ["--in-process"]):
        out = tmp_path / f"out{len(made)}"
        done = reelmill(
            *["run", "--data-dir", tmp_path / f"data{len(made)}", "-o", out, *mode, noise, long, text_as_mp3],
            **ECHO,
            REELMILL_CUTTING__WINDOW_SECONDS="60",
        )
        assert done.returncode == 1, done.stderr
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    assert len(made[0]) == 9, "two with four formats, and the failed one's result"


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A mill with the echo engine that is up."""
    data = tmp_path / "data"
    with started("up", "--data-dir", data, log=tmp_path / "up.log", **ECHO) as process:
        until((data / "connection.json").exists)
        yield data
        process.send_signal(signal.SIGINT)
        process.wait(30)


def test_jobs_are_followed_from_submission_to_results(data_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    for number in range(3):
        write_wav(folder / f"{number}.wav", noise_bursts(2, seed=number))
    (folder / "bad.mp3").write_text("words, not sound\n")
    at = ("--data-dir", data_dir)
    submitted = [documents(reelmill("submit", "--json", *at, path, **ECHO))[0] for path in sorted(folder.iterdir())]
    assert len(submitted) == 4
    ids = {Path(job["name"]).name: job["job"] for job in submitted}

    waited = reelmill("wait", "--json", *at, *ids.values(), **ECHO)
    assert waited.returncode == 1, "one failed"
    assert {job["name"].rsplit("/")[-1]: job["status"] for job in documents(waited)} == {
        "0.wav": "done",
        "1.wav": "done",
        "2.wav": "done",
        "bad.mp3": "failed",
    }
    assert sum("job" in one for one in documents(reelmill("status", "--json", *at, **ECHO))) == 4

    good = ids["0.wav"]
    written = reelmill("results", good, "--format", "vtt", "-o", tmp_path / "vtt", *at, **ECHO)
    assert written.returncode == 0
    (vtt,) = (tmp_path / "vtt").iterdir()
    assert "seconds of sound" in "".join(caption.text for caption in webvtt.read(str(vtt)))
    (result,) = documents(reelmill("results", "--json", good, *at, **ECHO))
    assert result["outputs"]["srt"].startswith("s3://")

    (quarantined,) = documents(reelmill("quarantine", "list", "--json", *at, **ECHO))
    assert quarantined["job"] == ids["bad.mp3"]
    assert "no sound" in quarantined["reason"]
    shown = reelmill("quarantine", "show", ids["bad.mp3"], *at, **ECHO)
    assert "no sound" in shown.stdout
    for command in (("quarantine", "redrive"), ("retry", "--failed")):
        assert reelmill(*command, *at, **ECHO).returncode == 0
        assert reelmill("wait", ids["bad.mp3"], *at, **ECHO).returncode == 1
    assert reelmill("cancel", good, *at, **ECHO).returncode == 2, "it has ended"
    assert reelmill("status", "jnone", *at, **ECHO).returncode == 2


def live_workers(supervisor: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(supervisor).children():
        with suppress(psutil.NoSuchProcess):
            if "workers" in child.cmdline():
                found.append(child)
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_when_a_mill_ends_nothing_of_it_is_left(tmp_path: Path, noise: Path, how: signal.Signals) -> None:
    data = tmp_path / "data"
    with started("up", "--data-dir", data, log=tmp_path / "up.log", **ECHO) as process:
        until((data / "connection.json").exists)
        second = reelmill("up", "--data-dir", data, **ECHO)
        assert (second.returncode, "another mill is up" in second.stderr) == (3, True)
        reelmill("submit", "--data-dir", data, noise, **ECHO)
        assert reelmill("wait", "--data-dir", data, **ECHO).returncode == 0
        workers = live_workers(process.pid)
        assert len(workers) == 3
        workers[0].kill()
        until(lambda: len(set(live_workers(process.pid)) - {workers[0]}) == 3)

        process.send_signal(how)
        assert process.wait(40) == (0 if how == signal.SIGINT else -signal.SIGKILL)
        until(lambda: mill_processes(data) == [])
    kept = documents(reelmill("results", "--json", "--data-dir", data, **ECHO))
    assert [job["status"] for job in kept] == ["done"], "what is stored outlives its mill"


def test_the_doctor_names_what_is_missing(tmp_path: Path) -> None:
    well = reelmill("doctor", "--json", "--data-dir", tmp_path / "data")
    assert (well.returncode, {row["ok"] for row in documents(well)}) == (0, {True})
    ill = reelmill("doctor", "--data-dir", tmp_path / "data", REELMILL_ENGINE__MODEL=str(tmp_path / "none"))
    assert ill.returncode == 3
    assert "BAD" in ill.stdout
    assert str(tmp_path / "none") in ill.stdout


def test_wrong_usage_is_told_and_has_its_own_exit_status(tmp_path: Path) -> None:
    at = ("--data-dir", tmp_path / "data")
    for arguments, words in [
        (("run", "--nonsense"), "--nonsense"),
        (("run", "no such file.mp3", *at), "no such file.mp3"),
        (("run", "", *at), "empty name"),
        (("status", *at), "reelmill up"),
    ]:
        done = reelmill(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert words in done.stderr
    typo = reelmill("status", REELMILL_ENGIEN__NAME="x")
    assert (typo.returncode, "REELMILL_ENGIEN__NAME" in typo.stderr) == (2, True)


def test_a_mill_whose_engine_cannot_start_says_why_and_stops(tmp_path: Path, noise: Path) -> None:
    done = reelmill("run", noise, "--data-dir", tmp_path / "data", REELMILL_ENGINE__MODEL=str(tmp_path / "none"))
    assert done.returncode == 3
    assert "there is no directory" in done.stderr
