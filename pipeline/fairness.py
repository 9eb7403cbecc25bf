"""Fair shares by what things cost, not by how many there are: start-time fair queueing. Pure.

The method is that of P. Goyal, H. M. Vin, H. Cheng, "Start-time Fair Queuing" (SIGCOMM 1996), on two levels: tenants
share alike, and what falls to a tenant is shared among its classes by weight. Each party has a start tag, the virtual
time at which its next item begins; the least tag goes next, and an item moves its party's tag on by its cost over the
party's weight. Parties that always wait get shares that differ by one largest item at most. Who comes (back) starts at
the current virtual time: it owes nothing for the time when it was away, and is owed nothing for it.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Generic, TypeVar

from pipeline.job import Priority

Item = TypeVar("Item")
Party = TypeVar("Party")

#: The classes, the most urgent first, and how a tenant's share is divided while all of them wait.
WEIGHTS: dict[Priority, float] = {"interactive": 16.0, "normal": 4.0, "bulk": 1.0}
URGENCY: dict[Priority, int] = {priority: number for number, priority in enumerate(WEIGHTS)}


class Ranking(Generic[Item]):
    """Items by a rank that may change; of equal ranks, the one that got it first. O(log n), amortized."""

    def __init__(self) -> None:
        self._entries: dict[Item, tuple[Any, int]] = {}
        self._heap: list[tuple[Any, int, Item]] = []  # holds outdated entries, too
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item: Item) -> bool:
        return item in self._entries

    def __iter__(self) -> Iterator[Item]:
        return iter(self._entries)

    def put(self, item: Item, rank: Any) -> None:
        """Add an item, or change its rank. Ranks of one ranking must compare with each other."""
        known = self._entries.get(item)
        if known is not None and known[0] == rank:
            return
        entry = (rank, next(self._numbers))
        self._entries[item] = entry
        heappush(self._heap, (*entry, item))
        if len(self._heap) > 2 * len(self._entries) + 16:
            self._heap = [(*entry, item) for item, entry in self._entries.items()]
            heapify(self._heap)

    def remove(self, item: Item) -> None:
        """Take an item out; one that is not in is no error."""
        self._entries.pop(item, None)

    def first(self) -> Item | None:
        """The item of the least rank."""
        while self._heap:
            rank, number, item = self._heap[0]
            if self._entries.get(item) == (rank, number):
                return item
            heappop(self._heap)
        return None


class FairShare(Generic[Party]):
    """The tags of parties that share something.

    A party that waits may stand aside: it goes only when nobody else waits, and comes back as one that was away.
    """

    def __init__(self) -> None:
        self.now = 0.0  #: virtual time
        self._tags: dict[Party, float] = {}
        self._floors: dict[Party, float] = {}  # the virtual time at which a party last came
        self._waiting: Ranking[Party] = Ranking()
        self._aside: Ranking[Party] = Ranking()
        self._away: Ranking[Party] = Ranking()  # parties whose tags are still ahead of the virtual time

    def __len__(self) -> int:
        """How many parties are remembered."""
        return len(self._tags)

    def enter(self, party: Party, *, aside: bool = False) -> None:
        """Something of it waits. One that was waiting in the same place before keeps its tag."""
        place = self._aside if aside else self._waiting
        if party in place:
            return
        self._catch_up(party)
        self._move(party, place)

    def leave(self, party: Party) -> None:
        """Nothing of it waits any more."""
        if party in self._tags:
            self._move(party, self._away)
            self._forget()

    def first(self) -> Party | None:
        """Whose turn it is."""
        party = self._waiting.first()
        return party if party is not None else self._aside.first()

    def rank(self, party: Party) -> tuple[bool, float]:
        """Where it stands: the least goes next."""
        return (party in self._aside, self._tags.get(party, self.now))

    def charge(self, party: Party, cost: float, weight: float = 1.0) -> None:
        """An item of it goes. Whether it was its turn or not, it is charged."""
        turn = self.first()
        if turn is not None:
            self.now = max(self.now, self._tags[turn])
        if party not in self._waiting:
            self._catch_up(party)
        self._set(party, self._tags[party] + cost / weight)
        self._forget()

    def correct(self, party: Party, difference: float, weight: float = 1.0) -> None:
        """An item that was charged costs more, or less, than was thought.

        What is given back reaches no farther than to where the party last came in: an absence earns nothing.
        """
        if party in self._tags:
            self._set(party, max(self._floors[party], self._tags[party] + difference / weight))
            self._forget()

    def _catch_up(self, party: Party) -> None:
        if party not in self._tags or self._tags[party] < self.now:
            self._tags[party] = self._floors[party] = self.now

    def _set(self, party: Party, tag: float) -> None:
        self._tags[party] = tag
        place = next((place for place in (self._waiting, self._aside) if party in place), self._away)
        place.put(party, tag)

    def _move(self, party: Party, place: Ranking[Party]) -> None:
        for other in (self._waiting, self._aside, self._away):
            other.remove(party)
        place.put(party, self._tags[party])

    def _forget(self) -> None:
        """Drop those that are away and would start at the virtual time anyway."""
        while (party := self._away.first()) is not None and self._tags[party] <= self.now:
            self._away.remove(party)
            del self._tags[party], self._floors[party]


class TenantShares:
    """Tenants share alike; each one's share is divided among its classes by `WEIGHTS`."""

    def __init__(self) -> None:
        self._tenants: FairShare[str] = FairShare()
        self._classes: dict[str, FairShare[Priority]] = {}

    def enter(self, tenant: str, priority: Priority, *, aside: bool = False) -> None:
        """Something of this tenant and class waits. `aside`: the tenant goes only when no other waits."""
        self._tenants.enter(tenant, aside=aside)
        self._classes.setdefault(tenant, FairShare()).enter(priority)

    def leave(self, tenant: str, priority: Priority) -> None:
        """Nothing of this tenant and class waits any more."""
        classes = self._classes.get(tenant)
        if classes is None:
            return
        classes.leave(priority)
        if classes.first() is None:
            self._tenants.leave(tenant)
            del self._classes[tenant]

    def first(self) -> str | None:
        """The tenant whose turn it is."""
        return self._tenants.first()

    def rank(self, tenant: str) -> tuple[bool, float]:
        """Orders tenants: the least goes next."""
        return self._tenants.rank(tenant)

    def class_rank(self, tenant: str, priority: Priority) -> tuple[float, int]:
        """Orders the classes of one tenant; of equals, the more urgent goes first."""
        classes = self._classes.get(tenant)
        return (classes.rank(priority)[1] if classes is not None else 0.0, URGENCY[priority])

    def charge(self, tenant: str, priority: Priority, cost: float) -> None:
        """An item of it goes."""
        self._tenants.charge(tenant, cost)
        if tenant in self._classes:
            self._classes[tenant].charge(priority, cost, WEIGHTS[priority])

    def correct(self, tenant: str, priority: Priority, difference: float) -> None:
        """An item that was charged costs more, or less, than was thought."""
        self._tenants.correct(tenant, difference)
        if tenant in self._classes:
            self._classes[tenant].correct(priority, difference, WEIGHTS[priority])
