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
from workers.leaving import InterruptedByTerm

CUT = Work(stage="cut", job=a_job().id, window=0)


@pytest.fixture
def by_term() -> Iterator[InterruptedByTerm]:
    before = signal.getsignal(signal.SIGTERM)
    interrupted = InterruptedByTerm()
    interrupted.install()
    yield interrupted
    signal.signal(signal.SIGTERM, before)


def told() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_work_in_hand_goes_back_to_the_queue_at_once_and_is_no_try(by_term: InterruptedByTerm) -> None:
    store, sent = MemoryStore(), list[Work]()
    accept(store, a_job())
    ports = Ports(store=store, ledger=MemoryLedger(), send=sent.append)

    def run(tries: int) -> None:
        with by_term.stage():
            told()
        pytest.fail("it went on")

    with by_term.task():
        attempt(CUT, ports, run)
    assert sent == [CUT]
    assert ports.ledger.tries(CUT) == 0
    assert ports.ledger.held([CUT]) == frozenset()
    assert list(store.list(keys.TRIES)) == []


def test_the_books_are_kept_to_their_end(by_term: InterruptedByTerm) -> None:
    with by_term.task():
        told()  # while it counts, say: nothing happens
        with pytest.raises(LeavingError), by_term.stage():
            pytest.fail("no work is begun any more")


def test_an_idle_process_ends(by_term: InterruptedByTerm) -> None:
    with by_term.task(), by_term.stage():
        pass
    with pytest.raises(SystemExit):
        told()
