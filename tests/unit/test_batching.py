"""What the batcher hands out, and when. Its clock is the number it is given."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.batching import PATIENCE_SECONDS, Batcher
from pipeline.engines import Capabilities, Request
from tests.engines import a_request


def batcher(max_batch: int = 4, max_cost: float = 100.0) -> Batcher:
    return Batcher(Capabilities(kinds=frozenset({"sound"}), max_batch=max_batch, max_cost=max_cost))


def names(requests: list[Request]) -> list[str]:
    return [request.id for request in requests]


def test_a_full_batch_goes_out_before_it_is_due() -> None:
    waiting = batcher(max_batch=2)
    waiting.add(a_request("a", deadline=10))
    assert waiting.next_batch(now=0) == []
    waiting.add(a_request("b", deadline=11))
    assert names(waiting.next_batch(now=0)) == ["a", "b"]
    assert len(waiting) == 0


def test_a_batch_that_is_not_full_goes_out_when_its_oldest_request_is_due() -> None:
    waiting = batcher()
    waiting.add(a_request("late", deadline=9))
    waiting.add(a_request("early", deadline=5))
    assert waiting.due_at() == 5
    assert waiting.next_batch(now=4.9) == []
    assert names(waiting.next_batch(now=5)) == ["early", "late"]
    assert waiting.due_at() is None


def test_a_batch_stays_within_the_cost_limit_and_the_rest_waits() -> None:
    waiting = batcher(max_batch=8, max_cost=10)
    for name in "abc":
        waiting.add(a_request(name, cost=4))
    assert names(waiting.next_batch(now=0)) == ["a", "b"]
    assert names(waiting.next_batch(now=0)) == ["c"]


def test_a_request_over_the_cost_limit_goes_alone_rather_than_never() -> None:
    waiting = batcher(max_cost=10)
    waiting.add(a_request("huge", cost=50))
    waiting.add(a_request("small"))
    assert names(waiting.next_batch(now=0)) == ["huge"]
    assert names(waiting.next_batch(now=0)) == ["small"]


def test_a_suspect_goes_alone_and_after_the_others() -> None:
    waiting = batcher()
    waiting.add(a_request("suspect", alone=True, deadline=0))
    waiting.add(a_request("a", deadline=1))
    waiting.add(a_request("b", deadline=1))
    assert names(waiting.next_batch(now=2)) == ["a", "b"]
    assert names(waiting.next_batch(now=2)) == ["suspect"]


def test_a_continuous_engine_gets_what_fits_its_slots_at_once() -> None:
    waiting = batcher(max_batch=4)
    for number in range(6):
        waiting.add(a_request(str(number), deadline=100 - number))
    assert names(waiting.fill(slots=3, budget=100, now=0)) == ["5", "4", "3"]
    assert names(waiting.fill(slots=1, budget=100, now=0)) == ["2"]
    assert waiting.fill(slots=2, budget=0.5, now=0) != [], "what is over budget by itself still goes when nothing runs"


def test_a_suspect_goes_first_once_it_has_waited_too_long() -> None:
    waiting = batcher(max_batch=2)
    waiting.add(a_request("suspect", alone=True, deadline=0))
    waiting.add(a_request("patient", alone=True, deadline=3))
    for number in range(4):
        waiting.add(a_request(str(number), deadline=1))
    assert names(waiting.next_batch(now=PATIENCE_SECONDS - 0.1)) == ["0", "1"]
    assert names(waiting.next_batch(now=PATIENCE_SECONDS)) == ["suspect"]
    assert names(waiting.next_batch(now=PATIENCE_SECONDS)) == ["2", "3"]
    assert names(waiting.next_batch(now=PATIENCE_SECONDS)) == ["patient"]


def test_slots_are_emptied_for_a_suspect_that_has_waited_too_long() -> None:
    waiting = batcher(max_batch=4)
    waiting.add(a_request("suspect", alone=True, deadline=0))
    for number in range(4):
        waiting.add(a_request(str(number)))
    assert names(waiting.fill(slots=1, budget=100, now=PATIENCE_SECONDS - 0.1)) == ["0"]
    assert waiting.fill(slots=3, budget=100, now=PATIENCE_SECONDS) == []
    assert names(waiting.fill(slots=4, budget=100, now=PATIENCE_SECONDS)) == ["suspect"]
    assert names(waiting.fill(slots=4, budget=100, now=PATIENCE_SECONDS)) == ["1", "2", "3"]


def test_a_suspect_waits_until_every_slot_of_a_continuous_engine_is_free() -> None:
    waiting = batcher(max_batch=4)
    waiting.add(a_request("suspect", alone=True))
    assert waiting.fill(slots=3, budget=100, now=0) == []
    assert names(waiting.fill(slots=4, budget=100, now=0)) == ["suspect"]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 20), st.booleans()), max_size=60),
    st.integers(1, 9),
    st.floats(1, 40),
)
def test_every_request_is_handed_out_once_within_the_limits(
    items: list[tuple[float, float, bool]], max_batch: int, max_cost: float
) -> None:
    waiting = batcher(max_batch, max_cost)
    for number, (deadline, cost, alone) in enumerate(items):
        waiting.add(a_request(str(number), seconds=0, deadline=deadline, cost=cost, alone=alone))
    handed: list[str] = []
    while batch := waiting.next_batch(now=1000):
        assert len(batch) <= max_batch
        assert len(batch) == 1 or sum(request.cost for request in batch) <= max_cost
        assert len(batch) == 1 or not any(request.alone for request in batch)
        deadlines = [request.deadline for request in batch]
        assert deadlines == sorted(deadlines)
        handed += names(batch)
    assert sorted(handed, key=int) == [str(number) for number in range(len(items))]
