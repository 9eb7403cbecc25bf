"""Reading and writing the shards of a collection."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from pipeline import keys
from pipeline.collecting.record import SHARD_LINES, Closed, Collection, Line
from pipeline.errors import MissingObjectError, UsageError
from pipeline.objects import ObjectStore

#: How long a line waits for others to fill its shard.
FLUSH_SECONDS = 5.0


class Writer:
    """Adds lines to a collection. Memory and requests are those of one shard, whatever its length.

    What a shard holds is accepted. One is written when it is full, and after a few seconds, so that the mill begins
    while large files are still on their way.
    """

    def __init__(
        self, store: ObjectStore, collection: Collection, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self.collection = collection
        self._clock = clock
        self._began = clock()
        self._is_open = self._was_closed = False
        self._number = 0
        self._lines: list[bytes] = []
        self.lines = 0

    def add(self, line: Line) -> None:
        """Raises UsageError when somebody else adds other lines at the same time, or it was cancelled."""
        if not self._lines:
            self._began = self._clock()
        self._lines.append(line.to_line())
        self.lines += 1
        if len(self._lines) == SHARD_LINES or self._clock() - self._began >= FLUSH_SECONDS:
            self.flush()

    def close(self, refused: int = 0) -> None:
        """No more lines will come. Whoever said so of fewer lines than there are is put right."""
        self.flush()
        closed = read_closed(self._store, self.collection.id)
        if closed is None or closed.lines < self.lines:
            if closed is not None or not self._is_open:
                self._open()
            closed = Closed(lines=self.lines, refused=refused, closed_at=datetime.now(UTC), again=self._was_closed)
            self._store.create(keys.closed_collection(self.collection.id), closed.to_bytes())

    def skip(self, told: Callable[[Line], None] = lambda line: None) -> int:
        """Pass over the shards that are in the bucket, and tell their lines; returns how many that are."""
        with suppress(MissingObjectError):
            while True:
                for line in lines_of(self._store, self.collection.id, self._number):
                    told(line)
                    self.lines += 1
                self._number += 1
        return self.lines

    def flush(self) -> None:
        """Accept what was added so far."""
        if not self._lines:
            return
        key, data = keys.shard(self.collection.id, self._number), b"".join(self._lines)
        refuse_cancelled(self._store, self.collection.id)
        is_new = not self._store.exists(key)
        if not self._store.create(key, data, "application/jsonl") and not _same(self._store.get(key), data):
            raise UsageError(
                f"collection {self.collection.id} was submitted with other lines (shard {self._number}): "
                "give what you submit now a name of its own with --collection"
            )
        if is_new and not self._is_open:
            self._open()
        self._number += 1
        self._lines = []

    def _open(self) -> None:
        """Let it be followed; whoever believes that the collection was whole learns better.

        Only once there is a shard that was not there before: who comes second with other lines changes nothing.
        """
        name = self.collection.id
        refuse_cancelled(self._store, name)
        if self._number:
            self._was_closed = self._was_closed or self._store.exists(keys.closed_collection(name))
            self._store.delete([keys.closed_collection(name), keys.ended_collection(name), keys.promise(name)])
        self._store.create(keys.collection(name), self.collection.to_bytes())
        self._store.create(keys.known_collection(name), b"")
        self._store.create(keys.open_collection(name), b"")
        self._is_open = True


def refuse_cancelled(store: ObjectStore, collection: str) -> None:
    """Raise UsageError when no more lines are let in."""
    if store.exists(keys.cancelled_collection(collection)):
        raise UsageError(f"collection {collection} was cancelled: `reelmill retry {collection}` takes that back")


def _same(stored: bytes, given: bytes) -> bool:
    """Whether two shards hold the same media and tasks; whether the bytes were new is of their first time."""
    one, other = ([Line.from_bytes(line) for line in data.splitlines()] for data in (stored, given))
    return [line.model_copy(update={"is_new": False}) for line in one] == [
        line.model_copy(update={"is_new": False}) for line in other
    ]


def lines_of(store: ObjectStore, collection: str, number: int) -> Iterator[Line]:
    """The lines of a shard. Raises MissingObjectError."""
    for line in store.get(keys.shard(collection, number)).splitlines():
        yield Line.from_bytes(line)


def all_lines(store: ObjectStore, collection: str) -> Iterator[Line]:
    """The lines of a collection that are in by now, shard by shard."""
    number = 0
    while True:
        try:
            yield from lines_of(store, collection, number)
        except MissingObjectError:
            return
        number += 1


def read_closed(store: ObjectStore, collection: str) -> Closed | None:
    """None while it is being submitted."""
    with suppress(MissingObjectError):
        return Closed.from_bytes(store.get(keys.closed_collection(collection)))
    return None


def read_collection(store: ObjectStore, collection: str) -> Collection:
    """Raises UsageError when there is none of that id."""
    try:
        return Collection.from_bytes(store.get(keys.collection(collection)))
    except MissingObjectError as error:
        raise UsageError(f"there is no collection {collection}") from error
