"""When servers and messages are tried again."""

import random

import pytest

from pipeline.webhooks import patience
from pipeline.webhooks.patience import FIRST_REST, LONGEST_REST, PAUSES, SPREAD, Patience


class Even(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@pytest.fixture
def calm() -> Patience:
    return Patience(Even())


def rests(calm: Patience, times: int) -> list[float]:
    """How long a server is left alone, each time that it is away again at once."""
    now, found = 0.0, []
    for _ in range(times):
        calm.is_away("o", now)
        began = now
        while not calm.may_ask("o", now):
            now += 1
        found.append(now - began)
    return found


def test_a_server_rests_longer_each_time_up_to_a_limit(calm: Patience) -> None:
    assert rests(calm, 9) == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert (FIRST_REST, LONGEST_REST) == (5, 600)


def test_several_messages_on_their_way_count_once(calm: Patience) -> None:
    for _ in range(8):
        calm.is_away("o", 0.0)
    assert not calm.may_ask("o", 4.9)
    assert calm.may_ask("o", 5.0)


def test_a_server_that_is_back_is_as_good_as_new_and_others_never_rested(calm: Patience) -> None:
    rests(calm, 4)
    assert calm.may_ask("other", 0.0)
    calm.taken("o", "m")
    assert rests(calm, 1) == [5]


def test_a_message_that_is_not_taken_waits_as_the_standard_recommends_and_holds_up_no_other(calm: Patience) -> None:
    now, found = 0.0, []
    for _ in range(len(PAUSES) + 1):
        calm.not_taken("o", "m", now)
        assert calm.may_send("n", now)
        began = now
        while not calm.may_send("m", now):
            now += 1
        found.append(now - began)
    assert found == [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000]


def test_a_message_that_was_taken_is_forgotten(calm: Patience) -> None:
    calm.not_taken("o", "m", 0.0)
    calm.taken("o", "m")
    assert calm.may_send("m", 0.0)


def test_only_the_latest_are_remembered(calm: Patience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "MAX_REMEMBERED", 3)
    for number in range(5):
        calm.not_taken("o", str(number), 0.0)
    assert [calm.may_send(str(number), 0.0) for number in range(5)] == [True, True, False, False, False]


def test_those_who_were_turned_away_together_come_back_apart() -> None:
    spread = Patience(random.Random(1))
    untils = set()
    for number in range(20):
        spread.not_taken("o", str(number), 0.0)
        now = 0.0
        while not spread.may_send(str(number), now):
            now += 0.01
        untils.add(round(now, 2))
    assert len(untils) > 10
    assert min(untils) >= 5 * (1 - SPREAD)
    assert max(untils) <= 5 * (1 + SPREAD) + 0.01


def test_a_server_that_is_away_for_ever_is_asked_for_ever(calm: Patience) -> None:
    now = 0.0
    for _ in range(3_000):
        calm.is_away("o", now)
        now += LONGEST_REST
        assert calm.may_ask("o", now)


def test_a_server_that_takes_nothing_at_all_is_left_alone_as_if_it_were_away(calm: Patience) -> None:
    for number in range(patience.MAX_REFUSALS - 1):
        calm.not_taken("o", str(number), 0.0)
    assert calm.may_ask("o", 0.0)
    calm.not_taken("o", "one more", 0.0)
    assert not calm.may_ask("o", 4.9)
    calm.not_taken("o", "and one more", 5.0)
    assert not calm.may_ask("o", 14.9)
    calm.taken("o", "a good one")
    assert calm.may_ask("o", 14.9)
    calm.not_taken("o", "bad again", 14.9)
    assert calm.may_ask("o", 14.9)


def test_a_server_that_was_away_and_refuses_a_message_is_there(calm: Patience) -> None:
    rests(calm, 5)
    calm.not_taken("o", "m", 1_000.0)
    assert calm.may_ask("o", 1_000.0)
    assert rests(calm, 1) == [5]


def test_a_bucket_that_does_not_answer_is_no_refusal(calm: Patience) -> None:
    for _ in range(4):
        calm.cannot_be_made("m", 0.0)
    assert not calm.may_send("m", FIRST_REST - 1)
    assert calm.may_send("m", FIRST_REST), "several at once count once"
    calm.not_taken("o", "m", 100.0)
    assert not calm.may_send("m", 100.0)
    assert calm.may_send("m", 100.0 + PAUSES[0])


def test_a_bucket_that_does_not_answer_is_asked_less_and_less(calm: Patience) -> None:
    calm.cannot_be_made("m", 0.0)
    calm.cannot_be_made("m", 10.0)
    assert not calm.may_send("m", 19.0)
    calm.taken("o", "m")
    assert calm.may_send("m", 19.0)
