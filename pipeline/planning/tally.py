"""What a dry run found, added up: in memory that does not grow with the number of files. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.job import MediaInfo
from pipeline.limits import variable
from pipeline.planning.estimate import NOTHING, Work

MOST_GROUPS = 200  # of refusals; what is refused for yet another reason is counted as one group
EXAMPLES = 3
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")
_OTHER = "other reasons"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is known of one file: what it holds and the work that it is, or why it is refused."""

    name: str
    task: str
    info: MediaInfo | None = None
    work: Work | None = None
    refused: str | None = None
    setting: str | None = None  #: the limit that refused it, as a field of `Limits`

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "task": self.task,
            "kind": self.info.kind if self.info else None,
            "seconds": self.info.duration if self.info else None,
            "segments": self.work.segments if self.work else None,
            "frames": self.work.frames if self.work else None,
            "tokens": self.work.tokens if self.work else None,
            "refused": self.refused,
        }


@dataclass(slots=True)
class Refusals:
    """What was refused for one reason, whatever the figures in it."""

    count: int = 0
    setting: str | None = None
    examples: list[dict[str, str]] = field(default_factory=list)  #: the first ones


@dataclass(slots=True)
class Totals:
    """Sums over all rows, in memory that does not grow with them."""

    files: int = 0
    named_again: int = 0  #: files that had been counted before
    refused: int = 0
    of_unknown_length: int = 0
    kinds: dict[str, int] = field(default_factory=dict)  #: refused ones, too, if it is known what they are
    seconds: float = 0.0  #: of media that is not refused, as all that follow
    sound_seconds: float = 0.0
    video_seconds: float = 0.0
    sound_squares: float = 0.0  #: of what is listened to in each file of known length, added up
    tasks: dict[str, Work] = field(default_factory=dict)
    refusals: dict[str, Refusals] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.files += 1
        if row.info is not None:
            self.kinds[row.info.kind] = self.kinds.get(row.info.kind, 0) + 1
        if row.refused is not None:
            self._refuse(row, row.refused)
        elif row.info is not None and row.work is not None:
            self._accept(row, row.info, row.work)

    def _accept(self, row: Row, info: MediaInfo, asked: Work) -> None:
        seconds = info.duration or 0.0
        self.seconds += seconds
        self.sound_seconds += seconds if info.audio is not None else 0.0
        self.video_seconds += seconds if info.kind == "video" else 0.0
        if asked.segments is None:
            self.of_unknown_length += 1
            asked = NOTHING
        self.sound_squares += asked.seconds**2
        self.tasks[row.task] = self.tasks.get(row.task, NOTHING) + asked

    def _refuse(self, row: Row, reason: str) -> None:
        self.refused += 1
        name = group(reason)
        if name not in self.refusals and len(self.refusals) >= MOST_GROUPS:
            name = _OTHER
        found = self.refusals.setdefault(name, Refusals(setting=row.setting))
        found.count += 1
        if len(found.examples) < EXAMPLES:
            found.examples.append({"name": row.name, "reason": reason})

    @property
    def worst(self) -> list[tuple[str, Refusals]]:
        """Groups of refusals, the largest first."""
        return sorted(self.refusals.items(), key=lambda item: (-item[1].count, item[0]))

    def document(self, limits: Mapping[str, float]) -> dict[str, Any]:
        """All of it for a program. `limits`: every limit by its field; those are told that refused something."""
        everything = sum(self.tasks.values(), NOTHING)
        refusing = sorted({found.setting for found in self.refusals.values() if found.setting})
        return {
            "files": self.files,
            "refused": self.refused,
            "named_again": self.named_again,
            "of_unknown_length": self.of_unknown_length,
            "kinds": dict(sorted(self.kinds.items())),
            "seconds": round(self.seconds, 3),
            "sound_seconds": round(self.sound_seconds, 3),
            "video_seconds": round(self.video_seconds, 3),
            **_figures(everything),
            "tasks": {name: _figures(asked) for name, asked in sorted(self.tasks.items())},
            "refusals": [
                {"reason": name, "files": found.count, "setting": named(found.setting), "examples": found.examples}
                for name, found in self.worst
            ],
            "limits": {variable(name): limits[name] for name in refusing},
        }


def group(reason: str) -> str:
    """A reason without its figures, so that files refused for the same reason are counted together."""
    return _FIGURE.sub("N", reason)


def named(setting: str | None) -> str | None:
    """A field of `Limits` as the variable that sets it."""
    return None if setting is None else variable(setting)


def _figures(asked: Work) -> dict[str, int | None]:
    return {"segments": asked.segments, "frames": asked.frames, "tokens": asked.tokens}
