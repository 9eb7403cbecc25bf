"""What the pieces of a window have in common: iterated once, they tell afterwards how far the media could be read.

`end`: where the media really ended. `flags`. `missing` and `missing_until`: why the stretch behind `end` could not be
read although the file promises it.
"""

from collections.abc import Iterator
from typing import Protocol

from pipeline.job import Failure
from pipeline.payload import Piece


class Told(Protocol):
    """What is known of a window once it has been read."""

    @property
    def end(self) -> float: ...

    @property
    def flags(self) -> tuple[str, ...]: ...

    @property
    def missing(self) -> Failure | None: ...

    @property
    def missing_until(self) -> float | None: ...


class Pieces(Told, Protocol):
    """The pieces of a window, made as they are iterated; what is known at the end stands in the attributes."""

    def __iter__(self) -> Iterator[Piece]: ...


class Reading:
    """What is common to all pieces: of a window in which nothing is missing, until something is found to be."""

    def __init__(self, end: float = 0.0) -> None:
        self.end = end
        self.flags: tuple[str, ...] = ()
        self.missing: Failure | None = None
        self.missing_until: float | None = None

    def _learn(self, *parts: Told) -> None:
        """What the parts know once they have been read. If one of them is cut off, the earliest end counts."""
        broken = [part for part in parts if part.missing is not None]
        self.end = min(part.end for part in broken) if broken else max(part.end for part in parts)
        self.flags = tuple(dict.fromkeys(flag for part in parts for flag in part.flags))
        self.missing = broken[0].missing if broken else None
        self.missing_until = max((part.missing_until or 0.0 for part in broken), default=None)


def length(start: float, end: float) -> float:
    """Of a stretch, in seconds; as exact as the times are."""
    return round(end - start, 6)
