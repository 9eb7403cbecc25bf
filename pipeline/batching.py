"""The dynamic batcher: holds the waiting requests of all jobs and answers one question: what goes next?

Decisions only: no threads, no torch, no clock but the `now` it is given. `pipeline/serving.py` drives it.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush, nsmallest
from itertools import count

from pipeline.engines import Capabilities, Kind, Request


@dataclass(order=True, slots=True)
class _Waiting:
    deadline: float
    number: int
    request: Request = field(compare=False)


class Batcher:
    """Hands out requests by kind, cost and the oldest deadline.

    A request that may be dangerous (`alone`) is a batch of its own and never delays the others' batch for it.
    """

    def __init__(self, capabilities: Capabilities) -> None:
        self._limits = capabilities
        self._queues: dict[tuple[Kind, bool], list[_Waiting]] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def add(self, request: Request) -> None:
        queue = self._queues.setdefault((request.kind, request.alone), [])
        heappush(queue, _Waiting(request.deadline, next(self._numbers), request))

    def due_at(self) -> float | None:
        """When the next batch should go out even if it is not full; None while nothing waits."""
        return min((queue[0].deadline for queue in self._queues.values() if queue), default=None)

    def next_batch(self, now: float) -> list[Request]:
        """For a static engine: a full batch, or what there is once its oldest request is due; else nothing.

        Suspects go last: while others wait, a request that may kill the process waits for them.
        """
        for queue in sorted((queue for queue in self._queues.values() if queue), key=_order):
            alone = queue[0].request.alone
            if alone or queue[0].deadline <= now or self._is_full(queue):
                return self._pop(queue, 1 if alone else self._limits.max_batch, self._limits.max_cost)
        return []

    def fill(self, slots: int, budget: float) -> list[Request]:
        """For a continuous engine: at once as many as fit its free slots and cost budget, oldest deadline first."""
        taken: list[Request] = []
        for queue in sorted((queue for queue in self._queues.values() if queue), key=_order):
            if queue[0].request.alone and (taken or slots < self._limits.max_batch):
                continue  # waits until every slot is free
            most = 1 if queue[0].request.alone else slots - len(taken)
            batch = self._pop(queue, most, budget - sum(request.cost for request in taken), first_always=not taken)
            taken += batch
            if len(taken) >= slots or (batch and batch[0].alone):
                break
        return taken

    def peek(self, most: int) -> list[Request]:
        """The oldest that wait, without those that must be alone; they stay where they are."""
        waiting = [item for (_, alone), queue in self._queues.items() if not alone for item in queue]
        return [item.request for item in nsmallest(most, waiting)]

    def drain(self) -> list[Request]:
        """Take everything out, for a shutdown."""
        waiting = [item.request for queue in self._queues.values() for item in queue]
        self._queues.clear()
        return waiting

    def _is_full(self, queue: list[_Waiting]) -> bool:
        cost = sum(item.request.cost for item in queue)
        return len(queue) >= self._limits.max_batch or cost >= self._limits.max_cost

    @staticmethod
    def _pop(queue: list[_Waiting], most: int, budget: float, *, first_always: bool = True) -> list[Request]:
        batch: list[Request] = []
        spent = 0.0
        while queue and len(batch) < most:
            cost = queue[0].request.cost
            # A request that is over budget by itself still goes, alone: the engine decides whether it can.
            if spent + cost > budget and (batch or not first_always):
                break
            batch.append(heappop(queue).request)
            spent += cost
        return batch


def _order(queue: list[_Waiting]) -> tuple[bool, float, int]:
    return (queue[0].request.alone, queue[0].deadline, queue[0].number)
