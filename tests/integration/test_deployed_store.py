"""The store of deploy/compose.yaml on a new machine: a volume as Docker makes it, given to a user without any right."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ReelmillError
from pipeline.services import SeaweedFS
from pipeline.settings import S3
from pipeline.store import open_store
from tests.conftest import need_wheel, unavailable
from tests.deployed_services import program
from tests.deployment import FILLED_IN, services
from tests.watching import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users"),
]

#: What upstream's image has in /data, and whose that is. Docker copies both into a new volume.
FOLDER, IMAGES_OWN = "filerldb2", 1_000
#: weed listens there, and ten thousand above.
PORTS = ("master.port", "volume.port", "filer.port", "s3.port")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="reelmill-store-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def volume(place: Path, owner: int) -> Path:
    data = place / "data"
    (data / FOLDER).mkdir(parents=True)
    for path in (data, data / FOLDER):
        os.chown(path, owner, owner)
        path.chmod(0o755)
    return data


def given(service: dict[str, Any], data: Path) -> None:
    """Run what changes the owner, with no more rights than it has there."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        unavailable("needs setpriv: apt-get install util-linux")
    rights = ",".join(f"+{name.lower()}" for name in service["cap_add"])
    argv = [part.replace("/data", str(data)) for part in service["entrypoint"]]
    subprocess.run([setpriv, f"--bounding-set=-all,{rights}", *argv], check=True)


@contextmanager
def running(service: dict[str, Any], data: Path, port: int) -> Iterator[S3]:
    weed = shutil.copy(program(SeaweedFS.wheel, SeaweedFS.program), data.parent)
    user, group = map(int, service["user"].split(":"))
    argv = [part.replace("/data", str(data)) for part in service["command"]]
    own = [f"-{name}={port + number}" for number, name in enumerate(PORTS)]  # of two same flags, the last one counts
    log = data.parent / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [weed, *argv, *own],
            cwd=data,
            env={"HOME": str(data), "PATH": os.defpath, "GOMEMLIMIT": "256MiB", **service["environment"]},
            stdout=said,
            stderr=said,
            user=user,
            group=group,
            extra_groups=[],
        )
    try:
        until(lambda: answers(port + PORTS.index("s3.port"), service) or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()[-2_000:]
        yield settings(port + PORTS.index("s3.port"), service)
    finally:
        process.kill()
        process.wait()


def settings(port: int, service: dict[str, Any]) -> S3:
    return S3(
        endpoint=f"127.0.0.1:{port}",
        access_key=service["environment"]["AWS_ACCESS_KEY_ID"],
        secret_key=FILLED_IN["REELMILL_S3__SECRET_KEY"],
        region="us-east-1",
        secure=False,
    )


def answers(port: int, service: dict[str, Any]) -> bool:
    try:
        open_store(settings(port, service)).self_test()
    except ReelmillError:
        return False
    return True


def free_ports() -> int:
    """The first of as many ports as it needs."""
    for port in range(21_000, 31_000, 10):
        try:
            for number in range(len(PORTS)):
                for where in (port + number, port + number + 10_000):
                    socket.create_server(("127.0.0.1", where)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no ports are free")


@pytest.mark.parametrize("owner", [0, IMAGES_OWN])
def test_the_store_starts_on_a_volume_that_its_image_brings_a_folder_into(owner: int, place: Path) -> None:
    need_wheel(SeaweedFS.wheel)
    described = services(place)
    data = volume(place, owner)
    given(described["seaweedfs-owner"], data)
    with running(described["seaweedfs"], data, free_ports()) as s3:
        assert open_store(s3).create("a", b"1")
    (data / FOLDER / "00").chmod(0o700)
    given(described["seaweedfs-owner"], data)  # as at every start
