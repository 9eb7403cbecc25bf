"""Valkey and SeaweedFS as deploy/compose.yaml starts them, on a host of a test: the same commands, without containers.

What a container would give them is put in place: their programs on PATH, a directory for /data, their environment.
"""

import importlib.metadata
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from pipeline.errors import ReelmillError
from pipeline.services import SETTLE_SECONDS, SeaweedFS, Valkey
from pipeline.settings import S3, Redis
from pipeline.store import open_store
from tests.conftest import need_wheel
from tests.deployment import FILLED_IN, services

START_SECONDS = 60


@contextmanager
def deployed(folder: Path, address: str) -> Iterator[tuple[Redis, S3]]:
    """Both services, started from the thread's own host, which has `address`; how workers reach them from anywhere."""
    described = services(folder)
    with ExitStack() as stack:
        for name, daemon in (("valkey", Valkey), ("seaweedfs", SeaweedFS)):
            need_wheel(daemon.wheel)
            stack.enter_context(_running(described[name], folder / name, program(daemon.wheel, daemon.program)))
        queue = Redis.model_validate({"url": f"redis://:{FILLED_IN['VALKEY_PASSWORD']}@{address}:6379/0"})
        store = S3(
            endpoint=f"{address}:8333",
            access_key=described["seaweedfs"]["environment"]["AWS_ACCESS_KEY_ID"],
            secret_key=FILLED_IN["REELMILL_S3__SECRET_KEY"],  # type: ignore[arg-type]
            region="us-east-1",
            secure=False,
        )
        _await(queue, store, folder)
        yield queue, store


@contextmanager
def _running(service: dict[str, Any], folder: Path, program: Path) -> Iterator[None]:
    data = folder / "data"
    data.mkdir(parents=True)
    argv = [part.replace("$$", "$").replace("/data", str(data)) for part in _command(service)]
    environment = {"PATH": f"{program.parent}:{os.defpath}", "HOME": str(folder), "GOMEMLIMIT": "256MiB"}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            argv,
            cwd=data,
            env=environment | service["environment"],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _command(service: dict[str, Any]) -> list[str]:
    return [*(service.get("entrypoint") or ()), *service["command"]]


def program(wheel: str, name: str) -> Path:
    files = importlib.metadata.files(wheel) or []
    return next(Path(str(file.locate())).resolve() for file in files if file.name == name)


def _await(queue: Redis, store: S3, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(queue, store):
        logs = "\n".join(log.read_text()[-2000:] for log in folder.glob("*/log"))
        assert time.monotonic() < deadline, logs
        time.sleep(0.2)
    time.sleep(SETTLE_SECONDS)


def _answers(queue: Redis, store: S3) -> bool:
    try:
        with redis.Redis.from_url(queue.url.get_secret_value(), socket_timeout=2) as client:
            client.ping()
        open_store(store).self_test()
    except (redis.RedisError, ReelmillError):
        return False
    return True
