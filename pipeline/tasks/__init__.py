"""The contract of a task: what its media is cut into, and how the model is asked. Every other file here is one task.

The file gives `TASK`, an object of a class made from `Task`. A task knows no engine, no store and no queue.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Literal, cast

import numpy as np

from pipeline.engines import Clip, Image, Part, Sound, Turn
from pipeline.errors import PermanentError, UsageError
from pipeline.job import Kind, MediaInfo, Options
from pipeline.payload import Payload

Fold = Literal["never", "several", "always"]

#: Options whose name on the command line is another one.
_FLAGS = {"json_schema": "schema"}


class Task(ABC):
    """A kind of work on media."""

    line: str  #: what it does, in one line for a list
    takes: frozenset[str] = frozenset()  #: the fields of Options that mean something to it; `variant` is the engine's
    about_speech: bool = True  #: sound without speech in it needs no model: there is nothing to say about it

    def check(self, options: Options) -> None:  # noqa: B027 - most tasks take any options
        """Raise UsageError when the options lack something, before a job is accepted."""

    @abstractmethod
    def kinds(self, media: MediaInfo, options: Options) -> tuple[Kind, ...]:
        """What the media is cut into. Raises PermanentError when the task can do nothing with such media."""

    def fold(self, media: MediaInfo) -> Fold:
        """When the answers are put together and asked about again."""
        del media
        return "never"

    @abstractmethod
    def turns(self, payload: Payload, options: Options) -> tuple[Turn, ...]:
        """The prompt for one segment."""

    def max_tokens(self, kind: Kind) -> int:
        """Most tokens that an answer may have; 8 a second are more than anybody speaks."""
        return 256 if kind == "sound" else 512

    def wrong(self, text: str, options: Options) -> str | None:
        """What is wrong with an answer, so that it is asked for once more; None when it will do."""
        del text, options
        return None

    def final(self, text: str, options: Options) -> str:
        """An answer as it is stored."""
        del options
        return text


def check(name: str, options: Options) -> None:
    """Raise UsageError when the task lacks an option, or is given one that it would leave unread."""
    task = named(name)
    for field in sorted(options.model_dump(exclude_defaults=True).keys() - task.takes - {"variant"}):
        flag = _FLAGS.get(field, field.replace("_", "-"))
        raise UsageError(f"{name} does nothing with --{flag}: leave it out")
    task.check(options)


@cache
def names() -> tuple[str, ...]:
    """Every task there is."""
    return tuple(sorted(module.name for module in iter_modules(__path__)))


def named(name: str) -> Task:
    """The task of that name. Raises UsageError when there is none."""
    if name not in names():
        raise UsageError(f"there is no task named {name!r}: choose one of {', '.join(names())}")
    return cast(Task, import_module(f"{__name__}.{name}").TASK)


def prompt(system: str, payload: Payload, words: str) -> tuple[Turn, ...]:
    """A prompt about a payload: pictures first, then sound, then the words; a text stands behind the words."""
    media: list[Part] = [Image(frame.image) for frame in payload.frames]
    if payload.pcm:
        media.append(Sound(samples(payload.pcm)))
    said = f"{words}\n\n{payload.text}" if payload.text else words
    return (Turn("system", (system,)), Turn("user", (*media, said)))


def again(turns: tuple[Turn, ...], answer: str, complaint: str) -> tuple[Turn, ...]:
    """The prompt that asks for a better answer."""
    return (*turns, Turn("model", (answer,)), Turn("user", (complaint,)))


def fingerprint(turns: tuple[Turn, ...], text: str = "") -> str:
    """Which prompt this is, whatever media (or text of the media) it is about: 16 hex digits."""
    said = [
        [turn.role, *(part.removesuffix(text) if isinstance(part, str) else type(part).__name__ for part in turn.parts)]
        for turn in turns
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def samples(pcm: bytes) -> Clip:
    """s16le bytes as float32 in [-1, 1], shape (samples,)."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def need_sound(media: MediaInfo, task: str) -> None:
    """Refuse media without sound, for a task that is about what is said."""
    if media.audio is None:
        why = "its sound is in a codec that is not known here" if media.audio_streams else "the file has no sound"
        raise PermanentError(f"there is nothing to {task}: {why}")
