"""What the doctor says about the sandbox, where it does not come up."""

from pathlib import Path
from typing import Literal

import pytest
import typer

from pipeline.cli import inspect
from pipeline.cli.inspect import _sandbox
from pipeline.errors import WorldError
from pipeline.settings import S3, Sandbox, Settings

NO_SANDBOX = "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"


@pytest.fixture
def bwrap(tmp_path: Path) -> Path:
    path = tmp_path / "bwrap"
    path.write_text(NO_SANDBOX)
    path.chmod(0o755)
    return path


def test_a_machine_of_one_user_works_without_and_is_told_so(bwrap: Path) -> None:
    found = _sandbox(Settings(sandbox=Sandbox(bwrap=bwrap)))
    assert found.startswith("none, so that only your own media should be decoded here")
    assert "No permissions to create new namespace" in found


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_a_machine_of_a_fleet_does_not(mode: str, bwrap: Path) -> None:
    s3 = S3(endpoint="storage:9000") if mode == "auto" else S3()
    with pytest.raises(WorldError, match="No permissions to create new namespace"):
        _sandbox(Settings(s3=s3, sandbox=Sandbox(bwrap=bwrap, mode=mode)))  # type: ignore[arg-type]


def told(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the doctor prints about the sandbox, with nothing else to look at."""
    for other in ("_ffmpeg", "_engine", "_services"):
        monkeypatch.setattr(inspect, other, lambda settings: "fine")
    monkeypatch.setattr(inspect, "load", lambda data_dir: settings)
    with pytest.raises(typer.Exit) as ended:
        inspect.doctor()
    assert ended.value.exit_code == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " sandbox " in line]
    return line


@pytest.mark.parametrize("mode", ["off", "auto"])
def test_the_doctor_warns_of_work_without_a_sandbox(
    mode: Literal["off", "auto"], bwrap: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(sandbox=Sandbox(bwrap=bwrap, mode=mode))
    assert told(settings, monkeypatch, capsys).startswith("WARN sandbox")


def test_that_it_is_off_is_said(bwrap: Path) -> None:
    assert _sandbox(Settings(sandbox=Sandbox(bwrap=bwrap, mode="off"))).startswith("off, as set")
