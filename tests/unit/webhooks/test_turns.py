"""Which message goes next, among servers that are quick, slow or silent: decisions alone, by a clock of their own."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

import pytest

from pipeline.webhooks.patience import Patience
from pipeline.webhooks.turns import (
    COMMON_PLACES,
    FRESH_SECONDS,
    LISTED,
    MAX_SLOW_WINDOW,
    MAX_WINDOW,
    PLACES,
    QUICK_SECONDS,
    Tried,
    Turns,
    network,
)

#: How often what is due is looked for.
INTERVAL = 2.0
#: How long a message to a silent server takes.
SILENCE = 20.0
#: How a server is: its address, what comes of a message, and after how long.
Server = tuple[str, Tried]
QUICK = Tried("taken", 0.05)
SLOW = Tried("taken", 19.0)
SILENT = Tried("silent", SILENCE)


class Mill:
    """Turns, servers, and the time that passes between what happens."""

    def __init__(self, behave: Callable[[str], Server]) -> None:
        self.turns = Turns(Patience(random.Random(1)))
        self.behave = behave
        self.owed: dict[str, list[str]] = {}
        self.now = 0.0
        self.told: list[tuple[float, str]] = []
        self.most: Counter[str] = Counter()  #: on their way at once, by server and by address
        self._under_way: list[tuple[float, int, str, str]] = []
        self._number = 0

    def owe(self, server: str, number: int = 1) -> None:
        """Messages named after their server."""
        found = self.owed.setdefault(server, [])
        found.extend(f"{server}/m{len(found) + one:04d}.x" for one in range(number))

    def run(self, seconds: float) -> None:
        end, look = self.now + seconds, self.now
        while self.now < end:
            if self._under_way and self._under_way[0][0] < look:
                self.now, _, key, server = heappop(self._under_way)
                self._ended(key, server)
            else:
                self.now, look = look, look + INTERVAL
                self._look()
            self._begin()

    def times(self, server: str) -> list[float]:
        return [at for at, name in self.told if name == server]

    def _look(self) -> None:
        for server, after in self.turns.to_list(sorted(self.owed), self.now):
            page = [key for key in sorted(self.owed[server]) if key > after][:1_000]
            self.turns.offer(server, page, page[-1] if len(page) == 1_000 else "", self.now)

    def _begin(self) -> None:
        while (key := self.turns.begin(self.now)) is not None:
            server = key.split("/")[0]
            address, tried = self.behave(server)
            if not self.turns.may_connect(key, address, self.now):
                self.turns.ended(key, key, Tried("postponed"), self.now)
                continue
            self._number += 1
            heappush(self._under_way, (self.now + tried.seconds, self._number, key, server))
            kinds = Counter(name for *_, name in self._under_way)
            self.most = self.most | kinds | Counter(self.behave(name)[0] for *_, name in self._under_way)

    def _ended(self, key: str, server: str) -> None:
        tried = self.behave(server)[1]
        self.turns.ended(key, key, tried, self.now)
        if tried.outcome == "taken":
            self.owed[server].remove(key)
            self.told.append((self.now, server))


def mixed(slow: Tried, address: Callable[[str], str] = lambda name: f"{name} 443") -> Callable[[str], Server]:
    """`good` is quick; all others are like that, at an address of their own."""
    return lambda name: ("192.0.2.1 443", QUICK) if name == "good" else (address(name), slow)


def test_a_quick_server_does_not_wait_for_a_slow_one() -> None:
    mill = Mill(mixed(SLOW))
    mill.owe("good", 400)
    mill.owe("slow", 400)
    mill.run(40)
    assert len(mill.times("good")) == 400
    assert mill.times("good")[-1] < 10
    assert mill.most["slow"] == MAX_SLOW_WINDOW
    assert mill.most["good"] == MAX_WINDOW


def test_more_goes_to_a_server_at_once_with_each_message_that_it_takes() -> None:
    mill = Mill(mixed(SLOW))
    mill.owe("good", 400)
    mill.turns.to_list(["good"], 0)
    mill._look()
    at_once = []
    for _ in range(MAX_WINDOW + 2):
        keys = [key for key in iter(lambda: mill.turns.begin(0), None) if mill.turns.may_connect(key, "a", 0)]
        at_once.append(len(keys))
        for number, key in enumerate(keys):
            mill.turns.ended(key, key, QUICK if number == 0 else Tried("nothing"), 0)
    assert at_once == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]


@pytest.mark.parametrize("slow", [SLOW, SILENT], ids=["slow", "silent"])
def test_any_number_of_slow_or_silent_servers_leaves_places_for_a_quick_one(slow: Tried) -> None:
    mill = Mill(mixed(slow))
    mill.owe("good", 1)
    mill.run(1)
    for number in range(500):
        mill.owe(f"other{number:03d}")
    mill.run(INTERVAL)
    mill.owe("good", 100)
    asked = mill.now
    mill.run(10)
    assert len(mill.times("good")) == 101
    assert mill.times("good")[-1] - asked < 2 * INTERVAL


@pytest.mark.parametrize("name", ["good", "aaa", "zzz"])
def test_a_new_server_does_not_wait_for_many_silent_names_of_one_address(name: str) -> None:
    mill = Mill(lambda server: ("192.0.2.1 443", QUICK) if server == name else ("192.0.2.2 443", SILENT))
    for number in range(600):
        mill.owe(f"n{number:04d}")
    mill.run(60)
    mill.owe(name)
    asked = mill.now
    mill.run(120)
    assert mill.times(name)
    assert mill.times(name)[0] - asked < 600 / LISTED * INTERVAL + 1


def test_a_new_server_among_silent_ones_of_as_many_addresses_has_its_turn_when_each_had_one() -> None:
    mill = Mill(mixed(SILENT))
    for number in range(400):
        mill.owe(f"a{number:03d}")
        mill.owe(f"z{number:03d}")
    mill.owe("good")
    mill.run(800 * SILENCE / COMMON_PLACES + SILENCE)
    assert len(mill.times("good")) == 1


def test_an_address_that_is_silent_is_left_alone_but_for_its_quick_servers() -> None:
    mill = Mill(lambda name: ("a 443", QUICK if name == "good" else SILENT))
    mill.owe("good")
    mill.run(4)
    for number in range(300):
        mill.owe(f"bad{number:03d}")
    for _ in range(30):
        mill.owe("good")
        mill.run(SILENCE)
    assert len(mill.times("good")) == 31
    assert mill.most["a 443"] <= MAX_SLOW_WINDOW + 1
    tried = [server for server in mill.owed if mill.most[server] and server != "good"]
    assert 5 <= len(tried) <= 600 / SILENCE + 20


def test_a_server_that_becomes_slow_gives_its_place_to_others() -> None:
    tried = {"a": QUICK}
    mill = Mill(lambda name: (f"{name} 443", tried.get(name, QUICK)))
    for number in range(100):
        mill.owe(f"s{number:02d}", 2)
    mill.run(10)
    for number in range(100):
        mill.owe(f"s{number:02d}", 20)
        tried[f"s{number:02d}"] = SLOW
    mill.run(SLOW.seconds + 2 * INTERVAL)
    mill.owe("b")
    asked = mill.now
    mill.run(SLOW.seconds + 2 * INTERVAL)
    assert mill.turns.num_under_way <= PLACES
    assert sum(held.is_common for held in mill.turns._under_way.values()) <= COMMON_PLACES
    mill.run(100 * SLOW.seconds / COMMON_PLACES)
    assert mill.times("b")[0] - asked < 100 * SLOW.seconds / COMMON_PLACES + SLOW.seconds


def test_never_more_than_there_are_places_for() -> None:
    mill = Mill(mixed(Tried("taken", QUICK_SECONDS)))
    for number in range(100):
        mill.owe(f"s{number:02d}", 50)
    for _ in range(50):
        mill.run(1)
        assert mill.turns.num_under_way <= PLACES
    assert mill.turns.num_under_way == PLACES, "servers that are quick enough have all of them"


def offered(turns: Turns, keys: Iterable[str], now: float, behind: str = "") -> None:
    turns.offer("s", keys, behind, now)


def test_what_was_found_a_while_ago_is_looked_for_anew_from_where_it_was_left() -> None:
    turns = Turns(Patience(random.Random(1)))
    offered(turns, ["s/a.x", "s/b.x", "s/c.x"], 0.0, "s/c.x")
    assert turns.begin(0.0) == "s/a.x"
    assert turns.to_list(["s"], 1.0) == []
    turns.ended("s/a.x", "s/a.x", QUICK, 1.0)
    assert turns.begin(FRESH_SECONDS + 1) is None
    assert turns.to_list(["s"], FRESH_SECONDS + 1) == [("s", "s/a.x")]


def test_the_next_list_begins_behind_a_whole_page_and_at_the_start_after_the_last() -> None:
    turns = Turns(Patience(random.Random(1)))
    offered(turns, ["s/a.x"], 0.0, "s/q.x")
    turns.begin(0.0)
    turns.ended("s/a.x", "s/a.x", QUICK, 0.0)
    assert turns.to_list(["s"], 0.0) == [("s", "s/q.x")]
    offered(turns, [], 0.0, "s/z.x")
    assert turns.to_list(["s"], 0.0) == [("s", "s/z.x")]
    offered(turns, [], 0.0)
    assert turns.to_list(["s"], 0.0) == [("s", "")]


def test_folders_are_listed_in_turn_and_those_of_quick_servers_beside_them() -> None:
    turns = Turns(Patience(random.Random(1)))
    turns.offer("quick", ["quick/a.x"], "", 0.0)
    turns.begin(0.0)
    turns.ended("quick/a.x", "quick/a.x", QUICK, 0.0)
    names = ["quick", *(f"{number:04d}" for number in range(3 * LISTED))]
    seen: Counter[str] = Counter()
    for number in range(3):
        for name, _ in turns.to_list(names, 1.0 + number):
            seen[name] += 1
            turns.offer(name, (), "", 1.0 + number)
    assert seen.pop("quick") == 3
    assert set(seen.values()) == {1}
    assert len(seen) == 3 * LISTED


def test_a_message_that_is_on_its_way_is_not_taken_up_under_its_own_key() -> None:
    turns = Turns(Patience(random.Random(1)))
    offered(turns, ["s/a.x"], 0.0)
    turns.begin(0.0)
    offered(turns, ["s/a.x.own", "s/b.x"], 0.0)
    turns.ended("s/a.x", "s/a.x.own", QUICK, 0.0)
    assert turns.begin(0.0) == "s/b.x"
    assert turns.begin(0.0) is None


def test_who_is_behind_an_address() -> None:
    assert network("192.0.2.1", 443) != network("192.0.2.2", 443)
    assert network("192.0.2.1", 8080) != network("192.0.2.1", 8081)
    assert network("2001:db8:1:2::3", 443) == network("2001:db8:1:ffff::1", 443)
    assert network("2001:db8:1::", 443) != network("2001:db8:2::", 443)
    assert network("fe80::1%eth0", 80) == network("fe80::2", 80)


def test_a_slow_server_is_sent_two_messages_at_once_wherever_it_is() -> None:
    turns = Turns(Patience(random.Random(1)))
    offered(turns, [f"s/{number}.x" for number in range(9)], 0.0)
    for number in range(4):
        key = turns.begin(0.0)
        assert key is not None
        assert turns.may_connect(key, f"{number} 443", 0.0)
        turns.ended(key, key, SLOW, 0.0)
    assert len(list(iter(lambda: turns.begin(0.0), None))) == MAX_SLOW_WINDOW


def test_whoever_has_least_on_its_way_and_waited_longest_comes_next() -> None:
    turns = Turns(Patience(random.Random(1)))
    for name in ("a", "b", "c"):
        turns.offer(name, [f"{name}/{number}.x" for number in range(3)], "", 0.0)
    begun = []
    for now in range(6):
        key = turns.begin(float(now))
        assert key is not None
        begun.append(key[0])
        turns.ended(key, key, QUICK, float(now))
    assert begun == ["a", "b", "c", "a", "b", "c"]
