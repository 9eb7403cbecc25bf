"""Reading and writing the shards of a collection."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pipeline import keys
from pipeline.collecting.record import SHARD_LINES, Closed, Collection, Line
from pipeline.errors import MissingObjectError, UsageError
from pipeline.objects import ObjectStore


class Writer:
    """Adds lines to a collection. Lines given again, in the same order, are known again: so it is resumed.

    Memory and requests are those of one shard, whatever its length.
    """

    def __init__(self, store: ObjectStore, collection: Collection) -> None:
        self._store = store
        self.collection = collection
        self._number = 0
        self._lines: list[bytes] = []
        self.lines = 0
        store.create(keys.collection(collection.id), collection.to_bytes())
        store.create(keys.open_collection(collection.id), b"")

    def add(self, line: Line) -> None:
        """Raises UsageError when a shard that was accepted before holds other lines."""
        self._lines.append(line.to_line())
        self.lines += 1
        if len(self._lines) == SHARD_LINES:
            self._write()

    def close(self, refused: int = 0) -> None:
        """No more lines will come."""
        if self._lines:
            self._write()
        closed = Closed(lines=self.lines, refused=refused, closed_at=datetime.now(UTC))
        self._store.create(keys.closed_collection(self.collection.id), closed.to_bytes())

    def skip(self) -> int:
        """Pass over the shards that are whole in the bucket; returns how many lines they hold."""
        while self._store.exists(keys.shard(self.collection.id, self._number)):
            number = sum(1 for _ in lines_of(self._store, self.collection.id, self._number))
            if number < SHARD_LINES:
                break
            self._number += 1
            self.lines += number
        return self.lines

    def _write(self) -> None:
        key = keys.shard(self.collection.id, self._number)
        data = b"".join(self._lines)
        if not self._store.create(key, data, "application/jsonl") and not _same(self._store.get(key), data):
            raise UsageError(
                f"collection {self.collection.id} was submitted with other lines (shard {self._number}): "
                "give what you submit now a name of its own with --collection"
            )
        self._number += 1
        self._lines = []


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


def read_collection(store: ObjectStore, collection: str) -> Collection:
    """Raises UsageError when there is none of that id."""
    try:
        return Collection.from_bytes(store.get(keys.collection(collection)))
    except MissingObjectError as error:
        raise UsageError(f"there is no collection {collection}") from error
