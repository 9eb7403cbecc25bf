"""The batcher between tenants and classes: shares by cost, urgent things early, nothing for ever last."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batching import Batcher
from pipeline.engines import Capabilities, Image, Kind, Request, Sound, Turn
from pipeline.job import Priority

PARTS = {"sound": Sound(np.zeros(1, np.float32)), "image": Image(b""), "text": "words"}
COSTS = st.floats(0.5, 20)
KINDS = st.sampled_from(["sound", "image", "text"])
CLASSES = st.sampled_from(["interactive", "normal", "bulk"])


def request(name: str, tenant: str, priority: Priority = "normal", kind: Kind = "sound", **more: object) -> Request:
    plain = Request(id=name, turns=(Turn("user", (PARTS[kind],)),), tenant=tenant, priority=priority)
    return replace(plain, **more)


def batcher(requests: Sequence[Request], max_batch: int = 4, max_cost: float = 1000.0) -> Batcher:
    waiting = Batcher(Capabilities(kinds=frozenset({"sound"}), max_batch=max_batch, max_cost=max_cost))
    for one in requests:
        waiting.add(one)
    return waiting


def test_tenants_take_turns_however_much_one_of_them_sends() -> None:
    waiting = batcher([request(f"a{number}", "a") for number in range(100)])
    waiting.add(request("b0", "b"))
    waiting.add(request("b1", "b"))
    assert Counter(one.tenant for one in waiting.next_batch(now=0)) == {"a": 2, "b": 2}


@given(st.lists(st.tuples(KINDS, st.lists(COSTS, min_size=1, max_size=4)), min_size=2, max_size=4), st.integers(1, 8))
def test_shares_of_tenants_who_always_wait_differ_by_their_largest_batches(
    tenants: list[tuple[Kind, list[float]]], max_batch: int
) -> None:
    """Whatever their kinds, on a static engine: a batch of one kind may be all of one tenant's."""
    waiting = batcher([], max_batch)
    sent = [0] * len(tenants)

    def send(number: int) -> None:
        kind, costs = tenants[number]
        cost = costs[sent[number] % len(costs)]
        waiting.add(request(f"{number}-{sent[number]}", f"{number}", kind=kind, cost=cost))
        sent[number] += 1

    for number in range(len(tenants)):
        for _ in range(2 * max_batch):
            send(number)
    got = Counter({f"{number}": 0.0 for number in range(len(tenants))})
    for _ in range(60):
        for one in waiting.next_batch(now=1):
            got[one.tenant] += one.cost
            send(int(one.tenant))
        largest = max(max(costs) for _, costs in tenants)
        assert max(got.values()) - min(got.values()) <= 2 * max_batch * largest


@given(st.lists(st.lists(COSTS, min_size=1, max_size=4), min_size=2, max_size=5), st.integers(1, 8))
def test_in_slots_shares_differ_by_one_largest_request(tenants: list[list[float]], slots: int) -> None:
    waiting = batcher([], max_batch=slots)
    for number, costs in enumerate(tenants):
        for turn in range(110):
            waiting.add(request(f"{number}-{turn}", f"{number}", kind="sound", cost=costs[turn % len(costs)]))
    got = Counter({f"{number}": 0.0 for number in range(len(tenants))})
    for _ in range(100):
        for one in waiting.fill(slots=1, budget=1000, now=0):
            got[one.tenant] += one.cost
        assert max(got.values()) - min(got.values()) <= max(map(max, tenants)) * (1 + 1e-9)


def test_who_was_away_claims_nothing_for_it() -> None:
    waiting = batcher([request(f"a{number}", "a") for number in range(100)], max_batch=10)
    waiting.add(request("b", "b"))
    for _ in range(5):
        waiting.next_batch(now=0)
    for number in range(20):
        waiting.add(request(f"b{number}", "b"))
    shares = Counter(one.tenant for _ in range(2) for one in waiting.next_batch(now=0))
    assert abs(shares["a"] - shares["b"]) <= 2


def test_interactive_requests_go_in_the_next_batch_and_bulk_is_not_starved() -> None:
    waiting = batcher([request(f"bulk{number}", "a", "bulk") for number in range(100)], max_batch=17)
    waiting.next_batch(now=0)
    for number in range(100):
        waiting.add(request(f"call{number}", "a", "interactive", deadline=50.0))
    batches = [waiting.next_batch(now=0) for _ in range(5)]
    assert {one.priority for one in batches[0]} == {"interactive"}, "though the others are due since long"
    assert Counter(one.priority for batch in batches[1:] for one in batch) == {"interactive": 64, "bulk": 4}


def test_an_interactive_request_of_one_tenant_does_not_wait_for_anothers_archive() -> None:
    waiting = batcher([request(f"bulk{number}", "a", "bulk", kind="image") for number in range(100)], max_batch=2)
    for _ in range(20):
        waiting.next_batch(now=0)
    waiting.add(request("call", "b", "interactive", kind="sound"))
    assert [one.id for one in waiting.next_batch(now=0)] == ["call"]


def test_a_class_buys_nothing_from_other_tenants() -> None:
    waiting = batcher([request(f"a{number}", "a", "interactive") for number in range(50)], max_batch=10)
    for number in range(50):
        waiting.add(request(f"b{number}", "b", "bulk"))
    assert Counter(one.tenant for one in waiting.next_batch(now=0)) == {"a": 5, "b": 5}


ANY = st.lists(st.tuples(st.sampled_from("abc"), CLASSES, KINDS, COSTS, st.floats(0, 100), st.booleans()), max_size=50)


def any_requests(items: list[tuple[str, Priority, Kind, float, float, bool]]) -> list[Request]:
    return [
        request(f"{number}", tenant, priority, kind, cost=cost, deadline=deadline, alone=alone)
        for number, (tenant, priority, kind, cost, deadline, alone) in enumerate(items)
    ]


@given(ANY, st.integers(1, 9), st.floats(1, 40))
def test_every_request_of_every_tenant_is_handed_out_once_within_the_limits(
    items: list[tuple[str, Priority, Kind, float, float, bool]], max_batch: int, max_cost: float
) -> None:
    requests = any_requests(items)
    waiting = batcher(requests, max_batch, max_cost)
    handed: list[Request] = []
    while batch := waiting.next_batch(now=1000):
        assert len(batch) <= max_batch
        assert len({one.kind for one in batch}) == 1
        assert len(batch) == 1 or sum(one.cost for one in batch) <= max_cost
        assert len(batch) == 1 or not any(one.alone for one in batch)
        handed += batch
        assert len(waiting) == len(requests) - len(handed)
    assert sorted(one.id for one in handed) == sorted(one.id for one in requests)
    assert waiting.due_at() is None


@given(ANY, st.integers(1, 20))
def test_peek_tells_what_the_slots_will_get(
    items: list[tuple[str, Priority, Kind, float, float, bool]], most: int
) -> None:
    waiting = batcher(any_requests(items), max_batch=most + 1, max_cost=1e9)
    waiting.fill(slots=len(items) // 3, budget=1e9, now=0)  # so that the tags differ
    seen = waiting.peek(most)
    assert waiting.peek(most) == seen, "they stay where they are"
    assert [one.id for one in waiting.fill(slots=most, budget=1e9, now=0) if not one.alone] == [one.id for one in seen]


def test_peek_takes_turns_as_the_slots_do() -> None:
    waiting = batcher([request(f"{tenant}{number}", tenant) for tenant in "ab" for number in range(9)])
    assert Counter(one.tenant for one in waiting.peek(4)) == {"a": 2, "b": 2}


def test_a_suspect_does_not_join_others_in_free_slots() -> None:
    waiting = batcher([request("suspect", "a", alone=True), request("good", "a")], max_batch=4)
    assert [one.id for one in waiting.fill(slots=4, budget=1000, now=0)] == ["good"]
    assert [one.id for one in waiting.fill(slots=4, budget=1000, now=0)] == ["suspect"]


def test_a_batch_is_full_by_the_cost_of_what_still_waits() -> None:
    waiting = batcher([request(f"{number}", "a", deadline=99, cost=5) for number in range(3)], max_cost=10)
    assert [one.id for one in waiting.next_batch(now=0)] == ["0", "1"]
    assert waiting.next_batch(now=0) == []
    waiting.add(request("3", "b", deadline=99, cost=5))
    assert len(waiting.next_batch(now=0)) == 2


@given(ANY)
def test_what_is_drained_is_gone(items: list[tuple[str, Priority, Kind, float, float, bool]]) -> None:
    requests = any_requests(items)
    waiting = batcher(requests)
    assert sorted(one.id for one in waiting.drain()) == sorted(one.id for one in requests)
    assert len(waiting) == 0
    assert waiting.due_at() is None
    assert waiting.next_batch(now=1000) == []
    assert waiting.fill(slots=4, budget=1000, now=0) == []
