"""What is still to be told, and to whom: one object for each, written when it is asked for, deleted when it is told."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Self
from urllib.parse import urlsplit

from pipeline import keys
from pipeline.job import Record
from pipeline.objects import ObjectStore


class Debt(Record):
    """That a server is to be told how a job ended, or a collection."""

    url: str
    job: str | None = None  #: None: it is about the collection itself
    collection: str | None = None  #: that the job came with
    custom_id: str | None = None  #: what the submitter calls the line
    since: datetime  #: when it was asked for, or asked for again
    error: str | None = None  #: why it was given up

    @property
    def subject(self) -> str:
        """The id of what has to end first."""
        return self.job or self.collection or ""

    @property
    def origin(self) -> str:
        """Scheme, host and port of the server."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}".lower()

    @property
    def name(self) -> str:
        """The same for what is asked for twice: of a line of a collection, whoever lets it in and how often."""
        asked = self.since.isoformat() if self.collection is None else None
        return f"{self.subject}.{_digest(self.url, self.collection, self.custom_id, asked)}"

    def again(self, since: datetime) -> Self:
        return self.model_copy(update={"since": since, "error": None})


class Origin(Record):
    """A server that was to be told something once."""

    address: str

    @property
    def id(self) -> str:
        return _digest(self.address)


class Debts:
    """All debts of a bucket. Safe for threads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._known: set[str] = set()
        self._origins: dict[str, Origin] = {}  #: by key; they never change

    def owe(self, debt: Debt) -> None:
        """Once this returns, it will be told."""
        origin = Origin(address=debt.origin)
        if origin.id not in self._known:
            self._store.create(keys.webhook_origin(origin.id), origin.to_bytes())
            self._known.add(origin.id)
        self._store.create(keys.webhook_owed(origin.id, debt.name), debt.to_bytes())

    def is_any(self) -> bool:
        """Whether anything is owed to anybody, by one request."""
        return bool(self._store.first(keys.WEBHOOKS_OWED, 1))

    def origins(self) -> Iterator[Origin]:
        for key in self._store.list(keys.WEBHOOK_ORIGINS):
            if key not in self._origins:
                self._origins[key] = Origin.from_bytes(self._store.get(key))
            yield self._origins[key]

    def page(self, origin: Origin, most: int, after: str = "") -> Sequence[str]:
        """The keys of what one server is owed, in order, from behind one on."""
        return self._store.first(keys.webhooks_owed(origin.id), most, after)

    def read(self, key: str) -> Debt:
        """Raises MissingObjectError when it was told meanwhile."""
        return Debt.from_bytes(self._store.get(key))

    def settle(self, key: str) -> None:
        """It was told."""
        self._store.delete([key])

    def give_up(self, key: str, debt: Debt, error: str) -> None:
        """It is kept where people look, and not sent any more."""
        lost = debt.model_copy(update={"error": error})
        self._store.create(keys.webhook_given_up(key), lost.to_bytes())
        self._store.delete([key])

    def given_up(self) -> Iterator[tuple[str, Debt]]:
        """With their keys."""
        for key in self._store.list(keys.WEBHOOKS_GIVEN_UP):
            yield key, Debt.from_bytes(self._store.get(key))

    def redrive(self, key: str, debt: Debt, now: datetime) -> None:
        """Owe again what was given up."""
        self.owe(debt.again(now))
        self._store.delete([key])


def subject_of(key: str) -> str:
    """The job or collection in the key of a debt."""
    return key.rsplit("/", 1)[1].split(".", 1)[0]


def _digest(*parts: str | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
