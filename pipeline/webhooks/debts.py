"""What is still to be told, and to whom: one object for each, written when it is asked for, deleted when it is told."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Self
from urllib.parse import urlsplit

from pipeline import keys
from pipeline.job import Record
from pipeline.objects import ObjectStore

log = logging.getLogger(__name__)


class Debt(Record):
    """That a server is to be told how a job ended, or a collection."""

    url: str
    job: str | None = None  #: None: it is about the collection itself
    collection: str | None = None  #: that the job came with
    custom_id: str | None = None  #: what the submitter calls the line
    since: datetime  #: when it was asked for
    again: datetime | None = None  #: when it was sent on its way again, after it had been given up
    error: str | None = None  #: why it was given up

    @property
    def subject(self) -> str:
        """The id of what has to end first."""
        return self.job or self.collection or ""

    @property
    def server(self) -> str:
        """Scheme, host and port. Raises ValueError."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}".lower()

    @property
    def key(self) -> str:
        """The same for what is asked for twice: of a line of a collection, whoever lets it in and how often."""
        asked = self.since.isoformat() if self.collection is None else None
        digest = _digest(self.url, self.collection, self.custom_id, asked)
        return keys.webhook_owed(_digest(self.server), f"{self.subject}.{digest}")

    @property
    def own_key(self) -> str:
        """Of this asking alone."""
        return self.key if self.collection is None else f"{self.key}.{_digest(self.since.isoformat())}"

    def redriven(self, now: datetime) -> Self:
        return self.model_copy(update={"again": now, "error": None})


class Debts:
    """All debts of a bucket, in a folder for each server."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def owe(self, debt: Debt) -> None:
        """Once this returns, it will be told. Raises ValueError when its address is none."""
        self._store.create(debt.key, debt.to_bytes())

    def servers(self) -> Sequence[str]:
        """Ids of those who are owed anything."""
        return self._store.folders(keys.WEBHOOKS_OWED)

    def page(self, server: str, most: int, after: str = "") -> Sequence[str]:
        """The keys of what one server is owed, in order, from behind one on."""
        return self._store.first(keys.webhooks_owed(server), most, after)

    def take(self, key: str) -> Debt:
        """A debt, which lies under its own key from now on. Raises MissingObjectError when it was told meanwhile.

        Whoever opens something again first removes its end, and then owes: before this, and the end is looked for
        afterwards; or after it, and theirs is another debt. So an end that is read once this returns is one that nobody
        else waits for.
        """
        debt = self.read(key)
        if key != debt.own_key:
            self._store.create(debt.own_key, debt.to_bytes())
            self._store.delete([key])
        return debt

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
        """With their keys; one that cannot be read is told in the log and left out."""
        for key in self._store.list(keys.WEBHOOKS_GIVEN_UP):
            try:
                yield key, Debt.from_bytes(self._store.get(key))
            except ValueError:
                log.exception("%s cannot be read", key)

    def redrive(self, key: str, debt: Debt, now: datetime) -> None:
        """Owe again what was given up: the same message, so that a receiver who had it after all can tell."""
        self.owe(debt.redriven(now))
        self._store.delete([key])


def server_of(key: str) -> str:
    """The id of the server in the key of a debt."""
    return key.split("/")[-2]


def subject_of(key: str) -> str:
    """The job or collection in the key of a debt."""
    return key.rsplit("/", 1)[1].split(".", 1)[0]


def message_of(key: str) -> str:
    """What the key of a debt has in common with all others of the same message, whoever asked for it."""
    return ".".join(key.split(".")[:2])


def _digest(*parts: str | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
