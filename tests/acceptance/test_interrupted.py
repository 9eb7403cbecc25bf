"""A mill that is stopped or killed in the middle of its work: nothing of it is left, and the next one goes on."""

import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.command import ECHO, documents, reelmill, started
from tests.media_samples import noise_bursts, write_wav
from tests.watching import mill_processes, until

#: Many short windows, so that a kill hits the middle.
SHORT_WINDOWS = ECHO | {"REELMILL_CUTTING__WINDOW_SECONDS": "60", "REELMILL_CUTTING__WINDOWS_AHEAD": "1"}
SECONDS = 600


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("media") / "recording.wav", noise_bursts(SECONDS)[:, :1])


#: Work that was in hand when the mill ended may be done again: that of one window.
MOST_AGAIN = 2


def answered(data: Path) -> list[str]:
    """Names of the work that the infer worker has ended, as its log tells."""
    log = data / "logs" / "infer.log"
    return re.findall(r"\[(infer\.\S+)\] succeeded in", log.read_text()) if log.exists() else []


def test_a_run_that_is_stopped_by_ctrl_c_goes_on_when_it_is_started_again(recording: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started("run", "--json", "--data-dir", data, recording, log=tmp_path / "run.log", **SHORT_WINDOWS) as run:
        until(lambda: len(answered(data)) > 3)
        run.send_signal(signal.SIGINT)
        assert run.wait(40) == 130
    assert "the same command goes on where it was" in (tmp_path / "run.log").read_text()
    until(lambda: mill_processes(data) == [], 5)
    check_that_the_next_run_goes_on(recording, data)


def test_a_mill_that_is_killed_leaves_no_process_and_the_next_one_goes_on(recording: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started("up", "--data-dir", data, log=tmp_path / "up.log", **SHORT_WINDOWS) as up:
        until((data / "connection.json").exists)
        assert reelmill("submit", "--data-dir", data, recording, **SHORT_WINDOWS).returncode == 0
        until(lambda: len(answered(data)) > 3)
        family = psutil.Process(up.pid).children(recursive=True)
        assert len(family) >= 7, "two services, three workers, two pool processes"
        quick = [process for process in family if process.name() != "weed"]
        up.kill()
        up.wait()
        _, left = psutil.wait_procs(quick, timeout=20)
        assert left == []
    until(lambda: mill_processes(data) == [])  # SeaweedFS ends its streams first, which may take half a minute
    check_that_the_next_run_goes_on(recording, data)


def check_that_the_next_run_goes_on(recording: Path, data: Path) -> None:
    before = answered(data)
    done = reelmill("run", "--json", "--data-dir", data, recording, **SHORT_WINDOWS)
    (job,) = documents(done)
    assert (done.returncode, job["status"], job["media_seconds"]) == (0, "done", SECONDS)
    after = answered(data)[len(before) :]
    assert len(set(after) - set(before)) > 2, "it was stopped in the middle"
    assert len(set(after) & set(before)) <= MOST_AGAIN, "what was answered is not asked again"
