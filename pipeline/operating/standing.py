"""How collections stand: from the bucket, with what their steward noted where it has."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from pipeline import keys
from pipeline.collecting.record import Collection, Ended, Progress, Tally
from pipeline.collecting.shards import read_closed, read_collection
from pipeline.errors import MissingObjectError, TransientError, UsageError
from pipeline.forecast import Forecast
from pipeline.ledger import Ledger
from pipeline.objects import ObjectStore
from pipeline.served import is_served
from pipeline.stages import Ports
from pipeline.stewarding.progress import note_name
from pipeline.submitting.naming import is_id, named_id

#: A steward tells every few seconds how collections stand; one that is silent for so long is gone, or stuck.
SILENT_SECONDS = 60.0

State = Literal["submitting", "running", "done", "partial", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a collection stands."""

    collection: Collection
    state: State
    tally: Tally
    lines: int | None  #: None while it is being submitted
    refused: int
    in_flight: int
    promise: Forecast | None = None  #: from `at` on
    at: datetime | None = None  #: when its steward told so
    ended_at: datetime | None = None
    is_served: bool = True  #: whether anybody runs its engine, as far as is known

    @property
    def is_silent(self) -> bool:
        """Whether its steward has not told anything for so long that what it promised is worth nothing any more."""
        return self.at is not None and (datetime.now(UTC) - self.at).total_seconds() > SILENT_SECONDS

    @property
    def between(self) -> tuple[datetime, datetime] | None:
        """When it will be done."""
        if self.promise is None or self.at is None or self.is_silent:
            return None
        return (
            self.at + timedelta(seconds=self.promise.low),
            self.at + timedelta(seconds=self.promise.high),
        )


def standing(ports: Ports, collection: str) -> Standing:
    """Raises UsageError when there is none of that id."""
    store = ports.store
    found = read_collection(store, collection)
    closed = read_closed(store, collection)
    lines, refused = (None, 0) if closed is None else (closed.lines, closed.refused)
    is_cancelled = store.exists(keys.cancelled_collection(collection))
    with suppress(MissingObjectError):
        ended = Ended.from_bytes(store.get(keys.ended_collection(collection)))
        state: State = "cancelled" if is_cancelled else _ended_state(ended.tally)
        return Standing(found, state, ended.tally, lines, refused, 0, ended_at=ended.ended_at)
    state = "cancelled" if is_cancelled else "submitting" if closed is None else "running"
    runs = is_served(found.engine, ports.ledger)
    progress = _noted(ports.ledger, collection)
    if progress is None:
        return Standing(found, state, stored_tally(store, collection), lines, refused, 0, is_served=runs)
    tally, in_flight, at = progress.tally, progress.in_flight, progress.at
    return Standing(found, state, tally, lines, refused, in_flight, promised(progress), at, is_served=runs)


def collections(store: ObjectStore) -> Iterator[str]:
    """The ids of all collections."""
    return (key.removeprefix(keys.KNOWN_COLLECTIONS) for key in store.list(keys.KNOWN_COLLECTIONS))


def find(store: ObjectStore, word: str, tenant: str = "default") -> str | None:
    """The id of the collection that is meant by its id or its name; None when there is none.

    Raises UsageError when several have that name.
    """
    for name in (word, named_id(word, tenant)):
        if is_id(name) and store.exists(keys.collection(name)):
            return name
    found = [name for name in collections(store) if read_collection(store, name).name == word]
    if len(found) > 1:
        raise UsageError(f"several collections are named {word}: {', '.join(found)}; name the id")
    return found[0] if found else None


def stored_tally(store: ObjectStore, collection: str) -> Tally:
    """Of the shards that have ended."""
    found = store.list(keys.ended_shards(collection))
    return sum((Tally.from_bytes(store.get(key)) for key in found), Tally())


def promised(progress: Progress) -> Forecast | None:
    """When it was thought to be done, from `progress.at` on."""
    if progress.low is None or progress.likely is None or progress.high is None:
        return None
    return Forecast(
        low=progress.low,
        likely=progress.likely,
        high=progress.high,
        engine_seconds=progress.engine_seconds,
        cost=progress.cost,
    )


def _noted(ledger: Ledger, collection: str) -> Progress | None:
    with suppress(TransientError):  # Redis is away: the bucket tells less, but it tells
        text = ledger.noted(note_name(collection))
        return None if text is None else Progress.model_validate_json(text)
    return None


def _ended_state(tally: Tally) -> State:
    if tally.statuses.get("done", 0) == tally.lines:
        return "done"
    return "partial" if tally.statuses.get("done", 0) or tally.statuses.get("partial", 0) else "failed"
