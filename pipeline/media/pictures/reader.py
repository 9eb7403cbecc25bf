"""The process that reads pictures, seen from outside: requests go in, bounded messages come out.

See `server` for the inside.
"""

import json
import os
import select
import subprocess
import time
import weakref
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.errors import PermanentError, PipelineError, ResourceError, WorldError
from pipeline.limits import within
from pipeline.media.sandbox.enclosure import Sandbox, python_argv
from pipeline.media.sandbox.process import Process, too_slow
from pipeline.media.sandbox.shelf import Shelf
from pipeline.settings import Limits

_CODE = "from pipeline.media.pictures.server import serve\nserve()"
_PACKAGES = ("pipeline", "PIL", "numpy", "pydantic", "pydantic_settings")
_LENGTH_BYTES = 4  # of a frame
_MAX_FRAME, _MAX_TOLD, _MAX_IMAGE = 1 << 16, 1 << 17, 1 << 26  # bytes of a frame, of a message, of its picture
#: What is told, and a picture.
Message = tuple[dict[str, Any], bytes]


class Reader:
    """A running server. It answers one request at a time, and is ended when an answer is not read to its end."""

    def __init__(self, sandbox: Sandbox | None, limits: Limits) -> None:
        """Raises WorldError when it cannot be started."""
        self._limits = limits
        self._is_confined = sandbox is not None
        self._shelf = Shelf() if sandbox else None
        enclosure = sandbox.of_python(_CODE, _PACKAGES, shown=self._shelf.folder) if sandbox and self._shelf else None
        try:
            self._process = Process(python_argv(_CODE, _PACKAGES), limits, enclosure, subprocess.PIPE)
        except OSError as error:
            raise WorldError(f"the process that reads pictures cannot be started ({error.strerror})") from error
        self.code = 0  #: how the last child ended; a negative one is the signal that killed it
        self.end = weakref.finalize(self, self._process.end)

    @property
    def is_alive(self) -> bool:
        return self.end.alive and self._process.is_running

    def finish(self) -> None:
        """End it between two requests. The system hears what its children used, as of any process that ends itself."""
        assert self._process.stdin
        with suppress(PipelineError, BrokenPipeError):
            self._process.stdin.close()
            self._process.wait()
        self.end()

    def ask(self, call: str, path: Path, arguments: dict[str, Any]) -> Generator[Message, None, None]:
        """The messages of an answer; `code` is true afterwards. Raises ResourceError when there is none in time."""
        place = path.absolute() if self._shelf is None else self._shelf.put(path)
        asked = {"call": call, "path": str(place), "arguments": arguments, "limits": self._limits.model_dump()}
        try:
            self._send(json.dumps(asked | {"is_confined": self._is_confined}).encode() + b"\n")
            deadline = time.monotonic() + self._limits.process_seconds
            yield from _messages(self._frames(deadline))
        except BaseException:
            self.end()  # what it would say next belongs to this request
            raise
        finally:
            if self._shelf is not None:
                self._shelf.clear()

    def _send(self, request: bytes) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # then nothing comes back, which is noticed
            self._process.stdin.write(request)
            self._process.stdin.flush()

    def _frames(self, deadline: float) -> Iterator[bytes]:
        """What the child writes, until it ends."""
        num_bytes = 0
        while length := int.from_bytes(self._exactly(_LENGTH_BYTES, deadline)):
            num_bytes += length
            within(self._limits, "process_output_bytes", num_bytes, "output of a media process", " bytes")
            yield self._exactly(min(length, _MAX_FRAME), deadline)
        self.code = int.from_bytes(self._exactly(_LENGTH_BYTES, deadline), signed=True)

    def _exactly(self, num_bytes: int, deadline: float) -> bytes:
        held, source = b"", self._process.stdout.fileno()
        while len(held) < num_bytes:
            if not select.select([source], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise too_slow(self._limits)
            data = os.read(source, num_bytes - len(held))
            if not data:
                complaint = os.read(self._process.stderr.fileno(), _MAX_FRAME).decode("utf-8", "replace")
                raise ResourceError("the process that reads pictures ended", complaint)
            held += data
        return held


def _messages(frames: Iterator[bytes]) -> Iterator[Message]:
    """Put frames together to messages. Raises PermanentError for what is none."""
    held = bytearray()
    for data in frames:
        held += data
        while (taken := _taken(held)) is not None:
            yield taken


def _taken(held: bytearray) -> Message | None:
    """The first message, taken off; None while it is not complete."""
    end = held.find(b"\n", 0, _MAX_TOLD) + 1
    if not end:
        if len(held) >= _MAX_TOLD:
            raise nonsense()
        return None
    try:
        told = json.loads(held[:end])
        size = int(told["bytes"])
    except (ValueError, TypeError, KeyError) as error:
        raise nonsense() from error
    if not 0 <= size <= _MAX_IMAGE:
        raise nonsense()
    if len(held) < end + size:
        return None
    image = bytes(held[end : end + size])
    del held[: end + size]
    return told, image


def nonsense() -> PermanentError:
    return PermanentError("the picture makes its decoder give answers that make no sense")
