"""Programs that try to get out of the sandbox, each beside a control that is not in one."""

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from inspect import getsource
from itertools import count
from pathlib import Path

import psutil
import pytest

from pipeline.errors import PermanentError, ResourceError, TransientError, WorldError
from pipeline.media.sandbox import breakout, isolation
from pipeline.media.sandbox.enclosure import Enclosure, Sandbox, python_argv
from pipeline.media.sandbox.isolation import choose, locate, prove
from pipeline.media.sandbox.process import Process
from pipeline.settings import Limits, Settings
from pipeline.settings import Sandbox as SandboxSettings
from tests.conftest import unavailable
from workers import prepare

EVERYTHING = [
    *("reads files of the host", "writes files", "reaches the network", "sees the environment"),
    *("sees processes of the host", "holds files open that it was not given", "starts processes", "traces"),
    *("changes files of the host", "makes namespaces"),
]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        found = locate(SandboxSettings())
        prove(found)
    except WorldError as error:
        unavailable(str(error))
    return found


def run(code: str, sandbox: Sandbox | None, **limits: float) -> str:
    """What a Python program prints, in the sandbox or under limits alone."""
    enclosure = None if sandbox is None else sandbox.of_python(code)
    process = Process(python_argv(code), Limits(**limits), enclosure)  # type: ignore[arg-type]
    complaints: list[bytes] = []
    try:
        output = b"".join(process.read({process.stderr: complaints.append}, 1_000_000))
        assert process.wait() == 0, b"".join(complaints)
    finally:
        process.end()
    return output.decode().strip()


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[str]:
    """A program that tries everything and prints what worked."""
    canary = tmp_path / "canary"
    canary.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        yield f"{getsource(breakout)}\nimport json\nprint(json.dumps(breaches({str(canary)!r}, {port})))"


def test_nothing_that_a_program_tries_works_inside(attempts: str, sandbox: Sandbox) -> None:
    assert json.loads(run(attempts, sandbox)) == []


def test_all_of_it_works_outside(attempts: str) -> None:
    environment = os.environ | {"SECRET": "x"}
    # As a process that holds many files open would hand it on.
    inherited = fcntl.fcntl(0, fcntl.F_DUPFD, 500)
    try:
        argv = python_argv(attempts)
        output = subprocess.run(argv, check=True, capture_output=True, close_fds=False, env=environment, timeout=60)
    finally:
        os.close(inherited)
    found = json.loads(output.stdout)
    # Not every host lets a user make them; and what is open here may be root's.
    privileged = {"makes namespaces", "changes files of the host"}
    assert [name for name in EVERYTHING if name in found or name not in privileged] == found


HOST_FILES = (
    "/etc/shadow",
    "/etc/passwd",
    "/etc/hostname",
    "/proc/1/environ",
    "/proc/self/maps",
    "/dev/sda",
    "/tmp",
    "/usr/bin/env",  # beside a Python of the system, which is shown itself
)
LISTED = "import os\nprint([path for path in {paths} if os.path.exists(path)], sorted(os.listdir('/')))"


STDIN = """
import os
def attempt(change):
    try:
        change()
        return True
    except OSError:
        return False
print([attempt(lambda: os.utime(0, (1, 1))), attempt(lambda: os.chmod(0, 0o666)), attempt(lambda: os.chown(0, 0, 0))])
print(os.path.exists("/dev/null"))
"""


def test_the_null_device_of_the_host_is_left_as_it_is(sandbox: Sandbox) -> None:
    before = os.stat("/dev/null")
    assert run(STDIN, sandbox).split("\n") == ["[False, False, False]", "False"]
    after = os.stat("/dev/null")
    assert (after.st_mode, after.st_uid, after.st_mtime) == (before.st_mode, before.st_uid, before.st_mtime)


def test_no_file_of_the_host_is_there(tmp_path: Path, sandbox: Sandbox) -> None:
    paths = [*HOST_FILES, str(tmp_path), str(ROOT / "pyproject.toml"), str(Path(sys.prefix) / "bin")]
    code = LISTED.format(paths=paths)
    seen, _ = run(code, None).split("] ")
    assert all(path in seen for path in ("/etc/passwd", "/proc/self/maps", "/usr/bin/env", str(tmp_path)))
    seen, root = run(code, sandbox).split("] ")
    assert seen.strip("[") == ""
    assert set(json.loads(root.replace("'", '"'))) <= {"dev", "etc", "lib", "lib32", "lib64", "usr", _first_of_python()}


def _first_of_python() -> str:
    return Path(sys.base_prefix).parts[1]


def test_the_limits_hold_inside(sandbox: Sandbox) -> None:
    code = "import resource as r\nprint([r.getrlimit(getattr(r, 'RLIMIT_' + kind)) for kind in {kinds}])"
    kinds = {"AS": 700_000_000, "CPU": 61, "FSIZE": 0, "NOFILE": 64, "CORE": 0}
    found = run(code.format(kinds=list(kinds)), sandbox, process_bytes=700_000_000, process_seconds=60)
    assert found == str([(limit, limit) for limit in kinds.values()])


def test_threads_can_be_made_inside(sandbox: Sandbox) -> None:
    code = (
        "from threading import Thread\nt = [Thread(target=print, args=(n,)) for n in range(9)]\n[x.start() for x in t]"
    )
    assert sorted(run(code, sandbox).split()) == [str(number) for number in range(9)]


MANY_THREADS = """
import _thread, sys, threading, time
threading.stack_size(32768)
forever = threading.Event()
count = 0
try:
    while count < 2000:
        _thread.start_new_thread(forever.wait, ())
        count += 1
except RuntimeError:
    pass
print(count, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="others cannot make so many in a sandbox")
@pytest.mark.parametrize("is_enclosed", [True, False])
def test_who_makes_too_many_threads_is_ended(is_enclosed: bool, sandbox: Sandbox) -> None:
    enclosure = sandbox.of_python(MANY_THREADS) if is_enclosed else None
    process = Process(python_argv(MANY_THREADS), Limits(process_seconds=30), enclosure)
    try:
        with pytest.raises(PermanentError, match="too many threads"):
            list(process.read({process.stderr: lambda data: None}, 100))
    finally:
        process.end()


@pytest.mark.skipif(os.getuid() == 0, reason="the kernel does not hold root to it")
def test_a_user_cannot_even_make_too_many_threads_inside(sandbox: Sandbox) -> None:
    assert 100 < int(run(MANY_THREADS.replace("sleep(60)", "sleep(0)"), sandbox)) <= 512


def test_cpu_time_is_limited_inside(sandbox: Sandbox) -> None:
    process = Process(
        (),
        Limits(process_seconds=20),
        sandbox.of_python("import resource as r\nr.setrlimit(r.RLIMIT_CPU, (1, 1))\nwhile True: pass"),
    )
    try:
        assert b"".join(process.read({process.stderr: lambda data: None}, 10)) == b""
        assert process.wait() == -signal.SIGKILL
    finally:
        process.end()


@pytest.mark.parametrize("death", [signal.SIGSEGV, signal.SIGFPE])
def test_a_crash_inside_is_told_as_such(death: signal.Signals, sandbox: Sandbox) -> None:
    crash = {signal.SIGSEGV: "ctypes.string_at(0)", signal.SIGFPE: "import faulthandler; faulthandler._sigfpe()"}
    process = Process((), Limits(), sandbox.of_python(f"import ctypes\n{crash[death]}"))
    try:
        assert b"".join(process.read({process.stderr: lambda data: None}, 10)) == b""
        assert process.wait() == -death
    finally:
        process.end()


STUBBORN = """
import ctypes, os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # live on without a parent
def part():
    try:
        os.setsid()
    except OSError:
        pass
part()
try:
    child = os.fork()
except OSError:
    child = None
if child == 0:
    part()
if not child:
    print("up", flush=True)
time.sleep({seconds})
"""
#: Seconds to sleep: what a process is known by, and no process of another run.
marks = count(10**6 + secrets.randbelow(10**6) * 1000)


def living(mark: str) -> list[psutil.Process]:
    """Processes that are doing what bears a mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone(mark: str, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while living(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def started(mark: int, sandbox: Sandbox | None) -> Process:
    """A stubborn program that is up."""
    code = STUBBORN.format(seconds=mark)
    process = Process(python_argv(code), Limits(), None if sandbox is None else sandbox.of_python(code))
    assert os.read(process.stdout.fileno(), 100).startswith(b"up")
    return process


@pytest.mark.parametrize("kill", ["the end of its use", "SIGKILL of bubblewrap"])
def test_nothing_survives_inside(kill: str, sandbox: Sandbox) -> None:
    mark = next(marks)
    process = started(mark, sandbox)
    assert living(f"sleep({mark})")
    if kill == "the end of its use":
        process.end()
    else:
        os.kill(process.pid, signal.SIGKILL)
    assert gone(f"sleep({mark})")
    process.end()


def test_a_program_without_a_sandbox_can_survive() -> None:
    mark = next(marks)
    started(mark, None).end()
    survivors = living(f"sleep({mark})")
    assert survivors
    for survivor in survivors:
        survivor.kill()


def test_the_deadline_ends_everything_inside(sandbox: Sandbox) -> None:
    mark = next(marks)
    process = Process((), Limits(process_seconds=1), sandbox.of_python(STUBBORN.format(seconds=mark)))
    with pytest.raises(ResourceError, match="longer than the limit"):
        b"".join(process.read({process.stderr: lambda data: None}, 100))
    process.end()
    assert gone(f"sleep({mark})")


WORKER = """
import sys
from pathlib import Path
from pipeline.media.sandbox.process import Process
from pipeline.media.sandbox.enclosure import Sandbox
from pipeline.settings import Limits
inside = "import time\\nprint('up', flush=True)\\ntime.sleep({mark})"
process = Process((), Limits(), Sandbox(Path({bwrap!r})).of_python(inside))
print(process.stdout.readline(), flush=True)
input()
"""


def test_nothing_survives_the_worker(sandbox: Sandbox) -> None:
    mark = next(marks)
    code = WORKER.format(bwrap=str(sandbox.bwrap), mark=mark)
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, cwd=ROOT) as worker:
        assert worker.stdout
        worker.stdout.readline()
        assert living(f"sleep({mark})")
        worker.kill()
    assert gone(f"sleep({mark})")


def bad_bwrap(folder: Path, body: str) -> Path:
    path = folder / "bwrap"
    path.write_text(f"#!{sys.executable} -I\nimport os, sys\n{body}\n")
    path.chmod(0o755)
    return path


RUN_ANYWAY = "argv = sys.argv[sys.argv.index('--') + 1:]\nos.execv(argv[0], argv)"


def test_a_bwrap_that_does_not_isolate_is_refused(tmp_path: Path, sandbox: Sandbox) -> None:
    with pytest.raises(WorldError, match=r"does not isolate: a program inside reads files of the host, .*starts proc"):
        prove(Sandbox(bad_bwrap(tmp_path, RUN_ANYWAY)))


@pytest.mark.parametrize("left_out", ["--unshare-all", "--seccomp"])
def test_half_a_sandbox_is_refused(left_out: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    enclose = Sandbox.of_python

    def without(self: Sandbox, code: str) -> Enclosure:
        whole = enclose(self, code)
        if left_out == "--seccomp":
            allow_all = whole.filter[:0] + b"\x06\x00\x00\x00\x00\x00\xff\x7f"
            return Enclosure(whole.bwrap, whole.options, whole.argv, allow_all)
        options = tuple(option for option in whole.options if option not in (left_out, "--hostname", "sandbox"))
        return Enclosure(whole.bwrap, options, whole.argv, whole.filter)

    monkeypatch.setattr(Sandbox, "of_python", without)
    with pytest.raises(WorldError, match=r"does not isolate|does not work"):
        prove(sandbox)


def test_a_bwrap_that_fails_is_refused_and_later_a_fault_of_the_world(tmp_path: Path) -> None:
    broken = Sandbox(bad_bwrap(tmp_path, "sys.exit('bwrap: No permissions to create new namespace')"))
    with pytest.raises(WorldError, match=r"does not work: .*No permissions to create new namespace.*must be allowed"):
        prove(broken)
    with pytest.raises(TransientError, match="could not be set up"):
        run("print()", broken)


def test_a_fleet_does_not_start_without_and_one_user_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = SandboxSettings(bwrap=bad_bwrap(tmp_path, "sys.exit(1)"))
    with pytest.raises(WorldError, match=r"does not work.*REELMILL_SANDBOX__MODE=off"):
        prepare.run(Settings(sandbox=asked))
    assert [choose(asked), choose(asked)] == [None, None]
    assert [record.message for record in caplog.records if "without a sandbox" in record.message] == caplog.messages
    assert len(caplog.messages) == 1
    assert choose(SandboxSettings(mode="off")) is None


def test_a_missing_bwrap_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation.shutil, "which", lambda name: None)
    monkeypatch.setattr(isolation, "find_spec", lambda name: None)
    with pytest.raises(WorldError, match="apt-get install bubblewrap"):
        locate(SandboxSettings())


FORBIDDING = """
from pathlib import Path
from pipeline.media.sandbox.isolation import choose
from pipeline.settings import Sandbox
Path("/proc/sys/user/max_user_namespaces").write_text("0")
choose(Sandbox(mode="required"))
"""


def test_a_kernel_that_forbids_user_namespaces_is_named(sandbox: Sandbox) -> None:
    """In a user namespace of our own, in which no more of them may be made."""
    nest = [str(sandbox.bwrap), "--unshare-user", "--uid", "0", "--cap-add", "ALL", "--dev-bind", "/", "/"]
    argv = [*nest, sys.executable, "-c", FORBIDDING]
    outcome = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60)
    *_, last = outcome.stderr.strip().splitlines()
    assert "does not work" in last
    assert "(user.max_user_namespaces is 0): sysctl user.max_user_namespaces" in last
