"""Pictures are read in a process of their own, in the sandbox and under the limits of media processes.

Loading Pillow takes longer than reading a picture. So the process stays, one for each worker, and makes a copy of
itself for each picture. What it answers is not trusted: it is bounded, and checked before it is used.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import LimitError, PermanentError, ResourceError
from pipeline.job import Fit, PictureInfo
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.pictures.animations import Shown
from pipeline.media.pictures.reader import Reader, nonsense
from pipeline.media.pictures.still import Picture
from pipeline.media.sandbox.enclosure import Sandbox
from pipeline.media.sandbox.process import judge
from pipeline.settings import Limits

_INFO, _PICTURE, _SHOWN = TypeAdapter(PictureInfo), TypeAdapter(Picture), TypeAdapter(Shown)
_Found = TypeVar("_Found", PictureInfo, Picture, Shown)


def describe(path: Path, name: str, ffmpeg: Ffmpeg) -> PictureInfo:
    """As `still.describe`."""
    return _only(_found(_INFO, "describe", path, ffmpeg, name=name))


def read(path: Path, name: str, side: int, ffmpeg: Ffmpeg, fit: Fit = "inside", page: int = 0) -> Picture:
    """As `still.read`, of that page of the file."""
    return _only(_found(_PICTURE, "read", path, ffmpeg, name=name, side=side, fit=fit, page=page))


def animation(path: Path, name: str, rate: float, side: int, ffmpeg: Ffmpeg, fit: Fit = "inside") -> Iterator[Shown]:
    """As `animations.read`."""
    return _found(_SHOWN, "animation", path, ffmpeg, name=name, rate=rate, side=side, fit=fit)


def close(ffmpeg: Ffmpeg) -> None:
    """End the processes that wait for pictures. The next picture starts one anew."""
    idle = _idle(os.getpid(), ffmpeg.sandbox, ffmpeg.limits)
    while idle:
        idle.pop().finish()


@cache
def _idle(process: int, sandbox: Sandbox | None, limits: Limits) -> list[Reader]:
    """Servers of this process that wait for work; a copy of the process, made by a fork, has its own."""
    return []


def _found(kind: TypeAdapter[_Found], call: str, path: Path, ffmpeg: Ffmpeg, **arguments: Any) -> Iterator[_Found]:
    idle = _idle(os.getpid(), ffmpeg.sandbox, ffmpeg.limits)
    while idle and not idle[-1].is_alive:
        idle.pop()
    reader = idle.pop() if idle else Reader(ffmpeg.sandbox, ffmpeg.limits)
    trouble: Exception | None = None
    with closing(reader.ask(call, path, arguments)) as messages:
        for told, image in messages:
            if "error" in told:
                trouble = _error(told)
            else:
                yield _checked(kind, told.get("fields"), image)
    idle.append(reader)
    if trouble is not None:
        raise trouble
    judge(reader.code, "")
    if reader.code:
        raise RuntimeError(f"reading a picture ended with status {reader.code}")


def _only(found: Iterator[_Found]) -> _Found:
    results = list(found)
    if len(results) != 1:
        raise nonsense()
    return results[0]


def _checked(kind: TypeAdapter[_Found], fields: Any, image: bytes) -> _Found:
    try:
        return kind.validate_python({**fields, "image": image} if image else fields)
    except (ValidationError, TypeError) as error:
        raise nonsense() from error


def _error(told: dict[str, Any]) -> Exception:
    """The error that the server's child met."""
    reason, detail = str(told.get("reason")), str(told.get("detail"))
    match told["error"]:
        case "limit":
            return LimitError(reason, str(told.get("setting")), detail)
        case "permanent":
            return PermanentError(reason, detail)
        case "resource":
            return ResourceError(reason, detail)
        case _:
            return RuntimeError(f"reading a picture failed: {reason}")
