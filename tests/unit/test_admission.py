"""Who is let in next: fair by media-seconds, urgent things at once, nobody for ever last."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.admission import CHARACTER_SECONDS, FRAME_SECONDS, PICTURE_SECONDS, Admission, Rules, media_seconds
from pipeline.job import Priority
from pipeline.waiting import DEADLINES_IN_A_ROW, Head

OPEN = Rules(for_interactive=0, for_newcomers=0, tenant_seconds=float("inf"))  # nothing but fairness


def head(source: str, tenant: str = "default", seconds: float | None = 60, **more: object) -> Head:
    return replace(Head(source=source, tenant=tenant, since=0.0, seconds=seconds), **more)


@dataclass
class Mill:
    """Sources that go on, and places: lets in what may be let in, ends what is told."""

    rules: Rules
    places: int
    sources: dict[str, Iterator[Head]] = field(default_factory=dict)
    now: float = 0.0
    got: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    order: list[Head] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admission = Admission(self.rules)
        self.numbers = count()

    def add(self, heads: Sequence[Head] | Iterator[Head]) -> None:
        lines = iter(heads)
        first = next(lines)
        self.sources[first.source] = lines
        self.admission.offer(first)

    def step(self) -> Head | None:
        free = self.places - len(self.admission.in_flight)
        found = self.admission.next(free=free, now=self.now)
        if found is not None:
            self.admission.admit(found.source, f"job-{next(self.numbers)}")
            self.got[found.tenant] += found.seconds if found.seconds is not None else self.rules.unknown
            self.order.append(found)
            following = next(self.sources[found.source], None)
            if following is not None:
                self.admission.offer(following)
        return found

    def fill(self) -> None:
        while self.step() is not None:
            pass

    @property
    def jobs(self) -> list[str]:
        return sorted(self.admission.in_flight, key=lambda job: int(job.split("-")[1]))

    def end(self, number: int) -> None:
        self.admission.ended(self.jobs[number % len(self.jobs)])


def endless(source: str, tenant: str, lengths: Sequence[float], priority: Priority = "normal") -> Iterator[Head]:
    numbers = count()
    while True:
        yield head(source, tenant, lengths[next(numbers) % len(lengths)], priority=priority)


LENGTHS = st.lists(st.floats(10, 36_000), min_size=1, max_size=5)


@given(st.lists(LENGTHS, min_size=2, max_size=6), st.integers(1, 9), st.randoms(use_true_random=False))
def test_tenants_who_always_wait_get_equal_media_seconds(
    tenants: list[list[float]], places: int, dice: random.Random
) -> None:
    mill = Mill(OPEN, places)
    for number, lengths in enumerate(tenants):
        mill.add(endless(f"collection-{number}", f"t{number}", lengths))
    largest = max(map(max, tenants))
    for _ in range(40):
        while mill.step() is not None:
            got = [mill.got[f"t{number}"] for number in range(len(tenants))]
            assert max(got) - min(got) <= largest * (1 + 1e-9)
        mill.end(dice.randrange(places))


def test_it_is_media_seconds_that_are_fair_and_not_jobs() -> None:
    mill = Mill(OPEN, places=1)
    mill.add(endless("long", "a", [3600]))
    mill.add(endless("short", "b", [36]))
    for _ in range(1010):
        mill.fill()
        mill.end(0)
    jobs = [one.tenant for one in mill.order]
    assert mill.got["a"] == pytest.approx(mill.got["b"], abs=3600)
    assert jobs.count("b") == pytest.approx(100 * jobs.count("a"), abs=100)


@given(st.integers(1, 100), st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_a_tenant_that_comes_late_starves_nobody_and_is_not_starved(before: int, after: int) -> None:
    mill = Mill(OPEN, places=1)
    mill.add(endless("old", "old", [100]))
    for _ in range(before):
        mill.fill()
        mill.end(0)
    mill.fill()
    mill.add(endless("new", "new", [100]))
    seen = len(mill.order)
    for _ in range(after):
        mill.end(0)
        mill.fill()
    since = [one.tenant for one in mill.order[seen:]]
    assert since[0] == "new"
    assert abs(since.count("new") - since.count("old")) <= 2


CLASSES = st.sampled_from(["interactive", "normal", "bulk"])
SOURCES = st.lists(st.tuples(st.integers(0, 3), CLASSES, LENGTHS), min_size=1, max_size=8)


@given(SOURCES, CLASSES, st.integers(1, 20), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_nothing_waits_for_ever(
    sources: list[tuple[int, Priority, list[float]]], priority: Priority, places: int, dice: random.Random
) -> None:
    mill = Mill(Rules.of(places), places)
    for number, (tenant, other, lengths) in enumerate(sources):
        mill.add(endless(f"{number}", f"t{tenant}", [min(3600, max(300, lengths[0]))], other))  # and never tire
    for _ in range(50):
        mill.fill()
        mill.end(dice.randrange(places))
    mill.add([head("finite", "t0", 50, priority=priority, since=-1.0)])
    for _ in range(3_000):  # its tenant and its class may be a largest item of 12 times the others' ahead
        mill.fill()
        if any(one.source == "finite" for one in mill.order[-places:]):
            return
        mill.end(dice.randrange(places))
    pytest.fail("it still waits")


@given(SOURCES, st.integers(1, 70), st.randoms(use_true_random=False))
def test_a_place_stays_empty_only_when_it_is_kept(
    sources: list[tuple[int, Priority, list[float]]], places: int, dice: random.Random
) -> None:
    rules = Rules.of(places)
    mill = Mill(rules, places)
    for number, (tenant, priority, lengths) in enumerate(sources):
        mill.add([head(f"{number}", f"t{tenant}", length, priority=priority) for length in lengths])
    while True:
        mill.fill()
        waiting = sum(len(one[2]) for one in sources) - len(mill.order)
        free = places - len(mill.admission.in_flight)
        if waiting:
            assert free <= rules.for_interactive + rules.for_newcomers
        if not mill.admission.in_flight:
            break
        mill.end(dice.randrange(places))
    assert len(mill.order) == sum(len(lengths) for _, _, lengths in sources), "all were let in, each of them once"


@given(SOURCES, st.integers(2, 20), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_same_gives_the_same(sources: list[tuple[int, Priority, list[float]]], places: int, seed: int) -> None:
    def run() -> list[Head]:
        dice = random.Random(seed)
        mill = Mill(Rules.of(places), places)
        for number, (tenant, priority, lengths) in enumerate(sources):
            mill.add(endless(f"{number}", f"t{tenant}", lengths, priority))
        for _ in range(60):
            mill.fill()
            mill.end(dice.randrange(places))
        return mill.order

    assert run() == run()


@given(st.integers(8, 64), st.randoms(use_true_random=False), st.sampled_from(["bulk", "normal", "interactive"]))
def test_a_short_interactive_job_never_waits_for_an_archive(
    places: int, dice: random.Random, archive: Priority
) -> None:
    mill = Mill(Rules.of(places), places)
    for number in range(5):
        mill.add(endless(f"archive-{number}", f"t{number}", [dice.uniform(601, 36_000)], archive))
    for _ in range(dice.randrange(100)):
        mill.fill()
        mill.end(dice.randrange(places))
    mill.fill()
    mill.add([head("call", f"t{dice.randrange(9)}", 10, priority="interactive")])
    found = mill.step()
    assert found is not None
    assert found.source == "call"


def test_many_interactive_jobs_take_turns_with_the_others_once_their_places_are_taken() -> None:
    mill = Mill(Rules(for_interactive=2, for_newcomers=0), places=8)
    mill.add(endless("talk", "a", [10], "interactive"))
    mill.add(endless("archive", "b", [10], "bulk"))
    mill.fill()
    assert [one.tenant for one in mill.order[:2]] == ["a", "a"]
    assert sorted(one.tenant for one in mill.order) == ["a"] * 4 + ["b"] * 4, "what came before its turn is charged"


def test_a_long_job_gets_no_place_of_the_interactive_ones_whatever_it_is_called() -> None:
    mill = Mill(Rules(for_interactive=1, for_newcomers=0), places=2)
    mill.add(endless("lectures", "a", [3600], "interactive"))
    mill.fill()
    assert len(mill.order) == 1
    mill.add([head("call", "b", 10, priority="interactive")])
    mill.fill()
    assert [one.source for one in mill.order] == ["lectures", "call"]


def test_an_interactive_job_that_turns_out_long_gives_its_claim_to_the_next() -> None:
    mill = Mill(Rules(for_interactive=1, for_newcomers=0), places=3)
    mill.add(endless("archive", "b", [600], "bulk"))
    mill.add([head("unknown", "a", None, priority="interactive")])
    assert mill.step().source == "unknown"  # type: ignore[union-attr]
    mill.admission.known("job-0", 36_000)
    mill.fill()
    assert [one.source for one in mill.order] == ["unknown", "archive"], "one place is kept again"


def test_places_for_newcomers_are_left_to_them() -> None:
    mill = Mill(Rules(for_interactive=0, for_newcomers=2), places=6)
    mill.add(endless("all", "a", [36_000]))
    mill.fill()
    assert len(mill.order) == 4
    for tenant in ("b", "c", "d"):
        mill.add(endless(f"of {tenant}", tenant, [36_000]))
    mill.fill()
    assert [one.tenant for one in mill.order[4:]] == ["b", "c"]


def test_a_tenant_that_waits_for_nothing_any_more_is_no_newcomer() -> None:
    admission = Admission(Rules(for_interactive=0, for_newcomers=2))
    admission.offer(head("one", "a"))
    admission.withdraw("one")
    assert admission.next(free=1, now=0) is None


def test_a_tenant_with_much_in_flight_stands_behind_the_others_and_still_uses_what_nobody_wants() -> None:
    mill = Mill(Rules(for_interactive=0, for_newcomers=0, tenant_seconds=3600), places=10)
    mill.add(endless("long", "a", [36_000]))
    for _ in range(3):
        mill.step()
    assert mill.got["a"] == 3 * 36_000, "nobody else waits"
    mill.add(endless("short", "b", [400]))
    for _ in range(200):
        mill.fill()
        mill.end(-1)
    mill.fill()
    assert {one.tenant for one in mill.order[3:]} == {"b"}
    assert mill.got["b"] > 2 * 36_000, "more than its turn, as what is in flight is not done"
    assert mill.admission.seconds_in_flight("a") == 3 * 36_000
    for job in mill.jobs[:3]:
        mill.admission.ended(job)
    before = mill.got["b"]
    while mill.order[-1].tenant == "b":
        mill.fill()
        mill.end(0)
    assert mill.got["b"] - before <= 36_000 + 400 * 10, "with nothing in flight it takes its turn again"


def test_a_tenant_that_stood_aside_has_no_claim_to_what_the_others_got_meanwhile() -> None:
    mill = Mill(Rules(for_interactive=0, for_newcomers=0, tenant_seconds=3600), places=2)
    mill.add(iter([head("of a", "a", 36_000), *[head("of a", "a", 60)] * 1000]))
    mill.step()
    mill.add(endless("of b", "b", [60]))
    for _ in range(2000):
        mill.fill()
        mill.end(1)
    mill.admission.ended("job-0")
    seen = len(mill.order)
    for _ in range(100):
        mill.fill()
        mill.end(0)
    assert [one.tenant for one in mill.order[seen:]].count("b") == pytest.approx(50, abs=2)


def test_within_a_tenant_classes_share_by_weight() -> None:
    mill = Mill(OPEN, places=1)
    for priority in ("bulk", "normal", "interactive"):
        mill.add(endless(priority, "a", [50], priority))
    for _ in range(210):
        mill.fill()
        mill.end(0)
    sources = [one.source for one in mill.order]
    assert [sources.count(one) for one in ("interactive", "normal", "bulk")] == [160, 40, 10]
    assert sources[0] == "interactive"


def test_within_a_class_the_oldest_goes_first() -> None:
    mill = Mill(OPEN, places=9)
    for source, since in (("late", 30.0), ("early", 10.0), ("middle", 20.0)):
        mill.add([head(source, since=since)])
    mill.fill()
    assert [one.source for one in mill.order] == ["early", "middle", "late"]


def test_a_deadline_at_risk_overtakes_one_that_is_not() -> None:
    rules = replace(OPEN, pace=2.0, margin=100.0)
    mill = Mill(rules, places=9)
    mill.add([head("old", since=1.0)])
    mill.add([head("later", since=2.0, seconds=1000, deadline=2000.0)])  # at risk from 2000 - 100 - 500
    mill.add([head("sooner", since=3.0, seconds=1000, deadline=1900.0)])
    mill.add([head("large", since=4.0, seconds=1000, behind=9000.0, deadline=5900.0)])  # at risk from 800
    assert mill.admission.next(free=1, now=799.0).source == "old"  # type: ignore[union-attr]
    assert mill.admission.next(free=1, now=800.0).source == "large"  # type: ignore[union-attr]
    mill.now = 1400.0
    mill.fill()
    assert [one.source for one in mill.order] == ["sooner", "later", "large", "old"]


def test_a_deadline_goes_with_whoever_had_it() -> None:
    mill = Mill(OPEN, places=9)
    mill.add([head("first", since=1.0, deadline=5000.0)])
    mill.add([head("second", since=2.0, deadline=9000.0)])
    assert mill.step().source == "first"  # type: ignore[union-attr]
    mill.now = 6000.0
    assert mill.step().source == "second"  # type: ignore[union-attr]


def test_a_deadline_that_has_passed_counts_no_more() -> None:
    mill = Mill(OPEN, places=9, now=100.0)
    mill.add([head("old", since=1.0)])
    mill.add([head("missed", since=2.0, deadline=99.0)])
    mill.add([head("can be kept", since=3.0, deadline=101.0)])
    mill.fill()
    assert [one.source for one in mill.order] == ["can be kept", "old", "missed"]


@pytest.mark.parametrize("kept", [0, 100])
def test_deadlines_do_not_starve_who_has_none(kept: int) -> None:
    mill = Mill(replace(OPEN, for_interactive=kept), places=100)
    mill.add(iter([head("urgent", since=5.0, deadline=10.0, priority="interactive")] * 50))
    mill.add(iter([head("patient", since=1.0, priority="interactive")] * 50))
    for _ in range(40):
        mill.step()
    assert [one.source for one in mill.order].count("patient") == 40 // (DEADLINES_IN_A_ROW + 1)


def test_every_fourth_is_the_oldest_even_where_all_have_deadlines() -> None:
    mill = Mill(OPEN, places=12)
    for number in range(12):
        mill.add([head(f"{number}", since=float(number), deadline=200.0 - number)])
    mill.fill()
    assert [one.source for one in mill.order[:8]] == ["11", "10", "9", "0", "8", "7", "6", "1"]


def test_the_real_length_is_charged_once_it_is_known() -> None:
    mill = Mill(OPEN, places=2)
    mill.add(endless("unknown", "a", [1]))
    mill.admission.offer(head("unknown", "a", None))
    mill.step()
    mill.admission.known("job-0", 36_000)
    mill.add(endless("of b", "b", [600]))
    for _ in range(50):
        mill.fill()
        mill.end(1)
    assert {one.tenant for one in mill.order[1:]} == {"b"}, "300 were charged, and now the difference"


def test_a_job_that_came_to_nothing_is_given_back() -> None:
    mill = Mill(OPEN, places=1)
    mill.add(endless("of a", "a", [600]))
    mill.add(endless("of b", "b", [60]))
    mill.step()
    mill.admission.ended("job-0", seconds=0.0)
    for _ in range(2):
        mill.fill()
        mill.end(0)
    assert [one.tenant for one in mill.order] == ["a", "b", "a"], "else b had ten turns first"


def test_what_was_lost_is_built_anew_with_what_is_in_flight() -> None:
    admission = Admission(OPEN)
    admission.running("ten-hours", "a", "bulk", 36_000)
    admission.running("ten-hours", "a", "bulk", 36_000)
    admission.running("unknown", "b", "bulk")
    assert admission.seconds_in_flight("a") == 36_000
    assert admission.seconds_in_flight("b") == OPEN.unknown
    admission.offer(head("of a", "a"))
    admission.offer(head("of b", "b"))
    assert admission.next(free=1, now=0).tenant == "b"  # type: ignore[union-attr]
    admission.keep({"unknown"})
    assert admission.in_flight == {"unknown"}
    assert admission.seconds_in_flight("a") == 0
    admission.ended("never heard of")
    admission.known("never heard of", 5)


def test_nothing_is_remembered_of_a_mill_that_has_come_to_rest() -> None:
    admission = Admission(OPEN)
    for number in range(50):
        admission.offer(head(f"{number}", f"t{number}"))
        admission.admit(f"{number}", f"job-{number}")
    admission.keep(set())
    admission.offer(head("again", "t3"))
    admission.offer(head("first time", "x"))
    assert admission.next(free=1, now=0).tenant == "t3"  # type: ignore[union-attr]
    fresh = {name: value for name, value in vars(Admission(OPEN)).items() if isinstance(value, dict)}
    admission.withdraw("again")
    admission.withdraw("first time")
    admission.withdraw("first time")
    assert {name: value for name, value in vars(admission).items() if isinstance(value, dict)} == fresh


def test_nobody_is_let_in_without_a_place_or_without_anybody_who_waits() -> None:
    admission = Admission(Rules.of(64))
    assert admission.next(free=64, now=0) is None
    admission.offer(head("one", priority="interactive"))
    assert admission.next(free=0, now=0) is None
    assert admission.next(free=-3, now=0) is None
    with pytest.raises(KeyError):
        admission.admit("another", "job")


def test_a_head_that_is_replaced_waits_once() -> None:
    admission = Admission(OPEN)
    admission.offer(head("one", "a", priority="interactive"))
    admission.offer(head("one", "b", 9000, priority="bulk"))
    admission.admit("one", "job")
    assert admission.next(free=9, now=0) is None
    assert admission.seconds_in_flight("b") == 9000


def test_ten_thousand_sources_are_no_load() -> None:
    """Outdated entries do not pile up in the rankings, whoever comes and goes."""
    admission = Admission(Rules.of(64))
    for number in range(10_000):
        admission.offer(head(f"{number}", f"t{number % 1_000}", since=float(number)))
    for number in range(200):
        found = admission.next(free=40, now=0)
        assert found is not None
        admission.admit(found.source, f"job-{number}")
        admission.ended(f"job-{number}")
    assert len(admission._newcomers._heap) <= 2 * 1_000 + 16


def test_other_media_counts_as_so_much_sound() -> None:
    assert media_seconds(sound=3600) == 3600
    assert media_seconds(pictures=2, frames=3, characters=8000) == pytest.approx(
        2 * PICTURE_SECONDS + 3 * FRAME_SECONDS + 8000 * CHARACTER_SECONDS
    )


def test_jobs_of_an_engine_that_nobody_runs_take_no_places_from_others() -> None:
    """A change of model with a backlog: what the old one was to do holds up nothing, and goes on when it is back."""
    mill = Mill(Rules.of(16), places=16)
    mill.add(head("old", "a", engine="x") for _ in range(20))
    mill.fill()
    assert len(mill.order) == 12, "while nobody runs any engine yet, all are let in"
    mill.add(head("new", "a", engine="y") for _ in range(3))
    assert mill.step() is None
    assert mill.admission.engines == {"x", "y"}

    mill.admission.serve({"y"})
    assert mill.admission.num_stranded == 12
    assert mill.admission.seconds_in_flight("a") == 0
    mill.places += mill.admission.num_stranded  # what a steward makes of it
    mill.fill()
    assert [one.source for one in mill.order[12:]] == ["new"] * 3, "and nothing more for the old one"

    mill.admission.serve({"x"})
    assert mill.admission.num_stranded == 3
    assert mill.admission.seconds_in_flight("a") == 12 * 60
    mill.places += 3 - 12
    assert mill.step() is None, "those in flight count again"
    for job in list(mill.admission.in_flight):
        mill.admission.ended(job)
    mill.places = 16
    mill.fill()
    assert [one.source for one in mill.order[15:]] == ["old"] * 8
    assert mill.admission.seconds_in_flight("a") == 8 * 60


def test_a_tenant_whose_jobs_are_stranded_is_no_reason_to_let_it_wait() -> None:
    """They count neither as urgent ones in flight nor against the share of their tenant."""
    admission = Admission(Rules(for_interactive=1, for_newcomers=1, tenant_seconds=100))
    admission.running("a-job", "a", "interactive", 500, "x")
    admission.offer(head("normal", "a", engine="y"))
    assert admission.next(free=2, now=0) is not None
    assert admission.next(free=1, now=0) is None, "the place is kept for those who have nothing in flight"
    admission.serve({"y"})
    found = admission.next(free=2, now=0)
    assert found is not None
    assert found.source == "normal"
    admission.ended("a-job")
    assert admission.seconds_in_flight("a") == 0
