"""Which lines a collection holds already, so that what is submitted again is not read again.

Kept on disk, in a file that goes when this does: a million lines are 60 MB there, and a few in memory.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from pipeline.collecting.record import SHARD_LINES, Line
from pipeline.errors import UsageError
from pipeline.job import Options
from pipeline.planning.look import Asked


class Known:
    """The lines of a collection, each as often as it is there."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE line (mark BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")  # one transaction, never ended: nothing has to survive
        self.lines = 0
        self.met = 0  #: of those, that were named again

    def add(self, line: Line) -> None:
        media = line.media
        size = media.size if media.sha256 else None
        mark = _mark(media.name, line.task, line.options, line.custom_id, line.force, size)
        self._database.execute(
            "INSERT INTO line VALUES (?, 1) ON CONFLICT (mark) DO UPDATE SET number = number + 1", (mark,)
        )
        self.lines += 1

    def meet(self, asked: Asked, *, force: bool) -> bool:
        """Whether this became a line that was not met yet. A file that has another size by now did not."""
        if self.met == self.lines:
            return False
        mark = _mark(asked.name, asked.task, asked.options, asked.custom_id, force, _size(asked))
        taken = self._database.execute(
            "UPDATE line SET number = number - 1 WHERE mark = ? AND number > 0", (mark,)
        ).rowcount
        self.met += taken
        return taken == 1


def news(items: Iterator[Asked], known: Known, *, force: bool, other: str | None = None) -> Iterator[Asked]:
    """What is not in the collection yet.

    Raises UsageError that says `other` when nothing of what is named, or of so much of it as a shard holds, was in it
    before: then somebody means something else. None: what is named may be all new.
    """
    fresh = (one for one in items if one.refused is not None or not known.meet(one, force=force))
    if other is None or not known.lines:
        yield from fresh
        return
    held: list[Asked] = []
    for one in fresh:
        held.append(one)
        if known.met or len(held) == SHARD_LINES:
            break
    if held and not known.met:
        raise UsageError(other)
    yield from chain(held, fresh)


def _size(asked: Asked) -> int | None:
    if not isinstance(asked.place, Path):
        return None
    try:
        return os.stat(asked.place).st_size
    except OSError:
        return -1  # whoever reads it will tell


def _mark(name: str, task: str, options: Options, custom_id: str | None, force: bool, size: int | None) -> bytes:
    said = "" if options == _PLAIN else options.model_dump_json(exclude_defaults=True)
    text = "\0".join((name, task, said, custom_id or "", "force" if force else "", "" if size is None else str(size)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


_PLAIN = Options()
