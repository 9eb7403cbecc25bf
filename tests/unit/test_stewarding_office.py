"""Who leads: a steward who was silent for too long starts from the bucket, and one who looks for long stays."""

import time

import pytest

from pipeline import keys
from pipeline.errors import TransientError
from pipeline.ledger import MemoryLedger
from tests.unit.test_collections import Mill, line, submit
from workers.steward import Steward


class OfficeLedger(MemoryLedger):
    """Its offices are held until somebody frees them."""

    def __init__(self) -> None:
        super().__init__()
        self.holder: str | None = None
        self.asked = 0

    def lead(self, office: str, who: str, seconds: float) -> bool:
        self.asked += 1
        self.holder = self.holder or who
        return self.holder == who

    def free(self) -> None:
        """The holder was silent for too long."""
        self.holder = None


def two_stewards(places: int = 16, total: int = 300) -> tuple[Mill, OfficeLedger, Steward, Steward]:
    mill, ledger = Mill(places=places), OfficeLedger()
    object.__setattr__(mill.ports, "ledger", ledger)
    submit(mill, [line(number) for number in range(total)])
    first = mill.steward
    mill.new_steward()
    return mill, ledger, first, mill.steward


@pytest.mark.parametrize("notices", [True, False], ids=["is refused meanwhile", "is frozen meanwhile"])
def test_whoever_led_before_another_did_does_nothing_that_the_other_did(notices: bool) -> None:
    mill, ledger, first, second = two_stewards()
    assert first.leads()
    first.look()
    mill.work()
    ledger.free()
    assert second.leads()
    assert not (notices and first.leads())
    for _ in range(6):
        second.look()
        mill.work()
    ledger.free()
    assert first.leads()
    for _ in range(100):
        first.turn()
        first.look()
        mill.work()
    assert len(mill.answerer.asked) == len(set(mill.answerer.asked)) == 300
    assert mill.ended().tally.statuses == {"done": 300}


def test_whoever_leads_on_remembers_what_it_knew() -> None:
    _, _, first, _ = two_stewards(total=10)
    assert first.leads()
    first.look()
    before = first._admitter
    assert first.leads()
    assert first._admitter is before


def test_a_long_look_renews_the_office_and_ends_when_another_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mill, ledger, first, _ = two_stewards(total=40)
    assert first.leads()
    first.look()
    mill.queue.clear()  # every message is lost
    first.look()
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    listed, get = mill.store.list, ledger.asked

    def list_slowly(prefix: str) -> object:
        now[0] += 1.0
        return listed(prefix)

    mill.store.list = list_slowly  # type: ignore[method-assign, assignment]
    first.look()
    assert ledger.asked - get > 3, "sixteen jobs are looked at, each for a second, and the office is held for six"
    mill.queue.clear()
    first.look()
    ledger.holder = "another"
    with pytest.raises(TransientError, match="another steward"):
        first.look()
    assert len(mill.queue) < 16
    assert list(listed(keys.OPEN))
