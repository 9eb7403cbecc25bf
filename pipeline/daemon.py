"""A server program that this process starts, watches and ends, with a directory, ports and secrets of its own."""

import importlib.metadata
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import psutil  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, TypeAdapter

from pipeline.errors import WorldError

HOST = "127.0.0.1"
PORTS = range(11_000, 21_000)
"""Below the ports that Linux hands to outgoing connections, also with SECOND_PORT added."""
SECOND_PORT = 10_000
"""SeaweedFS opens each port a second time, for gRPC, at this distance."""
PORT_TRIES = 1_000

START_SECONDS = 30
STOP_SECONDS = 15
POLL_SECONDS = 0.02
LOG_TAIL_BYTES = 2_000
SAME_START_SECONDS = 2
"""A process's start time is read with about this precision while the clock is being set."""

DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG, which survives exec
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class Running(BaseModel):
    """A process that lived: a pid is given out again, a pid with its start time is not."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: float
    """Seconds since the epoch."""

    @classmethod
    def of(cls, pid: int) -> "Running":
        return cls(pid=pid, started=psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < SAME_START_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


class State(BaseModel):
    """What a daemon finds again when it starts on the same directory, so that its clients need no new address."""

    model_config = ConfigDict(frozen=True)

    ports: dict[str, int] = {}
    secrets: dict[str, str] = {}
    process: Running | None = None
    owner: Running | None = None
    """The process that started it."""


class Daemon:
    """One server program.

    On Linux it ends with the thread that started it, so start it from one that stays (the main thread); a survivor
    elsewhere is ended by the next start on its directory.
    """

    name: ClassVar[str]
    wheel: ClassVar[str]
    program: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    secret_names: ClassVar[tuple[str, ...]]

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.absolute()
        self._dir = self._data_dir / self.name
        self._log = self._data_dir / "logs" / f"{self.name}.log"
        self._log_start = 0
        self._states = _States(self._data_dir)
        self._state = State()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it serves us and nobody else. Raises WorldError with the end of its log."""
        if self.alive:
            return
        program = _program(self.wheel, self.program)
        for directory in (self._data_dir, self._dir, self._log.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        self._claim()
        self._configure()
        self._spawn([program, *self._arguments()])
        try:
            self._await_ready()
            self._prove_closed()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask it to end, then make it end. Harmless when it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def _configure(self) -> None:
        """Write the files that the program reads at its start."""
        raise NotImplementedError

    def _arguments(self) -> list[str]:
        """The program's arguments. Never a secret: every user of the machine may read them."""
        raise NotImplementedError

    def _ready(self) -> bool:
        raise NotImplementedError

    def _prove_closed(self) -> None:
        """Raises WorldError when a stranger would be let in."""
        raise NotImplementedError

    def _claim(self) -> None:
        """End what a dead supervisor left behind, then settle ports and secrets: the old ones where possible."""
        with _States.lock:
            states = self._states.read()
            old = states.pop(self.name, State())
            survivor = old.process.find() if old.process else None
            if survivor:
                if old.owner and old.owner.find():
                    raise WorldError(f"{self.name} already runs on {self._data_dir} (process {survivor.pid})")
                _end(survivor)
            others = {port for state in states.values() for port in state.ports.values()}
            self._state = State(
                ports=_choose_ports(self.port_names, old.ports, others),
                secrets={name: old.secrets.get(name) or secrets.token_hex(24) for name in self.secret_names},
            )
            self._states.write(self.name, self._state)

    def _spawn(self, command: list[str]) -> None:
        """Start in a session of its own, so that Ctrl-C reaches only the supervisor, which stops things in order."""
        command = bound_to_parent(command)
        # A bare environment: the user's AWS_* and WEED_* variables would add identities and change the server.
        # The Go program is held to some memory; to less than this, and it spends most of its time on finding it
        # (SeaweedFS 4.48, for a GET of 130 kB: 2.4 ms of CPU, and 7.6 ms at 256 MiB).
        environment = {"PATH": os.defpath, "HOME": str(self._dir), "GOMEMLIMIT": "400MiB"}
        self._log.touch(mode=0o600)
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                cwd=self._dir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
            )
        running = {"process": Running.of(self._process.pid), "owner": Running.of(os.getpid())}
        self._state = self._state.model_copy(update=running)
        self._states.write(self.name, self._state)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if not self.alive:
                raise WorldError(f"{self.name} ended while it started. The end of {self._log}:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise WorldError(
                    f"{self.name} was not ready after {START_SECONDS} s. The end of {self._log}:\n{self._log_tail()}"
                )
            time.sleep(POLL_SECONDS)

    def _log_tail(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(self._log_start, self._log.stat().st_size - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace").strip()


class _States:
    """`services.json`: the state of every daemon of one data directory."""

    _type = TypeAdapter(dict[str, State])
    lock = threading.RLock()

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "services.json"

    def read(self) -> dict[str, State]:
        try:
            return self._type.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise WorldError(f"{self._path} is damaged; remove it to give the services new ports and keys") from error

    def write(self, name: str, state: State) -> None:
        with self.lock:
            write_private(self._path, self._type.dump_json(self.read() | {name: state}, indent=2).decode())


def bound_to_parent(command: list[str]) -> list[str]:
    """The command, made to end (SIGTERM) with the thread that starts it, where the system can do that."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-ISc", DIE_WITH_PARENT, str(os.getpid()), *command]


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner may read."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def _program(wheel: str, program: str) -> str:
    """The path of a program that a wheel brought."""
    try:
        files = importlib.metadata.files(wheel) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == program:
            return str(Path(str(file.locate())).resolve())
    raise WorldError(f'{program} is not installed (package {wheel}): pip install "reelmill[local]"')


def _end(process: psutil.Process) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def _choose_ports(names: tuple[str, ...], old: dict[str, int], taken: set[int]) -> dict[str, int]:
    """The old ports when all of them are free, else new ones."""
    if set(old) == set(names) and all(map(_is_free, old.values())):
        return old
    free: set[int] = set()
    for _ in range(PORT_TRIES):
        if len(free) == len(names):
            return dict(zip(names, free, strict=True))
        port = secrets.choice(PORTS)
        if port not in taken and _is_free(port):
            free.add(port)
    raise WorldError(f"no free ports between {PORTS.start} and {PORTS.stop + SECOND_PORT}")


def _is_free(port: int) -> bool:
    for number in (port, port + SECOND_PORT):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are closing do not count
            try:
                probe.bind((HOST, number))
            except OSError:
                return False
    return True
