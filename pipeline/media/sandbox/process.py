"""One media process under limits, in a sandbox or not: started, read with its other pipes, ended. See `ffmpeg`.

It gets an almost empty environment, a session and process group of its own, and limits on memory, CPU time, open
files and written bytes. The limits are on bubblewrap before it learns what to do, so that everything in the sandbox
has inherited them. That on threads can only be set once the program is in a namespace of its own, as it would count
all that its user runs; root is not held by it, which is why somebody looks, too.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, BaseSelector, DefaultSelector, SelectorKey
from typing import IO

from pipeline.errors import PermanentError, ResourceError, TransientError
from pipeline.limits import variable, within
from pipeline.media.sandbox.enclosure import ENVIRONMENT, Enclosure
from pipeline.settings import Limits

try:
    import resource
except ImportError:  # not a Unix: no limits to set
    resource = None  # type: ignore[assignment]

Sink = Callable[[bytes], None]
_CHUNK = 1 << 16  # bytes read at once
_MAX_OPEN_FILES = 64
_MAX_THREADS = 512  # of a program: more than decoders make on the largest machines
_LOOK_SECONDS = 0.5  # from one look at the number of threads to the next
#: What a process may take in all, of what its reader may spend waiting for it.
_WITH_STALLS = 4
_END_SECONDS = 10  # for a process that has closed its pipes
_FAILED_SETUP = 1  # exit status of bubblewrap when it cannot build the sandbox
#: bubblewrap's own exit status for a program that was killed by a signal is this and the signal's number.
_KILLED = 128
_SIGNALS = frozenset({"ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "SEGV", "SYS", "XCPU", "XFSZ"})


class TooMuchError(PermanentError):
    """More came than was asked for."""


class Process:
    """A running media process. `stdout` and `stderr` are the ends to read from."""

    def __init__(
        self,
        argv: Sequence[str],
        limits: Limits,
        enclosure: Enclosure | None,
        stdin: int = subprocess.DEVNULL,
        given: Sequence[int] = (),
    ) -> None:
        """`argv` is used without an enclosure, which has its own. `given`: descriptors that the program has, too.

        Raises OSError when the program cannot be started.
        """
        self._limits = limits
        self._status: IO[bytes] | None = None
        self._told = b""  # by bubblewrap, about what it started
        self._popen = self._bare(argv, stdin, given) if enclosure is None else self._enclosed(enclosure, stdin, given)
        assert self._popen.stdout
        assert self._popen.stderr
        self.stdout, self.stderr = self._popen.stdout, self._popen.stderr
        self.stdin = self._popen.stdin

    @property
    def pid(self) -> int:
        """Of the program, or of the bubblewrap around it; it is the number of the process group, too."""
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def read(self, sinks: Mapping[IO[bytes], Sink], max_bytes: int) -> Iterator[bytes]:
        """Standard output until the process closes all pipes; what comes through the others goes to their sinks.

        What it says on standard error before it writes something is handed over before that.

        Raises ResourceError when it took too long, TooMuchError when more than `max_bytes` come, PermanentError when
        more come than may, or it makes too many threads. What counts is the time spent waiting for it, up to a bound on
        all the time.
        """
        count, patience, next_look = 0, _Patience(self._limits), 0.0
        with DefaultSelector() as selector:
            for pipe in (self.stdout, *sinks):
                selector.register(pipe, EVENT_READ, sinks.get(pipe))
            if self._status is not None:
                selector.register(self._status, EVENT_READ, self._learn)
            while selector.get_map():
                ready = patience.wait(selector)
                if time.monotonic() >= next_look:
                    self._look()
                    next_look = time.monotonic() + _LOOK_SECONDS
                for key, data in self._taken(selector, [key for key, _ in ready]):
                    if not data:
                        selector.unregister(key.fileobj)
                        continue
                    if key.data is not None:
                        key.data(data)
                        if key.fileobj is self._status and self._pid_inside() is not None:
                            selector.unregister(self._status)
                        continue
                    count += len(data)
                    within(self._limits, "process_output_bytes", count, "output of a media process", " bytes")
                    if count > max_bytes:
                        raise TooMuchError("its decoder writes more than it was asked for", f"over {max_bytes} bytes")
                    yield data

    def _learn(self, data: bytes) -> None:
        """Take what bubblewrap tells of the program that it has started, and bound its threads."""
        self._told += data
        if (pid := self._pid_inside()) is not None and hasattr(resource, "prlimit"):
            with suppress(ProcessLookupError, PermissionError):
                resource.prlimit(pid, resource.RLIMIT_NPROC, (_MAX_THREADS, _MAX_THREADS))

    def _look(self) -> None:
        """Raise PermanentError when the program has more threads than any decoder makes."""
        pid = self.pid if self._status is None else self._pid_inside()
        with suppress(OSError):
            threads = len(os.listdir(Path("/proc", str(pid), "task")))
            if threads > _MAX_THREADS:
                raise PermanentError("the file makes its decoder start too many threads", f"{threads} threads")

    def _pid_inside(self) -> int | None:
        """Number of the program in the sandbox, as it is called outside."""
        with suppress(ValueError):
            found: int | None = json.loads(self._told.partition(b"\n")[0]).get("child-pid")
            return found
        return None

    def _taken(self, selector: BaseSelector, ready: Sequence[SelectorKey]) -> list[tuple[SelectorKey, bytes]]:
        """What there is to read, errors first.

        They are read last: those that are older than the rest are there by then, and a pipe holds no more of them than
        is read at once.
        """
        taken = [(key, os.read(key.fd, _CHUNK)) for key in ready if key.fileobj is not self.stderr]
        errors = [key for key, _ in selector.select(0) if key.fileobj is self.stderr]
        return [(key, os.read(key.fd, _CHUNK)) for key in errors] + taken

    def wait(self) -> int:
        """The exit code; a negative one is the signal that killed the program.

        Raises ResourceError when the process does not end, TransientError when its sandbox could not be set up.
        """
        try:
            code = self._popen.wait(_END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ResourceError("a media process did not end") from error
        if self._status is None:
            return code
        if code == _FAILED_SETUP and b"exit-code" not in self._told + self._status.read():
            raise TransientError("the sandbox of a media process could not be set up")
        return _told_by_bwrap(code)

    def end(self) -> None:
        """Make sure that nothing is left of the process and its children."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        for pipe in (self.stdout, self.stderr, self.stdin, self._status):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._popen.wait()

    def _bare(self, argv: Sequence[str], stdin: int, given: Sequence[int]) -> "subprocess.Popen[bytes]":
        process = _open(argv, stdin, given)
        _limit(process.pid, self._limits)
        return process

    def _enclosed(self, enclosure: Enclosure, stdin: int, given: Sequence[int]) -> "subprocess.Popen[bytes]":
        (options, tell), (filters, tell_filter), (learn, status) = os.pipe(), os.pipe(), os.pipe()
        self._status = os.fdopen(learn, "rb")
        read_there = (options, filters, status)
        command = [str(enclosure.bwrap), "--args", str(options), "--", *enclosure.argv]
        try:
            process = _open(command, stdin, (*read_there, *given))
            _limit(process.pid, self._limits)
            # It reads its options first: there it waits until the limits are set.
            own = ("--seccomp", str(filters), "--json-status-fd", str(status))
            for end, data in ((tell, _joined((*own, *enclosure.options))), (tell_filter, enclosure.filter)):
                with suppress(BrokenPipeError):  # it ended already; its exit status tells
                    os.write(end, data)
        finally:
            for descriptor in (*read_there, tell, tell_filter):
                os.close(descriptor)
        return process


class _Patience:
    """How long a process may still take. While its reader is busy with other things, only the bound on all counts."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.process_seconds
        self._end = time.monotonic() + _WITH_STALLS * limits.process_seconds

    def wait(self, selector: BaseSelector) -> list[tuple[SelectorKey, int]]:
        """What can be read; nothing, if it takes long. Raises ResourceError when it took too long."""
        before = time.monotonic()
        left = min(self._left, self._end - before)
        if left <= 0:
            raise too_slow(self._limits)
        ready = selector.select(min(left, _LOOK_SECONDS))
        self._left -= time.monotonic() - before
        return ready


def too_slow(limits: Limits) -> ResourceError:
    """For a process that is ended at its deadline."""
    allowed = f"{limits.process_seconds:,.0f} s ({variable('process_seconds')})"
    return ResourceError(f"decoding took longer than the limit on a media process allows: {allowed}")


def judge(code: int, stderr: str) -> None:
    """Raise for the endings that mean the same whatever the process was for."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL) or "Cannot allocate memory" in stderr:
        settings = " or ".join(variable(name) for name in ("process_bytes", "process_seconds"))
        reason = f"decoding needs more memory or time than a media process may take ({settings})"
        raise ResourceError(reason, stderr)
    if code < 0:
        raise PermanentError(f"the file makes the decoder crash ({signal.Signals(-code).name})", stderr)


def _open(argv: Sequence[str], stdin: int, given: Sequence[int] = ()) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        list(argv),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd="/",
        start_new_session=True,
        pass_fds=given,
    )


def _limit(pid: int, limits: Limits) -> None:
    """Set limits on a running child, from outside: code between fork and exec is unsafe in a threaded process."""
    if not hasattr(resource, "prlimit"):
        return
    seconds = int(limits.process_seconds) + 1
    for kind, limit in (
        (resource.RLIMIT_AS, limits.process_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ProcessLookupError):
            resource.prlimit(pid, kind, (limit, limit))


def _joined(options: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(option) + b"\0" for option in options)


def _told_by_bwrap(code: int) -> int:
    """Exit statuses above 128 that are no signal are ffmpeg's own."""
    killed = {_KILLED + signal.Signals[f"SIG{name}"] for name in _SIGNALS}
    return _KILLED - code if code in killed else code
