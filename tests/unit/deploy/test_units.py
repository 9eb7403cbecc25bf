"""The systemd units: by systemd, and by what they have to agree with."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import MISCONFIGURED
from pipeline.settings import Settings
from tests.conftest import unavailable
from tests.deployment import UNITS
from workers.__main__ import ROLES

each = pytest.mark.parametrize("path", UNITS, ids=[path.name for path in UNITS])
#: systemd's own figure of what a unit could do to its machine, 0 to 100. What it does not like about `prepare` are the
#: namespaces that the sandbox is made of.
MOST_EXPOSED = {"prepare.service": 30, "infer@.service": 25, "steward.service": 20}
LEAVING = 15
#: What every unit gives up.
GIVEN_UP = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "PrivateTmp": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
    "User": "reelmill",
}


def settings_of(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        unavailable("needs systemd-analyze: apt-get install systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a machine on which reelmill is installed as the units expect."""
    python = tmp_path / "opt/reelmill/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for path in UNITS:
        shutil.copy(path, units)
    for target in ("sysinit", "basic", "shutdown", "multi-user", "network-online"):
        (units / f"{target}.target").write_text("[Unit]\n")
    (tmp_path / "etc/passwd").write_text("reelmill:x:10001:10001::/nonexistent:/usr/sbin/nologin\n")
    return tmp_path


def test_there_is_a_unit_for_every_role() -> None:
    commands = {path.name.split(".")[0].rstrip("@"): settings_of(path)["ExecStart"] for path in UNITS}
    assert commands == {role: [f"/opt/reelmill/bin/python -m workers {role}"] for role in ROLES}


@each
def test_systemd_understands_all_of_it(path: Path, machine: Path) -> None:
    name = path.name.replace("@.", "@0.")
    done = analyze("verify", "--man=no", f"--root={machine}", name)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@each
def test_it_could_do_little_to_its_machine(path: Path) -> None:
    done = analyze(
        "security",
        "--offline=yes",
        "--no-pager",
        f"--threshold={MOST_EXPOSED[path.name]}",
        f"./{path.relative_to(Path.cwd())}",
    )
    assert done.returncode == 0, done.stdout


@each
def test_it_gives_up_what_it_does_not_need(path: Path) -> None:
    unit = settings_of(path)
    assert {name: unit.get(name) for name in GIVEN_UP} == {name: [value] for name, value in GIVEN_UP.items()}
    assert "SystemCallFilter" in unit
    assert ("PrivateDevices" in unit) != ("DeviceAllow" in unit)


@each
def test_it_is_started_again_unless_that_is_of_no_use(path: Path) -> None:
    unit = settings_of(path)
    assert unit["Restart"] == ["always"]
    assert unit["RestartPreventExitStatus"] == [str(MISCONFIGURED)]
    assert unit["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("name", ["prepare.service", "infer@.service"])
def test_a_worker_is_told_to_stop_soon_and_given_longer_than_it_takes(name: str) -> None:
    unit = next(settings_of(path) for path in UNITS if path.name == name)
    assert "KillSignal" not in unit, "SIGTERM: what another signal would do, nobody has tested"
    assert unit["KillMode"] == ["mixed"], "its processes are told by it, not all at once"
    assert int(unit["TimeoutStopSec"][0]) >= Settings().workers.grace_seconds + LEAVING


def test_secrets_come_from_a_file_and_not_from_the_unit() -> None:
    for path in UNITS:
        unit = settings_of(path)
        assert unit["EnvironmentFile"] == ["/etc/reelmill/env"]
        assert not any(word in value for value in unit.get("Environment", []) for word in ("KEY", "URL", "PASSWORD"))
