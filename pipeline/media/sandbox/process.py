"""One media process under limits, in a sandbox or not: started, read with its other pipes, ended. See `ffmpeg`.

It gets an almost empty environment, a session and process group of its own, and limits on memory, CPU time, open
files and written bytes. The limits are on bubblewrap before it learns what to do, so that everything in the sandbox
has inherited them.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
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
_END_SECONDS = 10  # for a process that has closed its pipes
_FAILED_SETUP = 1  # exit status of bubblewrap when it cannot build the sandbox
#: bubblewrap's own exit status for a program that was killed by a signal is this and the signal's number.
_KILLED = 128
_SIGNALS = frozenset({"ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "SEGV", "SYS", "XCPU", "XFSZ"})


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

        Raises ResourceError at the deadline, PermanentError when more than `max_bytes` come or may come.
        """
        count, deadline = 0, time.monotonic() + self._limits.process_seconds
        with DefaultSelector() as selector:
            for pipe in (self.stdout, *sinks):
                selector.register(pipe, EVENT_READ, sinks.get(pipe))
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise too_slow(self._limits)
                for key, data in self._taken(selector, [key for key, _ in ready]):
                    if not data:
                        selector.unregister(key.fileobj)
                        continue
                    if key.data is not None:
                        key.data(data)
                        continue
                    count += len(data)
                    within(self._limits, "process_output_bytes", count, "output of a media process", " bytes")
                    if count > max_bytes:
                        raise PermanentError("the file holds more than it may", f"over {max_bytes} bytes came")
                    yield data

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
        if code == _FAILED_SETUP and b"exit-code" not in self._status.read():
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
