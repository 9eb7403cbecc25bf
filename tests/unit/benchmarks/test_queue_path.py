"""How queue-path judges texts, tells the looks of the clock from what jobs take, and compares fleets."""

from collections import Counter

import pytest

from tests.benchmarks.queue_path import ASKED, Cost, Looks, growth_figures, heard, own_calls


def cost(*, segments: int = 0, seconds: float = 10.0, busy: float = 0.0, **requests: int) -> Cost:
    return Cost(100, segments, seconds, Counter(requests), Counter(), {}, busy)


def test_an_echo_is_all_words_of_a_document_in_order() -> None:
    assert heard([f"{ASKED}\n\none two", f"{ASKED}\n\nthree\n"]) == ["one", "two", "three"]
    assert heard([f"{ASKED}\n\nthree", f"{ASKED}\n\none two"]) == ["three", "one", "two"]
    assert heard([f"{ASKED}\n\none two", "three"]) is None  # nobody asked about it
    assert heard([]) == []


def test_what_the_clock_asks_is_taken_off_as_often_as_there_were_looks() -> None:
    by_clock = Looks(Counter(LIST=20, GET=20), seconds=10.0)
    assert by_clock.per_second == 4.0
    assert own_calls(cost(PUT=400, GET=340, DELETE=100, LIST=20), by_clock) == 8.2  # 860, less 40 in 10 s
    # A steward that was too busy to look more than five times.
    assert own_calls(cost(PUT=400, GET=305, DELETE=100, LIST=5), by_clock) == 8.0


def test_listings_that_jobs_make_are_not_taken_for_looks() -> None:
    by_clock = Looks(Counter(LIST=20, GET=20), seconds=10.0)
    assert own_calls(cost(PUT=400, GET=320, DELETE=100, LIST=120), by_clock) == 9.0


def test_a_fleet_is_compared_with_its_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    fleets = {1: cost(segments=400, busy=5.0), 4: cost(segments=1200, busy=20.0)}
    assert growth_figures(fleets) == {
        "segments_per_second_1_worker": 40.0,
        "cores_busy_1_worker": 0.25,
        "segments_per_second_4_workers": 120.0,
        "growth_4_workers": 3.0,
        "cores_busy_4_workers": 1.0,
    }
