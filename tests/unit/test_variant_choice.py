"""Which size the `auto` policy takes: a table of decisions, and a queue that lives through them."""

import random
from itertools import pairwise

import pytest

from pipeline import variant_choice
from pipeline.variant_choice import AutoVariant, Rates

SIZES = ("e4b", "e2.54b", "e2b")
RATES = {"e4b": 10.0, "e2.54b": 15.0, "e2b": 20.0}  # cost units per second
PROMISE = 60.0  # seconds


@pytest.mark.parametrize(
    ("current", "backlog", "rates", "chosen"),
    [
        ("e4b", 0, RATES, "e4b"),  # nothing waits
        ("e4b", 600, RATES, "e4b"),  # just in time
        ("e4b", 601, RATES, "e2.54b"),  # would be late: one step down
        ("e4b", 9_000, RATES, "e2.54b"),  # hopelessly late: still one step at a time
        ("e2.54b", 901, RATES, "e2b"),
        ("e2b", 9_000, RATES, "e2b"),  # there is nothing smaller
        ("e2b", 451, RATES, "e2b"),  # e2.54b would take more than half the promise: too close
        ("e2b", 450, RATES, "e2.54b"),  # it would be done in half the promise
        ("e2.54b", 450, RATES, "e2.54b"),
        ("e2.54b", 300, RATES, "e4b"),
        ("e4b", 601, {}, "e4b"),  # nothing measured yet: no ground to change
        ("e4b", 601, {"e4b": 10.0}, "e2.54b"),  # what was never measured is believed to be faster
        ("e4b", 601, {"e4b": 10.0, "e2.54b": 10.0}, "e2b"),  # a smaller size that is no faster helps nobody
        ("e4b", 601, {"e4b": 10.0, "e2.54b": 9.0, "e2b": 9.0}, "e4b"),
        ("e2b", 300, {"e2b": 20.0}, "e2.54b"),  # never measured: taken to be half as fast
        ("e2b", 301, {"e2b": 20.0}, "e2b"),
        ("e2b", 0, {}, "e2.54b"),
    ],
)
def test_the_size_follows_the_backlog(current: str, backlog: float, rates: dict[str, float], chosen: str) -> None:
    policy = AutoVariant(sizes=SIZES, promise=PROMISE)
    assert policy.choose(current, backlog=backlog, rates=rates) == chosen


def test_a_burst_is_met_with_smaller_sizes_and_the_largest_comes_back() -> None:
    sizes = simulate(arrivals=[2_000.0] + [5.0] * 600)
    steps = [size for size, before in zip(sizes, [None, *sizes], strict=False) if size != before]
    assert steps == ["e4b", "e2.54b", "e2b", "e2.54b", "e4b"]


@pytest.mark.parametrize("load", [8.0, 10.5, 12.0, 14.9, 15.5, 18.0, 19.9])
def test_a_steady_load_does_not_make_sizes_flap(load: float) -> None:
    sizes = simulate(arrivals=[load] * 6_000)
    assert shortest_stay(sizes) >= PROMISE / 6
    assert sum(a != b for a, b in pairwise(sizes)) <= 6_000 / PROMISE


def test_without_a_gap_between_up_and_down_the_same_load_flaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variant_choice, "CLEAR_SHARE", 1.0)
    assert shortest_stay(simulate(arrivals=[12.0] * 6_000)) <= 2


def test_a_load_that_a_size_can_bear_settles_on_it() -> None:
    assert set(simulate(arrivals=[8.0] * 3_000)) == {"e4b"}
    assert set(simulate(arrivals=[50.0] * 3_000)[-1_000:]) == {"e2b"}


def test_rates_follow_the_newest_work_and_leave_out_what_did_none() -> None:
    rates = Rates()
    assert rates.measured() == {}
    rates.observe("e4b", cost=0, seconds=3)
    assert rates.measured() == {}
    for _ in range(100):
        rates.observe("e2b", cost=10, seconds=1)
    assert rates.measured()["e2b"] == pytest.approx(10)
    for _ in range(100):
        rates.observe("e2b", cost=40, seconds=2)
    assert rates.measured()["e2b"] == pytest.approx(20, rel=0.01)


def test_sizes_that_leave_no_choice_are_refused() -> None:
    for sizes, promise in [((), 1.0), (("e2b", "e2b"), 1.0), (("e2b",), 0.0), (("e2b",), float("nan"))]:
        with pytest.raises(ValueError, match="no choice"):
            AutoVariant(sizes=sizes, promise=promise)


def simulate(arrivals: list[float]) -> list[str]:
    """A queue, second by second: which size was at work in each. Its speed differs from what is expected by 20 %."""
    policy, rates, chance = AutoVariant(sizes=SIZES, promise=PROMISE), Rates(), random.Random(7)
    size, backlog = SIZES[0], 0.0
    used = []
    for arriving in arrivals:
        backlog += arriving
        size = policy.choose(size, backlog=backlog, rates=rates.measured())
        used.append(size)
        speed = RATES[size] * chance.uniform(0.8, 1.2)
        done = min(backlog, speed)
        backlog -= done
        rates.observe(size, cost=done, seconds=done / speed)
    return used


def shortest_stay(sizes: list[str]) -> int:
    """Seconds of the shortest stretch with one size, the first and last ones left out."""
    changes = [second for second in range(1, len(sizes)) if sizes[second] != sizes[second - 1]]
    return min((after - before for before, after in pairwise(changes)), default=len(sizes))
