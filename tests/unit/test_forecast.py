"""When it will be done: ranges that hold the truth, and honesty where nothing is known."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.forecast import (
    NOT_KNOWN,
    Forecast,
    Remaining,
    failing,
    forecast,
    off,
    remembered,
    sentence,
)
from pipeline.pace import (
    MOST_SPREAD,
    PRIOR_SPREAD,
    PRIOR_WEIGHT,
    RECENT_SECONDS,
    Pace,
    Sample,
    Z,
    measured,
    widened,
)
from pipeline.rates import Rate, Rates

STEP = 10.0  # seconds between two samples
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=timezone(timedelta(hours=1)))

spreads = st.floats(0.1, MOST_SPREAD)
paces = st.builds(
    Pace,
    rate=st.floats(0.01, 10_000),
    slower=spreads,
    faster=spreads,
    stretch=st.floats(0.1, 10_000),
    stretches=st.integers(1, 10),
    engine_seconds=st.one_of(st.none(), st.floats(0, 10)),
)
amounts = st.floats(0, 1e7)
remainders = st.builds(
    Remaining,
    known=amounts,
    files=st.integers(0, 1000),
    mean=st.floats(0, 10_000),
    deviation=st.floats(0, 10_000),
    counted=st.integers(1, 1000),
    failed=st.integers(0, 20),
    ended=st.integers(20, 100),
)


def independent(dice: random.Random, spread: float) -> Iterator[float]:
    """Media-seconds done in each step, each step for itself."""
    while True:
        yield STEP * 50 * math.exp(dice.gauss(0, spread))


def sluggish(dice: random.Random, spread: float) -> Iterator[float]:
    """The same, but a slow step is mostly followed by a slow one."""
    level = dice.gauss(0, spread)
    while True:
        level = 0.8 * level + dice.gauss(0, spread * 0.6)
        yield STEP * 50 * math.exp(level)


def in_lumps(dice: random.Random, spread: float) -> Iterator[float]:
    """Whole files that end now and then."""
    while True:
        yield STEP * 250 * dice.random() * 2 if dice.random() < 0.2 + spread / 10 else 0.0


def samples_of(steps: list[float]) -> list[Sample]:
    done, samples = 0.0, [Sample(at=1000.0, done=7.0)]
    for number, step in enumerate(steps, start=1):
        done += step
        samples.append(Sample(at=1000.0 + number * STEP, done=7.0 + done, engine_seconds=done / 100))
    return samples


@pytest.mark.parametrize("process", [independent, sluggish, in_lumps])
@pytest.mark.parametrize(("before", "after"), [(10, 20), (10, 500), (30, 20), (30, 300), (200, 15), (200, 1000)])
def test_the_range_holds_the_truth_in_four_of_five_runs(
    process: Callable[[random.Random, float], Iterator[float]], before: int, after: int
) -> None:
    held = []
    for seed in range(200):
        dice = random.Random(seed)
        steps = process(dice, dice.uniform(0.05, 0.6))
        pace = measured(samples_of([next(steps) for _ in range(before)]))
        left = sum(next(steps) for _ in range(after))
        promise = forecast(pace, Remaining(known=left))
        if promise is not None:  # in lumps, nothing may have ended yet
            held.append(promise.low <= after * STEP <= promise.high)
    assert len(held) > 170
    assert sum(held) / len(held) >= 0.8


@pytest.mark.parametrize("process", [independent, sluggish, in_lumps])
def test_more_samples_narrow_the_range(process: Callable[[random.Random, float], Iterator[float]]) -> None:
    widths = []
    for before in (6, 60, 600):
        found = []
        for seed in range(60):
            steps = process(random.Random(seed), 0.4)
            promise = forecast(measured(samples_of([next(steps) for _ in range(before)])), Remaining(known=1e7))
            if promise is not None:
                found.append((promise.high - promise.low) / promise.likely)
        widths.append(sum(found) / len(found))
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.8 * widths[0]


@given(paces, remainders, st.floats(0, 100))
def test_a_range_is_in_order_and_never_negative(pace: Pace, remaining: Remaining, price: float) -> None:
    promise = forecast(pace, remaining, price)
    assert promise is not None
    assert 0 <= promise.low <= promise.likely <= promise.high < math.inf
    assert promise.engine_seconds is None or promise.engine_seconds >= 0
    assert (promise.cost is None) == (pace.engine_seconds is None)


@given(paces, remainders, st.floats(1, 100_000))
def test_more_work_is_never_done_earlier(pace: Pace, remaining: Remaining, more: float) -> None:
    one = forecast(pace, remaining)
    other = forecast(pace, replace(remaining, known=remaining.known + more))
    assert one is not None
    assert other is not None
    for name in ("low", "likely", "high"):
        assert getattr(one, name) <= getattr(other, name) * (1 + 1e-9)


@given(paces, remainders, st.floats(1, 100))
def test_what_goes_faster_is_never_done_later(pace: Pace, remaining: Remaining, times: float) -> None:
    slow, fast = forecast(pace, remaining), forecast(replace(pace, rate=pace.rate * times), remaining)
    assert slow is not None
    assert fast is not None
    for name in ("low", "likely", "high"):
        assert getattr(fast, name) <= getattr(slow, name) * (1 + 1e-9)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-5, 1000)), max_size=40))
def test_any_samples_give_a_pace_or_none(steps: list[tuple[float, float]]) -> None:
    at, done, samples = 0.0, 0.0, []
    for seconds, amount in steps:
        at, done = at + seconds, done + amount
        samples.append(Sample(at=at, done=done))
    pace = measured(samples)
    if pace is not None:
        assert pace.rate > 0
        assert 0 < pace.slower <= MOST_SPREAD
        assert 0 < pace.faster <= MOST_SPREAD
        assert pace.stretch > 0
        assert pace.engine_seconds is None


def test_an_even_speed_is_told_as_it_is() -> None:
    pace = measured(samples_of([500.0] * 100))
    assert pace is not None
    assert pace.rate == pytest.approx(50)
    assert pace.engine_seconds == pytest.approx(0.01)
    promise = forecast(pace, Remaining(known=36_000), price=3.0)
    assert promise is not None
    assert promise.likely == pytest.approx(720)
    assert promise.engine_seconds == pytest.approx(360)
    assert promise.cost == pytest.approx(0.3)


def test_what_one_sample_cannot_show_the_prior_tells() -> None:
    pace = measured(samples_of([500.0]))
    assert pace is not None
    assert pace.slower == pace.faster == math.hypot(PRIOR_SPREAD, Z)


def test_a_slow_tenth_of_the_time_makes_the_late_end_later_and_not_the_early_one_earlier() -> None:
    even = measured(samples_of([500.0] * 100))
    dented = measured(samples_of(([500.0] * 40 + [20.0] * 10) * 2))
    assert even is not None
    assert dented is not None
    assert dented.slower > 2 * even.slower
    assert dented.slower > dented.faster


def test_few_observations_count_for_less_than_they_show() -> None:
    assert widened(0.5, 3, 1.0) == pytest.approx(math.sqrt((2 * 0.25 * 2 + PRIOR_WEIGHT) / (2 + PRIOR_WEIGHT)))
    assert widened(0.5, 1, 1.0) == 1.0
    assert widened(100.0, 5, 1.0) == MOST_SPREAD
    pace = Pace(rate=1.0, slower=0.5, faster=0.5, stretch=100.0, stretches=4)
    assert pace.ahead(0.5, 1e9) == pytest.approx(0.5 * math.sqrt(1 + 1 / 4))
    assert pace.ahead(0.5, 50.0) == pytest.approx(0.5 * math.sqrt(2 + 1 / 4))
    assert pace.ahead(0.5, 0.0) == pytest.approx(0.5 * math.sqrt(16 + 1 / 4))


def test_stretches_that_resemble_each_other_widen_the_range() -> None:
    waves = [200.0] * 50 + [800.0] * 50
    mixed = [200.0, 800.0] * 10
    slow_waves = measured(samples_of(waves))
    assert slow_waves is not None

    def slower(growth: float) -> float:
        return math.hypot(widened(growth * math.log(500 / 200), 10, PRIOR_SPREAD), Z / math.sqrt(100))

    assert slow_waves.slower == pytest.approx(slower(2.0)), "a correlation of more than 0.6 counts as that"
    some = [
        speed for speed in (800.0, 800.0, 800.0, 200.0, 200.0, 200.0, 800.0, 800.0, 200.0, 200.0) for _ in range(10)
    ]
    some_waves = measured(samples_of(some))
    assert some_waves is not None
    assert some_waves.slower == pytest.approx(slower(math.sqrt(1.4 / 0.6))), "0.3, and 0.1 of bias"
    assert measured(samples_of(mixed * 5)).slower < slow_waves.slower / 2  # type: ignore[union-attr]


def test_what_is_old_or_was_counted_before_the_count_began_anew_says_nothing() -> None:
    now = samples_of([500.0] * 20)
    before = [Sample(at=100.0, done=1e9), Sample(at=200.0, done=2e9)]
    assert measured([*before, *now]) == measured(now)
    long_ago = [replace(one, at=one.at - 2 * RECENT_SECONDS, done=0.0) for one in now]
    assert measured([*long_ago, *now]) == measured(now)


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [Sample(at=0, done=5)],
        [Sample(at=0, done=5), Sample(at=60, done=5)],
        [Sample(at=60, done=5), Sample(at=60, done=9)],
    ],
)
def test_while_nothing_was_done_nothing_is_promised(samples: list[Sample]) -> None:
    assert measured(samples) is None
    assert forecast(measured(samples), Remaining(known=100)) is None
    assert sentence(None, NOON) == NOT_KNOWN


def test_files_of_unknown_length_count_as_the_mean_and_widen_the_range() -> None:
    known = Remaining(known=10_000)
    guessed = Remaining(known=5_000, files=50, mean=100.0, deviation=80.0, counted=40)
    low, likely, high = guessed.amounts() or (0, 0, 0)
    assert known.amounts() == (10_000, 10_000, 10_000)
    assert likely == 10_000
    assert high - likely == pytest.approx(1.2816 * 80 * math.sqrt(50 + 2500 / 40))
    assert likely - low == pytest.approx(high - likely)
    assert (replace(guessed, counted=400).amounts() or (0, 0, 0))[2] < high
    one = Remaining(known=0, files=1, mean=100.0, counted=1).amounts()
    assert one is not None
    assert one[0] == 0
    assert one[2] > 200, "of one length nobody knows how they differ"
    assert Remaining(known=5_000, files=1).amounts() is None


def test_files_that_fail_take_no_time() -> None:
    low, likely, high = Remaining(known=1000, failed=10, ended=100).amounts() or (0, 0, 0)
    assert likely == pytest.approx(900)
    assert 820 < low < 870
    assert 920 < high < 950
    assert failing(10, 100) == pytest.approx((0.0678, 0.1, 0.1451), abs=1e-4)
    assert failing(0, 50) == (0, 0, 0)
    assert failing(5, 5)[1:] == (1, 1)
    assert failing(3, 2) == (0, 0, 0)


@given(st.integers(1, 100), st.integers(0, 1000))
def test_the_share_of_failures_lies_in_its_interval(failed: int, others: int) -> None:
    low, share, high = failing(failed, failed + others)
    assert 0 <= low <= share <= high <= 1


def test_a_plan_is_told_from_what_earlier_runs_showed() -> None:
    rates = Rates(engine="whisper:packaged")
    for _ in range(10):
        rates = rates.learnt("sound", 60_000, 600, 60).learnt("pictures", 100, 100, 50)
    promise = remembered(rates, {"sound": Remaining(known=36_000), "pictures": Remaining(known=200)}, price=36.0)
    assert promise is not None
    assert promise.likely == pytest.approx(360 + 200)
    assert promise.engine_seconds == pytest.approx(36 + 100)
    assert promise.cost == pytest.approx(1.36)
    assert promise.low < promise.likely < promise.high
    few = remembered(Rates(engine="e").learnt("sound", 60_000, 600, 60), {"sound": Remaining(known=36_000)})
    many = remembered(rates, {"sound": Remaining(known=36_000)})
    assert few is not None
    assert many is not None
    assert many.high < few.high
    assert many.low > few.low


def test_a_plan_of_what_was_never_seen_is_not_known() -> None:
    rates = Rates(engine="e").learnt("sound", 600, 60)
    assert remembered(rates, {"frames": Remaining(known=10)}) is None
    assert remembered(rates, {"sound": Remaining(known=10, files=3)}) is None
    nothing = remembered(rates, {"sound": Remaining(known=10), "frames": Remaining(known=0)})
    assert nothing is not None
    assert nothing.engine_seconds is None, "nobody measured it"
    timed = remembered(rates.learnt("sound", 600, 60, 6), {"sound": Remaining(known=10), "frames": Remaining(known=0)})
    assert timed is not None
    assert timed.engine_seconds == pytest.approx(0.1), "what there is none of need not be known"
    assert remembered(rates, {"sound": Remaining(known=10)}, price=1.0).cost is None  # type: ignore[union-attr]


@given(st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e5)), min_size=1, max_size=15), remainders)
def test_a_plan_is_in_order_and_never_negative(runs: list[tuple[float, float]], remaining: Remaining) -> None:
    rates = Rates(engine="e")
    for amount, seconds in runs:
        rates = rates.learnt("sound", amount, seconds)
    promise = remembered(rates, {"sound": remaining})
    assert promise is not None
    assert 0 <= promise.low <= promise.likely <= promise.high


def test_plans_hold_the_truth_in_four_of_five_runs() -> None:
    held = 0
    for seed in range(300):
        dice = random.Random(seed)
        spread = dice.uniform(0.05, 0.5)
        rates = Rates(engine="e")
        for _ in range(dice.randrange(1, 30)):
            rates = rates.learnt("sound", 60_000 * math.exp(dice.gauss(0, spread)), 600, 60)
        promise = remembered(rates, {"sound": Remaining(known=100_000)})
        assert promise is not None
        held += promise.low <= 1000 * math.exp(dice.gauss(0, spread)) <= promise.high
    assert held >= 240


def promise_of(low: float, likely: float, high: float, engine: float | None = None, **more: float) -> Forecast:
    return Forecast(low=low, likely=likely, high=high, engine_seconds=engine, **more)


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        (promise_of(7800, 9600, 12_600), "done between 14:10 and 15:30, most likely 14:40"),
        (promise_of(12, 20.4, 31), "done in 12 to 31 s, most likely 20 s"),
        (promise_of(7195, 7200, 7205), "done at about 14:00"),
        (promise_of(36_000, 43_140, 43_200), "done between 22:00 and 2026-11-25 00:00, most likely 23:59"),
        (promise_of(1e9, 1e10, 1e30), "not done within a hundred years at this pace"),
        (promise_of(7195, 7200, 7205, 90.0), "done at about 14:00; 90 s of engine time"),
        (
            promise_of(7195, 7200, 7205, 5400.0, cost=4.5),
            "done at about 14:00; 1 h 30 min of engine time, which costs 4.50",
        ),
        (promise_of(7195, 7200, 7205, 600.0), "done at about 14:00; 10 min of engine time"),
    ],
)
def test_a_forecast_in_words(promise: Forecast, words: str) -> None:
    assert sentence(promise, NOON) == words


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(0, 1e12))
def test_there_are_words_for_any_forecast(one: float, two: float, three: float) -> None:
    low, likely, high = sorted((one, two, three))
    assert sentence(promise_of(low, likely, high), NOON)


def test_a_forecast_is_kept_as_a_document() -> None:
    promise = promise_of(1.04, 2.0, 3.0, 4.0, cost=0.12345)
    document = promise.document()
    assert document == {
        "low_seconds": 1.0,
        "likely_seconds": 2.0,
        "high_seconds": 3.0,
        "engine_seconds": 4.0,
        "cost": 0.1235,
    }
    assert Forecast.from_document(document) == promise_of(1.0, 2.0, 3.0, 4.0, cost=0.1235)
    assert Forecast.from_document(promise_of(1, 2, 3).document()) == promise_of(1, 2, 3)


@pytest.mark.parametrize(
    ("actual", "words", "within"),
    [
        (6600.0, "took 1 h 50 min, 10% longer than most likely, within the promised range", True),
        (5400.0, "took 1 h 30 min, 10% less than most likely, within the promised range", True),
        (12_000.0, "took 3 h 20 min, 100% longer than most likely, outside the promised range", False),
        (60.0, "took 60 s, 99% less than most likely, outside the promised range", False),
    ],
)
def test_how_far_a_promise_was_off(actual: float, words: str, within: bool) -> None:
    miss = off(promise_of(4000, 6000, 9000), actual)
    assert miss.sentence() == words
    assert miss.document() == {
        "actual_seconds": actual,
        "later_seconds": actual - 6000,
        "later_share": round((actual - 6000) / 6000, 4),
        "within_range": within,
    }


def test_a_promise_of_no_time_at_all_is_off_by_seconds() -> None:
    miss = off(promise_of(0, 0, 0), 5.0)
    assert miss.share is None
    assert miss.document()["later_share"] is None
    assert miss.sentence() == "took 5 s, 5 s longer than most likely, outside the promised range"


def test_a_rate_is_the_typical_speed_and_its_spread() -> None:
    rates = Rates(engine="e")
    for amount in (50.0, 200.0):
        rates = rates.learnt("characters", amount * 100, 100, 5 * amount)
    rate = rates.units["characters"]
    assert rate.per_second == pytest.approx(100), "the middle between half and twice"
    assert rate.variance == pytest.approx(math.log(2) ** 2)
    assert rate.engine_seconds == pytest.approx(0.05)
    assert rate.count == 2
    assert Rates.from_bytes(rates.to_bytes()) == rates


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=9))
def test_the_first_runs_are_weighed_alike(speeds: list[float]) -> None:
    rate = Rate()
    for speed in speeds:
        rate = rate.learnt(speed * 60, 60, 0)
    logs = [math.log(speed) for speed in speeds]
    mean = sum(logs) / len(logs)
    assert rate.mean == pytest.approx(mean, abs=1e-9)
    assert rate.variance == pytest.approx(sum((one - mean) ** 2 for one in logs) / len(logs), abs=1e-9)
    assert rate.engine_seconds is None


def test_old_runs_fade() -> None:
    rate = Rate()
    for speed in [1.0] * 1000 + [100.0] * 40:
        rate = rate.learnt(speed * 60, 60, 0)
    assert 90 < rate.per_second <= 100


def test_a_short_run_counts_for_little_and_one_that_did_nothing_for_nothing() -> None:
    rates = Rates(engine="e").learnt("sound", 6000, 60, 6)
    assert rates.learnt("sound", 0, 60) is rates
    assert rates.learnt("sound", 60, 0) is rates
    short = rates.learnt("sound", 6, 6, 6).units["sound"]
    whole = rates.learnt("sound", 60, 60, 60).units["sound"]
    assert 60 < short.per_second < 100
    assert whole.per_second == pytest.approx(10)
    assert short.engine_seconds is not None
    assert short.engine_seconds < 0.002
    unmeasured = rates.learnt("sound", 6000, 60).units["sound"]
    assert unmeasured.engine_seconds == pytest.approx(0.001)
