"""Shares by cost, and the ranking under them."""

import random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.fairness import WEIGHTS, FairShare, Ranking, TenantShares
from pipeline.job import Priority

COSTS = st.floats(0.01, 1000)


@given(st.lists(st.tuples(st.integers(0, 6), st.one_of(st.none(), st.integers(0, 9))), max_size=200))
def test_a_ranking_gives_the_least_whatever_was_changed_and_removed(steps: list[tuple[int, int | None]]) -> None:
    ranking: Ranking[int] = Ranking()
    plain: dict[int, tuple[int, int]] = {}
    for number, (item, rank) in enumerate(steps):
        if rank is None:
            ranking.remove(item)
            plain.pop(item, None)
        else:
            ranking.put(item, rank)
            if plain.get(item, (None, 0))[0] != rank:
                plain[item] = (rank, number)
        assert ranking.first() == min(plain, key=lambda one: plain[one], default=None)
        assert len(ranking) == len(plain)
        assert (item in ranking) == (item in plain)


def test_a_ranking_does_not_keep_what_is_outdated() -> None:
    ranking: Ranking[str] = Ranking()
    for number in range(10_000):
        ranking.put("same", number)
    assert len(ranking._heap) < 50


@given(st.lists(st.lists(COSTS, min_size=1), min_size=2, max_size=6), st.integers(1, 300))
def test_shares_of_those_who_always_wait_differ_by_one_largest_item(parties: list[list[float]], turns: int) -> None:
    share: FairShare[int] = FairShare()
    got = [0.0] * len(parties)
    for party in range(len(parties)):
        share.enter(party)
    for turn in range(turns):
        party = share.first()
        assert party is not None
        cost = parties[party][turn % len(parties[party])]
        got[party] += cost
        share.charge(party, cost)
        assert max(got) - min(got) <= max(map(max, parties)) * (1 + 1e-9)


@given(st.lists(COSTS, min_size=1, max_size=40), st.lists(COSTS, min_size=1, max_size=40))
def test_who_comes_later_is_next_and_claims_nothing_for_the_time_before(
    before: list[float], after: list[float]
) -> None:
    share: FairShare[str] = FairShare()
    share.enter("old")
    for cost in before:
        share.charge("old", cost)
    share.enter("new")
    assert share.first() == "new"
    got = {"old": 0.0, "new": 0.0}
    for cost in after:
        party = share.first()
        assert party is not None
        got[party] += cost
        share.charge(party, cost)
        assert abs(got["new"] - got["old"]) <= 2 * max(*before, *after), "the bound of the paper: both largest items"


def test_coming_and_going_gains_nothing() -> None:
    share: FairShare[str] = FairShare()
    share.enter("stays")
    got = {"stays": 0.0, "hops": 0.0}
    for _ in range(1000):
        share.enter("hops")
        party = share.first()
        assert party is not None
        got[party] += 10
        share.charge(party, 10)
        share.leave("hops")
    assert abs(got["stays"] - got["hops"]) <= 10


def test_who_is_away_is_forgotten_once_nothing_would_be_held_against_it() -> None:
    share: FairShare[int] = FairShare()
    share.enter(0)
    for party in range(1, 500):
        share.enter(party)
        share.charge(party, 5)
        share.leave(party)
        share.charge(0, 1)
    assert len(share) < 20


def test_a_correction_is_charged_in_full_and_given_back_to_the_last_coming_only() -> None:
    share: FairShare[str] = FairShare()
    for party in ("a", "b"):
        share.enter(party)
    share.charge("a", 300)
    share.correct("a", -290)
    share.charge("b", 50)
    assert share.first() == "a", "ten were used of what was charged"
    share.correct("a", 1000)
    assert share.first() == "b"
    share.leave("a")
    for _ in range(100):
        share.charge("b", 50)
    share.enter("a")
    share.correct("a", -4000)
    assert share.rank("a") == (False, share.now)


def test_what_is_given_back_is_kept_by_a_party_that_goes_on_waiting() -> None:
    share: FairShare[str] = FairShare()
    for party in ("a", "b"):
        share.enter(party)
    share.charge("a", 300)
    for _ in range(5):
        share.charge("b", 50)
    share.correct("a", -290)
    share.enter("a")
    assert share.rank("a") == (False, 10.0)
    assert share.now > 10


def test_a_correction_counts_between_the_classes_of_a_tenant_by_their_weight() -> None:
    shares = TenantShares()
    for priority in ("normal", "bulk"):
        shares.enter("a", priority)
    shares.charge("a", "normal", 40)
    assert shares.class_rank("a", "normal") > shares.class_rank("a", "bulk")
    shares.correct("a", "normal", -40)
    assert shares.class_rank("a", "normal") < shares.class_rank("a", "bulk")
    shares.correct("a", "normal", 40)
    assert shares.class_rank("a", "normal")[0] == 10


def test_who_stands_aside_goes_when_nobody_else_waits_and_has_no_claim_when_it_comes_back() -> None:
    share: FairShare[str] = FairShare()
    share.enter("heavy", aside=True)
    assert share.first() == "heavy"
    share.enter("light")
    for _ in range(10):
        assert share.first() == "light"
        share.charge("light", 7)
    share.enter("heavy")
    assert share.rank("heavy") == (False, share.now)


@given(st.lists(st.floats(1, 50), min_size=400, max_size=400), st.randoms(use_true_random=False))
def test_the_classes_of_a_tenant_share_by_weight(costs: list[float], dice: random.Random) -> None:
    shares = TenantShares()
    waiting: list[Priority] = list(WEIGHTS)
    dice.shuffle(waiting)
    for priority in waiting:
        shares.enter("a", priority)
    got: dict[Priority, float] = dict.fromkeys(WEIGHTS, 0.0)
    for cost in costs:
        chosen = min(waiting, key=lambda priority: shares.class_rank("a", priority))
        got[chosen] += cost
        shares.charge("a", chosen, cost)
    levels = [got[priority] / WEIGHTS[priority] for priority in WEIGHTS]
    assert max(levels) - min(levels) <= max(costs)
    assert got["interactive"] > got["normal"] > got["bulk"] > 0


def test_of_classes_that_stand_alike_the_urgent_one_goes_first() -> None:
    shares = TenantShares()
    for priority in ("bulk", "interactive", "normal"):
        shares.enter("a", priority)
    assert sorted(reversed(WEIGHTS), key=lambda priority: shares.class_rank("a", priority)) == list(WEIGHTS)


def test_a_class_buys_no_share_from_other_tenants() -> None:
    shares = TenantShares()
    shares.enter("loud", "interactive")
    shares.enter("quiet", "bulk")
    got = {"loud": 0, "quiet": 0}
    for _ in range(100):
        tenant = shares.first()
        assert tenant is not None
        got[tenant] += 1
        shares.charge(tenant, "interactive" if tenant == "loud" else "bulk", 1)
    assert got == {"loud": 50, "quiet": 50}


def test_a_tenant_leaves_with_its_last_class() -> None:
    shares = TenantShares()
    shares.enter("a", "bulk")
    shares.enter("a", "normal")
    shares.leave("a", "bulk")
    assert shares.first() == "a"
    shares.leave("a", "normal")
    shares.leave("a", "normal")
    assert shares.first() is None
