"""What the doctor says about the sandbox, where it does not come up."""

from pathlib import Path

import pytest

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


def test_that_it_is_off_is_said(bwrap: Path) -> None:
    assert _sandbox(Settings(sandbox=Sandbox(bwrap=bwrap, mode="off"))).startswith("off, as set")
