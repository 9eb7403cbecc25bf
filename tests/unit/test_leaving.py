"""What a worker does when it is told to stop."""

import os
import signal
from collections.abc import Iterator

import pytest

from pipeline import keys
from pipeline.errors import LeavingError
from pipeline.job import Work
from pipeline.ledger import MemoryLedger
from pipeline.stages import Ports
from pipeline.stages.attempt import attempt
from tests.doubles import MemoryStore, a_job, accept
from workers.leaving import HAND_BACK, Interruptible

CUT = Work(stage="cut", job=a_job().id, window=0)


@pytest.fixture
def interruptible() -> Iterator[Interruptible]:
    before = signal.getsignal(HAND_BACK)
    interrupted = Interruptible()
    yield interrupted
    signal.signal(HAND_BACK, before)


def told() -> None:
    os.kill(os.getpid(), HAND_BACK)


def test_work_in_hand_goes_back_to_the_queue_at_once_and_is_no_try(interruptible: Interruptible) -> None:
    store, sent = MemoryStore(), list[Work]()
    accept(store, a_job())
    ports = Ports(store=store, ledger=MemoryLedger(), send=sent.append)

    def run(tries: int) -> None:
        with interruptible.stage():
            told()
        pytest.fail("it went on")

    with interruptible.task():
        attempt(CUT, ports, run)
    assert sent == [CUT]
    assert ports.ledger.tries(CUT) == 0
    assert ports.ledger.held([CUT]) == frozenset()
    assert list(store.list(keys.TRIES)) == []


def test_the_books_are_kept_to_their_end(interruptible: Interruptible) -> None:
    with interruptible.task():
        told()  # while it counts, say: nothing happens
        with pytest.raises(LeavingError), interruptible.stage():
            pytest.fail("no work is begun any more")


def test_an_idle_process_ends(interruptible: Interruptible) -> None:
    with interruptible.task(), interruptible.stage():
        pass
    with pytest.raises(SystemExit):
        told()
