"""When to try again. Kept in memory alone: whoever starts anew tries at once, and then by the same rules. No clock."""

import random
from collections import OrderedDict
from dataclasses import dataclass

#: A server that is away is asked again after so many seconds; doubled each time, up to the longest.
FIRST_REST, LONGEST_REST = 5.0, 600.0
MAX_DOUBLINGS = 10
#: A server that takes none of so many messages in a row is left alone like one that is away.
MAX_REFUSALS = 20
#: A message that a server does not take, though it takes others, is tried again after so many seconds each time
#: (the schedule that Standard Webhooks recommends); from then on after the last of them.
PAUSES = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0)
#: So many servers and messages are remembered, the latest ones; one that was forgotten is tried sooner.
MAX_REMEMBERED = 10_000
#: Those who were turned away together do not come back together.
SPREAD = 0.2


@dataclass(slots=True)
class _Rest:
    times: int = 0
    until: float = 0.0
    refusals: int = 0  #: in a row


class Patience:
    """Who rests until when. Times are seconds of the caller's clock."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._servers: OrderedDict[str, _Rest] = OrderedDict()
        self._messages: OrderedDict[str, _Rest] = OrderedDict()
        self._unread: OrderedDict[str, _Rest] = OrderedDict()  #: messages that the bucket did not give

    def may_ask(self, server: str, now: float) -> bool:
        rest = self._servers.get(server)
        return rest is None or now >= rest.until

    def may_send(self, message: str, now: float) -> bool:
        rests = (self._messages.get(message), self._unread.get(message))
        return all(rest is None or now >= rest.until for rest in rests)

    def is_away(self, server: str, now: float, longest: float = LONGEST_REST) -> None:
        """A server (or an address) did not answer. Several messages that were on their way to it count once."""
        self._rests_longer(_remembered(self._servers, server), now, longest)

    def is_back(self, address: str) -> None:
        self._servers.pop(address, None)

    def cannot_be_made(self, message: str, now: float) -> None:
        """There is a message, and the bucket does not give what belongs into it: that is no refusal of its server's."""
        self._rests_longer(_remembered(self._unread, message), now, LONGEST_REST)

    def taken(self, server: str, message: str) -> None:
        self._servers.pop(server, None)
        self._messages.pop(message, None)
        self._unread.pop(message, None)

    def not_taken(self, server: str, message: str, now: float) -> None:
        """A server answered that it does not take a message."""
        self._unread.pop(message, None)
        rest = _remembered(self._messages, message)
        rest.until = now + self._spread(PAUSES[min(rest.times, len(PAUSES) - 1)])
        rest.times += 1
        refusing = _remembered(self._servers, server)
        refusing.refusals += 1
        if refusing.refusals < MAX_REFUSALS:
            refusing.times, refusing.until = 0, 0.0  # it is there
        else:
            self.is_away(server, now)

    def _rests_longer(self, rest: _Rest, now: float, longest: float) -> None:
        if now >= rest.until:
            rest.until = now + self._spread(min(FIRST_REST * 2 ** min(rest.times, MAX_DOUBLINGS), longest))
            rest.times += 1

    def _spread(self, seconds: float) -> float:
        return seconds * self._chance.uniform(1 - SPREAD, 1 + SPREAD)


def _remembered(rests: OrderedDict[str, _Rest], name: str) -> _Rest:
    rest = rests.pop(name, None) or _Rest()
    rests[name] = rest
    if len(rests) > MAX_REMEMBERED:
        rests.popitem(last=False)
    return rest
