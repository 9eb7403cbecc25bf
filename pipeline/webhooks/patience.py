"""When to try again. Kept in memory alone: whoever starts anew tries at once, and then by the same rules. No clock."""

import random
from collections import OrderedDict
from dataclasses import dataclass

#: A server that is away is asked again after so many seconds; doubled each time, up to the longest.
FIRST_REST, LONGEST_REST = 5.0, 600.0
#: A message that a server does not take, though it takes others, is tried again after so many seconds each time
#: (the schedule that Standard Webhooks recommends); from then on after the last of them.
PAUSES = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0)
#: Messages that were not taken are remembered, the latest of them; one that was forgotten is tried sooner.
MAX_REMEMBERED = 10_000
#: Those who were turned away together do not come back together.
SPREAD = 0.2


@dataclass(slots=True)
class _Rest:
    times: int = 0
    until: float = 0.0


class Patience:
    """Who rests until when. Times are seconds of the caller's clock."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._origins: dict[str, _Rest] = {}
        self._messages: OrderedDict[str, _Rest] = OrderedDict()

    def may_ask(self, origin: str, now: float) -> bool:
        rest = self._origins.get(origin)
        return rest is None or now >= rest.until

    def may_send(self, message: str, now: float) -> bool:
        rest = self._messages.get(message)
        return rest is None or now >= rest.until

    def is_away(self, origin: str, now: float) -> None:
        """A server did not answer. Several messages that were on their way to it count once."""
        rest = self._origins.setdefault(origin, _Rest())
        if now >= rest.until:
            rest.until = now + self._spread(min(FIRST_REST * 2**rest.times, LONGEST_REST))
            rest.times += 1

    def is_there(self, origin: str) -> None:
        self._origins.pop(origin, None)

    def not_taken(self, message: str, now: float) -> None:
        rest = self._messages.pop(message, _Rest())
        rest.until = now + self._spread(PAUSES[min(rest.times, len(PAUSES) - 1)])
        rest.times += 1
        self._messages[message] = rest
        if len(self._messages) > MAX_REMEMBERED:
            self._messages.popitem(last=False)

    def forget(self, message: str) -> None:
        self._messages.pop(message, None)

    def _spread(self, seconds: float) -> float:
        return seconds * self._chance.uniform(1 - SPREAD, 1 + SPREAD)
