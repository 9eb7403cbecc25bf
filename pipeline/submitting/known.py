"""Which lines a collection holds already, so that what is submitted again is not read again.

Kept on disk, in a file that goes when this does: a million lines are 100 MB there, and a few in memory.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pipeline.collecting.record import Line
from pipeline.errors import UsageError
from pipeline.job import Options
from pipeline.planning.look import Asked
from pipeline.planning.remote import Remote


class Known:
    """The lines of a collection, each as often as it is there."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute(
            "CREATE TABLE line (name BLOB, what BLOB, seen TEXT, content TEXT, number INTEGER, "
            "PRIMARY KEY (name, what, seen, content)) WITHOUT ROWID"
        )
        self._database.execute("BEGIN")  # one transaction, never ended: nothing has to survive
        self.lines = 0
        self.met = 0  #: of those, that were named again

    def add(self, line: Line) -> None:
        self._database.execute(
            "INSERT INTO line VALUES (?, ?, ?, ?, 1) "
            "ON CONFLICT (name, what, seen, content) DO UPDATE SET number = number + 1",
            (_digest(line.media.name), _what_of(line), line.seen or "", line.media.sha256 or ""),
        )
        self.lines += 1

    def has_named(self, asked: Asked) -> bool:
        """Whether some line goes by that name, whatever its bytes and options."""
        found = self._database.execute("SELECT 1 FROM line WHERE name = ? LIMIT 1", (_digest(asked.name),))
        return found.fetchone() is not None

    def meet(self, asked: Asked, *, force: bool) -> bool:
        """Whether this became a line that was not met yet, as far as can be told without reading it.

        A file that was written since did not, nor an object of which its store tells another mark.
        """
        size, seen = looked_at(asked)
        what = _what(asked.task, asked.options, asked.custom_id, force=force, size=size)
        if isinstance(asked.place, Path):
            return seen is not None and self._take(asked.name, what, "seen = ?", seen)
        return self._take(asked.name, what, "? IN (seen, '') OR seen = ''", seen or "")

    def holds(self, line: Line) -> bool:
        """Whether it is a line that was not met yet: its file was written since, with the same bytes."""
        if line.media.sha256 is None:
            return False
        return self._take(line.media.name, _what_of(line), "content = ?", line.media.sha256)

    def _take(self, name: str, what: bytes, like: str, value: str) -> bool:
        if self.met == self.lines:
            return False
        key = (_digest(name), what)
        row = self._database.execute(
            f"SELECT seen, content FROM line WHERE name = ? AND what = ? AND number > 0 AND ({like}) "
            "ORDER BY seen DESC LIMIT 1",
            (*key, value),
        ).fetchone()
        if row is None:
            return False
        self._database.execute(
            "UPDATE line SET number = number - 1 WHERE name = ? AND what = ? AND seen = ? AND content = ?", (*key, *row)
        )
        self.met += 1
        return True


def refuse_other(items: Iterator[Asked], known: Known, other: str) -> None:
    """Raise UsageError that says `other` when nothing of what is named was in the collection before, by its name."""
    usable = (one for one in items if one.refused is None)
    first = next(usable, None) if known.lines else None
    if first is not None and not known.has_named(first) and not any(map(known.has_named, usable)):
        raise UsageError(other)


def looked_at(asked: Asked) -> tuple[int | None, str | None]:
    """The size of a file, and what tells its bytes from others without reading them: when it was written.

    Of what lies elsewhere, the mark of its store, if anybody asked for it.
    """
    if isinstance(asked.place, Remote):
        return None, asked.place.etag or None
    if asked.place is None:
        return None, None
    try:
        found = os.stat(asked.place)
    except OSError:
        return -1, None  # whoever reads it will tell
    return found.st_size, str(found.st_mtime_ns)


def _what_of(line: Line) -> bytes:
    size = line.media.size if line.media.sha256 else None
    return _what(line.task, line.options, line.custom_id, force=line.force, size=size)


def _what(task: str, options: Options, custom_id: str | None, *, force: bool, size: int | None) -> bytes:
    said = "" if options == _PLAIN else options.model_dump_json(exclude_defaults=True)
    return _digest(
        "\0".join((task, said, custom_id or "", "force" if force else "", "" if size is None else str(size)))
    )


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


_PLAIN = Options()
