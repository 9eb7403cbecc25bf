"""Reads pictures for another process, from inside a sandbox: Pillow is loaded once, and forks for each picture.

The server itself touches no byte of a picture. Whoever does is a child that has given up forking, lives for one
picture and is waited for before the next; what it says goes through the server, so that it cannot speak for another.

A request is a line of JSON. An answer is frames: their length in 4 bytes, then what the child wrote; one of length 0,
and the child's exit code in 4 bytes, is the last. What the child writes is messages: a line of JSON, then as many
bytes as it tells.
"""

import gc
import json
import os
import resource
import struct
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from pipeline.errors import LimitError, PermanentError, PipelineError, ResourceError
from pipeline.media.pictures import animations, still
from pipeline.media.sandbox import seccomp
from pipeline.settings import Limits

#: What may be asked for, by name.
_CALLS: Mapping[str, Callable[..., Any]] = {
    "describe": still.describe,
    "read": still.read,
    "animation": animations.read,
}
#: Errors that cross over, by name; more special ones first.
_ERRORS = {"limit": LimitError, "permanent": PermanentError, "resource": ResourceError}
_LENGTH = struct.Struct(">I")
_ENDING = struct.Struct(">i")
_CHUNK = 1 << 16  # bytes read at once


def serve() -> None:
    """Answer requests on standard input until it is closed."""
    Image.init()  # or each child would import the plugins of Pillow anew
    gc.freeze()  # or the collector of each child would copy all of them
    while request := sys.stdin.buffer.readline():
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _be_child(request, writing)
        os.close(writing)
        while data := os.read(reading, _CHUNK):
            _say(_LENGTH.pack(len(data)) + data)
        os.close(reading)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        _say(_LENGTH.pack(0) + _ENDING.pack(code))


def _say(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _be_child(request: bytes, writing: int) -> None:
    """Do what is asked for, and end."""
    code = 1
    try:
        for descriptor in (0, 1, 2):
            _lead_nowhere(descriptor)
        asked = json.loads(request)
        limits = Limits.model_validate(asked["limits"])
        seconds = int(limits.process_seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        if asked["is_confined"]:
            seccomp.install(may_fork=False)
        with os.fdopen(writing, "wb") as output:
            _answer(output, _CALLS[asked["call"]], Path(asked["path"]), asked["arguments"], limits)
        code = 0
    finally:
        os._exit(code)


def _lead_nowhere(descriptor: int) -> None:
    """Make it an end of a pipe whose other end is closed: there is no /dev/null in the sandbox."""
    reading, writing = os.pipe()
    os.dup2(writing if descriptor else reading, descriptor)
    os.close(reading)
    os.close(writing)


def _answer(
    output: BinaryIO, call: Callable[..., Any], path: Path, arguments: Mapping[str, Any], limits: Limits
) -> None:
    """Write what a call gives: a message, or one for each item of an iterator; then an error, if there is one."""
    try:
        given = call(path, limits=limits, **arguments)
        for item in given if isinstance(given, Iterator) else (given,):
            fields, blob = _taken_apart(item)
            _write(output, {"fields": fields}, blob)
    except PipelineError as error:
        name = next(name for name, kind in _ERRORS.items() if isinstance(error, kind))
        told = {"error": name, "reason": error.reason, "detail": error.detail}
        _write(output, told | ({"setting": error.setting} if isinstance(error, LimitError) else {}))
    except Exception:
        _write(output, {"error": "unknown", "reason": traceback.format_exc()[-_CHUNK // 4 :]})


def _taken_apart(item: Any) -> tuple[dict[str, Any], bytes]:
    """The plain fields of what was read, and its picture."""
    fields = asdict(item) if is_dataclass(item) and not isinstance(item, type) else item.model_dump()
    return fields, fields.pop("image", b"")


def _write(output: BinaryIO, told: dict[str, Any], blob: bytes = b"") -> None:
    output.write(json.dumps(told | {"bytes": len(blob)}).encode() + b"\n" + blob)
    output.flush()
