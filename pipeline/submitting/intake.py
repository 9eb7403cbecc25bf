"""Accepting a collection: files are put into the bucket by several threads, their lines into shards, in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from pipeline import keys
from pipeline.collecting.record import Collection, Line
from pipeline.collecting.shards import Writer, read_closed, refuse_cancelled
from pipeline.errors import MissingObjectError, PermanentError, UsageError
from pipeline.job import Media
from pipeline.objects import ObjectStore
from pipeline.planning.look import Asked, Seen, in_order
from pipeline.planning.remote import Remote
from pipeline.submitting.known import Known, looked_at, refuse_other
from pipeline.webhooks.debts import Debt, Debts

#: Puts a file into the bucket under a name, for a tenant; tells whether its bytes are new there.
Upload = Callable[[Path, str, str], tuple[Media, bool]]

#: Files that are read and sent at once.
THREADS = 4


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that did not become a job."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of all that was named."""

    collection: Collection  #: as it was accepted first
    lines: int  #: that it holds now
    new: int
    known: int  #: named again
    refused: int
    gone: int  #: lines that are in it from before and were not named this time
    not_anew: int = 0  #: of the known, that were to be done anew once more
    same_ids: int = 0  #: named with a custom_id that was named before
    keeps_deadline: bool = False  #: another one was asked for


@dataclass(frozen=True, slots=True)
class Intake:
    """The collection that lines go into, and how."""

    store: ObjectStore
    upload: Upload
    collection: Collection
    force: bool = False
    has_own_name: bool = False  #: then what is named may be all new
    has_priority: bool = False  #: it was asked for, and must be that of the collection
    is_once: bool = False  #: the same command would not find it again

    def accept(self, items: Callable[[], Iterator[Asked]], told: Callable[[Line | Refused], None]) -> Accepted:
        """Take in what is named and not known yet. Raises UsageError when it is known as something else.

        `items` is asked again from the start where nobody knows yet whether it is the same collection. Whoever stops
        it (Ctrl-C) finds what was told in the collection, and goes on by doing the same again.
        """
        stored = self._stored()
        was_closed = read_closed(self.store, stored.id) is not None
        writer = Writer(self.store, stored)
        known = Known()
        writer.skip(known.add)
        if not self.has_own_name:
            refuse_other(items(), known, _other(stored))
        named = _Named(items())
        fresh = (one for one in named if one.refused is not None or not known.meet(one, force=self.force))
        refused = 0
        try:
            for made in self._all_made(fresh):
                if isinstance(made, Line) and known.holds(made):
                    continue
                if isinstance(made, Refused):
                    refused += 1
                else:
                    writer.add(made)
                told(made)
        except KeyboardInterrupt:
            writer.flush()
            raise
        new = writer.lines - known.lines
        if writer.lines:
            writer.flush()  # from here on it is open again, so that no earlier end is taken for this one
            self._owe(stored)
            writer.close(refused)
        elif not refused:
            raise UsageError("there are no files in what was named")
        return Accepted(
            stored,
            lines=writer.lines,
            new=new,
            known=known.met,
            refused=refused,
            gone=known.lines - known.met,
            not_anew=known.met if self.force and was_closed else 0,
            same_ids=named.same_ids,
            keeps_deadline=self.collection.deadline not in (None, stored.deadline),
        )

    def _all_made(self, items: Iterator[Asked]) -> Iterator[Line | Refused]:
        """Files by several threads. Of what is only named there may be a million, which threads would slow down."""
        for is_file, group in groupby(items, lambda asked: isinstance(asked.place, Path)):
            make = self._made_by_threads if is_file else self._made_here
            yield from make(group)

    def _made_by_threads(self, items: Iterator[Asked]) -> Iterator[Line | Refused]:
        return in_order(items, self._made, THREADS)

    def _made_here(self, items: Iterator[Asked]) -> Iterator[Line | Refused]:
        return map(self._made, items)

    def _made(self, asked: Asked) -> Line | Refused:
        if asked.refused is not None or asked.place is None:
            return Refused(asked.name, asked.refused or "it is nowhere")
        _, seen = looked_at(asked)  # before it is read: what is written meanwhile is read again next time
        try:
            media, is_new = self._media(asked, asked.place)
        except PermanentError as error:
            return Refused(asked.name, error.reason)
        return Line(
            media=media,
            task=asked.task,
            options=asked.options,
            custom_id=asked.custom_id,
            seen=seen,
            is_new=is_new,
            force=self.force,
        )

    def _media(self, asked: Asked, place: Path | Remote) -> tuple[Media, bool]:
        """Of an object elsewhere nobody has asked yet what it is: the steward does, before it lets it in."""
        if isinstance(place, Remote):
            return Media(name=asked.name, key=asked.name), False
        return self.upload(place, asked.name, self.collection.tenant)

    def _owe(self, collection: Collection) -> None:
        """Who asked is told of its end; once more, if it has ended before and is submitted again."""
        if collection.webhook is not None:
            now = datetime.now(UTC)
            Debts(self.store).owe(Debt(url=collection.webhook, collection=collection.id, since=now))

    def _stored(self) -> Collection:
        """The collection as it was accepted first. Raises UsageError when that is not the same one."""
        try:
            stored = Collection.from_bytes(self.store.get(keys.collection(self.collection.id)))
        except MissingObjectError:
            return self.collection
        refuse_cancelled(self.store, stored.id)
        for what in ("tenant", "engine", "webhook", "webhook_each", *(("priority",) if self.has_priority else ())):
            before, now = getattr(stored, what), getattr(self.collection, what)
            if before != now:
                raise UsageError(
                    f"collection {stored.id} ({stored.name}) was submitted with the {what} {before}, not {now}: "
                    "give what you submit now another name with --collection"
                )
        return stored


class _Named:
    """What is named, as it passes by."""

    def __init__(self, items: Iterator[Asked]) -> None:
        self._items = items
        self._ids = Seen()
        self.same_ids = 0

    def __iter__(self) -> Iterator[Asked]:
        for one in self._items:
            if one.custom_id is not None and not self._ids.is_new(one.custom_id):
                self.same_ids += 1
            yield one


def _other(stored: Collection) -> str:
    return (
        f"nothing of what is named was in collection {stored.id} ({stored.name}) before: "
        "if it shall be one of its own, give it a name with --collection"
    )
