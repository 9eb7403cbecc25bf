"""The dynamic batcher: holds the waiting requests of all jobs and answers one question: what goes next?

Decisions only: no threads, no torch, no clock but the `now` it is given. `pipeline/serving.py` drives it.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from pipeline.engines import Capabilities, Kind, Request
from pipeline.fairness import WEIGHTS, TenantShares
from pipeline.job import Priority

PATIENCE_SECONDS = 5.0
"""How long a suspect lets others go first, from when it was due. Long enough that few slots are emptied for it, and
short enough that those behind it come to their turn while the queue stays full for days."""


@dataclass(order=True, slots=True)
class _Waiting:
    deadline: float
    number: int
    request: Request = field(compare=False)


_Flow = tuple[str, Priority]  # a tenant and a class
_Rank = tuple[tuple[bool, float], tuple[float, int], _Waiting]  # of the tenant, of the class, of the request


class _Lane:
    """The requests of one kind that wait: those that may share a static batch."""

    def __init__(self) -> None:
        self.flows: dict[_Flow, list[_Waiting]] = {}  # heaps, the oldest deadline first
        self.cost = 0.0

    def __len__(self) -> int:
        return sum(map(len, self.flows.values()))

    def add(self, item: _Waiting) -> None:
        request = item.request
        heappush(self.flows.setdefault((request.tenant, request.priority), []), item)
        self.cost += request.cost

    def pop(self, flow: _Flow) -> _Waiting:
        item = heappop(self.flows[flow])
        if not self.flows[flow]:
            del self.flows[flow]
        self.cost = self.cost - item.request.cost if self.flows else 0.0
        return item

    def due_at(self) -> float:
        return min(line[0].deadline for line in self.flows.values())


class Batcher:
    """Hands out requests by kind, fairly between tenants by cost, within a tenant's class by the oldest deadline.

    What is fair and what a class is worth, `pipeline/fairness.py` says. The cost is the engine's own: a clip of five
    seconds that takes as much of it as one of thirty counts as much. A request that may be dangerous (`alone`), a
    suspect, is a batch of its own. It lets the others go first, but not for ever.
    """

    def __init__(self, capabilities: Capabilities) -> None:
        self._limits = capabilities
        self._lanes: dict[tuple[bool, Kind], _Lane] = {}
        self._shares = TenantShares()
        self._flows: dict[_Flow, int] = {}  # how many requests wait, of any kind
        self._numbers = count()

    def __len__(self) -> int:
        return sum(self._flows.values())

    def add(self, request: Request) -> None:
        self._lanes.setdefault((request.alone, request.kind), _Lane()).add(
            _Waiting(request.deadline, next(self._numbers), request)
        )
        flow = request.tenant, request.priority
        self._flows[flow] = self._flows.get(flow, 0) + 1
        self._shares.enter(*flow)

    def due_at(self) -> float | None:
        """When the next batch should go out even if it is not full; None while nothing waits."""
        return min((lane.due_at() for lane in self._lanes.values()), default=None)

    def next_batch(self, now: float) -> list[Request]:
        """For a static engine: a full batch, or what there is once its oldest request is due; else nothing.

        Suspects go last until their patience ends: then first.
        """
        for key in self._in_order(now):
            if key[0]:
                return [self._take(key)]
            if self._lanes[key].due_at() <= now or self._is_full(self._lanes[key]):
                return self._batch(key)
        return []

    def fill(self, slots: int, budget: float, now: float) -> list[Request]:
        """For a continuous engine: at once as many as fit its free slots and cost budget, of any kind.

        For a suspect whose patience has ended nothing more is handed out until every slot is free.
        """
        taken: list[Request] = []
        spent = 0.0
        while self._lanes and len(taken) < slots:
            key = self._in_order(now)[0]
            if key[0]:  # a suspect's turn: it goes when every slot is free
                return taken if taken or slots < self._limits.max_batch else [self._take(key)]
            spent += self._first(key)[-1].request.cost
            # A request that is over budget by itself still goes, alone: the engine decides whether it can.
            if spent > budget and taken:
                break
            taken.append(self._take(key))
        return taken

    def peek(self, most: int) -> list[Request]:
        """What goes next, in the order of `fill`, as far as one may begin ahead with it; it stays where it is."""
        waiting: dict[_Flow, list[_Waiting]] = {}
        for (alone, _), lane in self._lanes.items():
            for flow, line in lane.flows.items():
                if not alone:
                    waiting.setdefault(flow, []).extend(item for item in line if item.request.ahead)
        ahead = {flow: sorted(line, reverse=True) for flow, line in waiting.items() if line}
        tags = {flow: self._shares.class_rank(*flow) for flow in ahead}
        tenants = {tenant: self._shares.rank(tenant) for tenant, _ in ahead}
        found: list[Request] = []
        while ahead and len(found) < most:
            flow = min(ahead, key=lambda flow: (tenants[flow[0]], tags[flow], ahead[flow][-1]))
            request = ahead[flow].pop().request
            found.append(request)
            if not ahead[flow]:
                del ahead[flow]
            tenants[request.tenant] = (False, tenants[request.tenant][1] + request.cost)
            tags[flow] = (tags[flow][0] + request.cost / WEIGHTS[request.priority], tags[flow][1])
        return found

    def drain(self) -> list[Request]:
        """Take everything out, for a shutdown."""
        lines = [line for lane in self._lanes.values() for line in lane.flows.values()]
        waiting = [item.request for line in lines for item in line]
        self._lanes, self._flows, self._shares = {}, {}, TenantShares()
        return waiting

    def _in_order(self, now: float) -> list[tuple[bool, Kind]]:
        """The lanes: suspects last, or first when one has waited too long, then by whose turn it is."""

        def rank(key: tuple[bool, Kind]) -> tuple[bool, bool, _Rank]:
            has_patience = key[0] and now < self._lanes[key].due_at() + PATIENCE_SECONDS
            return has_patience, not key[0], self._first(key)

        return sorted(self._lanes, key=rank)

    def _first(self, key: tuple[bool, Kind]) -> _Rank:
        """Whose turn it is in a lane."""
        return min(self._rank(flow, line[0]) for flow, line in self._lanes[key].flows.items())

    def _rank(self, flow: _Flow, item: _Waiting) -> _Rank:
        return self._shares.rank(flow[0]), self._shares.class_rank(*flow), item

    def _is_full(self, lane: _Lane) -> bool:
        return len(lane) >= self._limits.max_batch or lane.cost >= self._limits.max_cost

    def _batch(self, key: tuple[bool, Kind]) -> list[Request]:
        batch = [self._take(key)]
        spent = batch[0].cost  # one that is over budget by itself still goes, alone: the engine decides whether it can
        while key in self._lanes and len(batch) < self._limits.max_batch:
            spent += self._first(key)[-1].request.cost
            if spent > self._limits.max_cost:
                break
            batch.append(self._take(key))
        return batch

    def _take(self, key: tuple[bool, Kind]) -> Request:
        request = self._first(key)[-1].request
        flow = request.tenant, request.priority
        self._lanes[key].pop(flow)
        if not self._lanes[key].flows:
            del self._lanes[key]
        self._shares.charge(*flow, request.cost)
        self._flows[flow] -= 1
        if not self._flows[flow]:
            del self._flows[flow]
            self._shares.leave(*flow)
        return request
