"""The thread that delivers: it goes on whatever happens, and lets another do it where another does."""

import logging
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline import keys
from pipeline.errors import TransientError
from pipeline.ledger import MemoryLedger
from pipeline.settings import Settings, Steward, Webhooks
from pipeline.stages import Ports
from pipeline.webhooks.debts import Debt, Debts
from pipeline.webhooks.posting import new_secret
from tests.doubles import MemoryStore
from tests.unit.webhooks.test_delivering import SharedStore, result
from tests.webhook_receiver import Receiver
from workers.webhooks import Teller

SECRET = new_secret()
SETTINGS = Settings(
    steward=Steward(interval=0.01), webhooks=Webhooks(secrets=SecretStr(SECRET), private=True, request_seconds=5)
)


class OfficeLedger(MemoryLedger):
    """One that several may ask; that of a single process has nobody to share an office with."""

    def __init__(self) -> None:
        super().__init__()
        self.holder: str | None = None

    def lead(self, office: str, who: str, seconds: float) -> bool:
        self.holder = self.holder or who
        return self.holder == who

    def resign(self, office: str, who: str) -> None:
        if self.holder == who:
            self.holder = None


class Failing(SharedStore):
    """Its first looks raise."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    def list(self, prefix: str):  # type: ignore[no-untyped-def]
        if prefix.startswith("webhooks/") and self.errors:
            raise self.errors.pop(0)
        return super().list(prefix)


def owe(store: MemoryStore, job: str, url: str) -> None:
    store.create(keys.result(job), result(job).to_bytes())
    Debts(store).owe(Debt(url=url, job=job, since=datetime.now(UTC)))


def ports(store: MemoryStore, ledger: MemoryLedger | None = None) -> Ports:
    return Ports(store=store, ledger=ledger or MemoryLedger(), send=lambda work: None)


def told(receiver: Receiver, number: int) -> bool:
    deadline = time.monotonic() + 5
    while len(receiver.deliveries) < number and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(receiver.deliveries) == number


def test_a_round_that_fails_is_told_and_the_next_one_goes_on(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    store = Failing(TransientError("the store is away"), ValueError("never seen before"))
    with Receiver(SECRET).serving() as receiver:
        owe(store, "j1", receiver.url)
        with caplog.at_level(logging.WARNING), Teller(ports(store), SETTINGS):
            assert told(receiver, 1)
    assert "the store is away" in caplog.text
    assert "never seen before" in caplog.text


def test_one_of_two_delivers_and_leaves_the_office_when_it_ends() -> None:
    store, ledger = SharedStore(), OfficeLedger()
    with Receiver(SECRET).serving() as receiver:
        with Teller(ports(store, ledger), SETTINGS):
            owe(store, "j1", receiver.url)
            assert told(receiver, 1)
            holder = ledger.holder
            with Teller(ports(store, ledger), SETTINGS):
                owe(store, "j2", receiver.url)
                assert told(receiver, 2)
                time.sleep(0.1)
            assert ledger.holder == holder
        assert ledger.holder is None
        owe(store, "j3", receiver.url)
        with Teller(ports(store, ledger), SETTINGS):
            assert told(receiver, 3)
