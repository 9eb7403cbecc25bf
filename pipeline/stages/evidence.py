"""What is written down of work that was begun before without an end: for the count, and for whoever asks why it failed.

A first try writes nothing. Each further one leaves a record in the bucket before it starts, and one that failed with an
error leaves that; so a ledger that was wiped gets the count back, and a quarantine can tell what happened.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

from pipeline import keys
from pipeline.errors import MissingObjectError
from pipeline.job import Record, Work
from pipeline.store import ObjectStore

#: Lines of a process's log that are kept for evidence, and most characters of one.
LOG_LINES = 20
LINE_CHARACTERS = 500
#: Most characters of the evidence in one Failure.
DETAIL_CHARACTERS = 12_000


class Tried(Record):
    """One try at a piece of work: that it was begun, or what it failed with."""

    at: datetime
    host: str
    pid: int
    role: str  #: of the worker
    error: str | None = None  #: None: it was begun
    log: str = ""  #: the last lines of its process's log, where it failed

    def told(self) -> str:
        """In one line."""
        where = f"{self.at:%Y-%m-%d %H:%M:%S} UTC on {self.host}, process {self.pid} ({self.role})"
        return f"begun {where}, and never ended" if self.error is None else f"failed {where}: {self.error}"


class LogTail(logging.Handler):
    """The last lines of this process's log."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=LOG_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record)[-LINE_CHARACTERS:])

    def __str__(self) -> str:
        return "\n".join(list(self._lines))


def keep_log_tail(line_format: str) -> None:
    """From now on the last lines of everything that this process logs are kept."""
    tail = LogTail()
    tail.setFormatter(logging.Formatter(line_format))
    logging.getLogger().addHandler(tail)


def log_tail() -> str:
    """Empty where none is kept."""
    return "\n".join(str(handler) for handler in logging.getLogger().handlers if isinstance(handler, LogTail))


def record_begun(work: Work, tries: int, store: ObjectStore) -> None:
    """Before a try: it was begun so often without an end."""
    store.create(keys.tried(work, tries), _now(work).to_bytes())


def record_failed(work: Work, tries: int, error: Exception, store: ObjectStore) -> None:
    """After a try: it was the one of this number, and failed."""
    told = _now(work).model_copy(update={"error": repr(error), "log": log_tail()})
    store.create(keys.failed_try(work, tries), told.to_bytes())


def gathered(work: Work, store: ObjectStore, *, detail: str = "", log: str = "") -> str:
    """All that is known of tries at a piece of work, for people, around what its error itself told.

    `log`: the last lines of the process in which it failed now.
    """
    found: list[tuple[int, Tried]] = []
    for key in store.list(keys.tries_of(work)):
        with suppress(MissingObjectError):  # swept, because the job has ended meanwhile
            found.append((keys.number_of_try(key), Tried.from_bytes(store.get(key))))
    parts = [detail, "\n".join(_lines(found)), f"The last lines of that process's log:\n{log}" if log else ""]
    return "\n\n".join(part for part in parts if part)[:DETAIL_CHARACTERS]


def _lines(found: list[tuple[int, Tried]]) -> Iterator[str]:
    """One for each try, in order; of one that failed, also the end of its log."""
    failed = {number: tried for number, tried in found if tried.error is not None}
    begun = {number + 1: tried for number, tried in found if tried.error is None}
    for number in sorted(failed.keys() | begun.keys()):
        tried = failed.get(number) or begun[number]
        yield f"try {number}: {tried.told()}"
        if tried.log:
            yield from (f"  | {line}" for line in tried.log.splitlines())


def _now(work: Work) -> Tried:
    role = "infer" if work.stage == "infer" else "prepare"
    return Tried(at=datetime.now(UTC), host=socket.gethostname(), pid=os.getpid(), role=role)
