"""The thread that delivers: it goes on whatever happens, and lets another do it where another does."""

import logging
import threading
from collections.abc import Callable

import pytest

from pipeline.errors import TransientError
from pipeline.ledger import MemoryLedger
from pipeline.settings import Settings, Steward
from pipeline.stages import Ports
from tests.doubles import MemoryStore
from workers.webhooks import Teller

SETTINGS = Settings(steward=Steward(interval=0.01))


class Rounds:
    """In the place of a deliverer: each round does the next thing, and the last one tells."""

    def __init__(self, *doings: Callable[[], int]) -> None:
        self._doings = list(doings)
        self.is_over = threading.Event()
        self.calls: list[str] = []

    def round(self) -> int:
        if not self._doings:
            self.is_over.set()
            return 0
        return self._doings.pop(0)()

    def end(self) -> None:
        self.calls.append("end")

    def close(self) -> None:
        self.calls.append("close")


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


def ports(ledger: MemoryLedger | None = None) -> Ports:
    return Ports(store=MemoryStore(), ledger=ledger or MemoryLedger(), send=lambda work: None)


def fails(error: Exception) -> Callable[[], int]:
    def failing() -> int:
        raise error

    return failing


def test_a_round_that_fails_is_told_and_the_next_one_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    rounds = Rounds(fails(TransientError("the store is away")), fails(ValueError("never seen before")))
    with caplog.at_level(logging.WARNING), Teller(ports(), SETTINGS, rounds):  # type: ignore[arg-type]
        assert rounds.is_over.wait(5)
    assert "the store is away" in caplog.text
    assert "never seen before" in caplog.text
    assert rounds.calls == ["end", "close"]


def test_one_of_two_delivers_and_leaves_the_office_when_it_ends() -> None:
    ledger = OfficeLedger()
    shared = ports(ledger)
    rounds, other = Rounds(), Rounds()
    with Teller(shared, SETTINGS, rounds):  # type: ignore[arg-type]
        assert rounds.is_over.wait(5)
        assert ledger.holder
        with Teller(shared, SETTINGS, other):  # type: ignore[arg-type]
            assert not other.is_over.wait(0.2)
    assert not ledger.holder
    with Teller(shared, SETTINGS, other):  # type: ignore[arg-type]
        assert other.is_over.wait(5)
