"""The worker processes of an experiment: who dies is started again, as a supervisor of a fleet would."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipeline.daemon import bound_to_parent
from pipeline.settings import Settings, child_environment

ROOT = Path(__file__).parent.parent.parent
LOOK_SECONDS = 0.2


@dataclass
class Member:
    """One process of the fleet, by its name in the experiment."""

    name: str
    role: str
    settings: Settings
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    exits: list[int] = field(default_factory=list)
    """How it ended, each time that it was started anew: an exit status, or a signal's number below zero."""


class Crew:
    """Starts, watches and kills the members."""

    def __init__(self, log_dir: Path, environment: Mapping[str, str]) -> None:
        self.log_dir = log_dir
        self.module = "tests.fault_workers"
        self._environment = environment
        self._members: dict[str, Member] = {}
        self._lock = threading.RLock()
        self._ending = threading.Event()
        self._watch = threading.Thread(target=self._keep_alive, name="crew", daemon=True)
        self._watch.start()

    def start(self, name: str, role: str, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        with self._lock:
            self._members[name] = Member(name, role, settings, environment or {})
            self._spawn(self._members[name])

    @contextmanager
    def down(self) -> Iterator[None]:
        """SIGKILL everybody, and start nobody anew until this ends."""
        with self._lock:
            for member in self._members.values():
                _kill(member)
            yield

    def kill(self, name: str) -> None:
        """SIGKILL a worker and all its children, as an out-of-memory killer or a power cut would."""
        _kill(self._members[name])

    def kill_child(self, name: str, number: int = 0) -> bool:
        """SIGKILL one pool process of a worker; False when it has none now."""
        children = self._pool(name)
        for child in children[number % len(children) :][:1] if children else ():
            with suppress(psutil.NoSuchProcess):
                child.kill()
        return bool(children)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a worker and all its children."""
        process = self._members[name].process
        if process is not None and process.poll() is None:
            os.killpg(process.pid, number)

    def terminate(self, name: str) -> None:
        """Ask a worker to end, as an orchestrator does."""
        process = self._members[name].process
        if process is not None:
            process.terminate()

    def exits(self, name: str) -> list[int]:
        """How a member ended, each time that it was started anew."""
        return list(self._members[name].exits)

    def names(self, *roles: str) -> list[str]:
        with self._lock:
            return [member.name for member in self._members.values() if not roles or member.role in roles]

    def processes(self) -> list[psutil.Process]:
        """All that lives of the crew, children included."""
        found: list[psutil.Process] = []
        with self._lock:
            members = list(self._members.values())
        for member in members:
            if member.process is not None and member.process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    parent = psutil.Process(member.process.pid)
                    found += [parent, *parent.children(recursive=True)]
        return found

    def stop(self) -> None:
        """SIGKILL everybody: what an orderly end is worth, an experiment of its own tells."""
        self._ending.set()
        self._watch.join()
        for member in self._members.values():
            _kill(member)

    def log(self, name: str) -> str:
        """All that a member has said."""
        return (self.log_dir / f"{name}.log").read_text(errors="replace")

    def logs(self, characters: int = 3000) -> str:
        parts = [f"== {log.name}\n{log.read_text(errors='replace')[-characters:]}" for log in self._log_files()]
        return "\n".join(parts)

    def _log_files(self) -> Sequence[Path]:
        return sorted(self.log_dir.glob("*.log"))

    def _pool(self, name: str) -> list[psutil.Process]:
        process = self._members[name].process
        if process is None or process.poll() is not None:
            return []
        try:
            children = psutil.Process(process.pid).children()
            return [child for child in children if child.name().startswith("python")]
        except psutil.NoSuchProcess:
            return []

    def _keep_alive(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            with self._lock:
                for member in self._members.values():
                    status = None if member.process is None else member.process.poll()
                    if status is not None:
                        member.exits.append(status)
                        self._spawn(member)

    def _spawn(self, member: Member) -> None:
        environment = child_environment(member.settings) | dict(self._environment) | dict(member.environment)
        with (self.log_dir / f"{member.name}.log").open("ab") as log:
            member.process = subprocess.Popen(
                bound_to_parent([sys.executable, "-m", self.module, member.role]),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _kill(member: Member) -> None:
    if member.process is not None:
        with suppress(ProcessLookupError):
            os.killpg(member.process.pid, signal.SIGKILL)
        member.process.wait()
