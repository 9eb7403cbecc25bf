"""Which message goes next, so that a server that is slow or silent holds up no other. No clock, no threads.

Each server has a queue of its own, and a window: how many of its messages may be on their way at once, one more with
each that it takes. Half of all places are for servers whose last answer was quick: those that are slow or silent never
hold them, however many names they have. Whoever has fewest messages on their way comes next; of those, who waited
longest.

Names cost nothing, addresses something: what stands behind one address has a window, too, and when it is silent, it
rests, but for its servers that are quick.
"""

import ipaddress
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.webhooks.debts import message_of
from pipeline.webhooks.patience import MAX_REMEMBERED, Patience

#: Messages on their way at once: of all servers, and of those that are not quick.
PLACES, COMMON_PLACES = 32, 16
#: The same of one server, or of all behind one address: where it is quick, and where it is not.
MAX_WINDOW, MAX_SLOW_WINDOW = 8, 2
#: A server that answers within this is quick.
QUICK_SECONDS = 2.0
#: What was found to be due is looked for anew after so long: a job may have been opened again meanwhile.
FRESH_SECONDS = 10.0
#: Servers of either kind whose debts are listed in one look.
LISTED = 100
#: The longest rest of an address: others may be behind it.
LONGEST_REST_OF_ADDRESS = 60.0
#: What a customer of a provider has of IPv6, at most.
CUSTOMER_BITS = 48

#: What came of a try. `refused`: the server answered that it does not take this message; `away`: that it takes none
#: now, or its name was not found; `silent`: no answer from its address; `postponed`: its address has its hands full;
#: `nothing`: there was nothing to tell; `unread`: the bucket does not give what there is to tell.
Outcome = Literal["taken", "refused", "away", "silent", "postponed", "nothing", "unread"]


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a try, and how long the server took for its answer."""

    outcome: Outcome
    seconds: float = float("inf")


@dataclass(slots=True)
class _Server:
    queue: deque[str] = field(default_factory=deque)
    found_at: float = 0.0  #: when what is in the queue was
    after: str = ""  #: the next list of its debts begins behind this key
    behind: str = ""  #: the same, once the queue is empty
    window: int = 1
    is_quick: bool = False
    address: str | None = None  #: where it was the last time
    began: float = float("-inf")  #: with its last message
    listed: float = float("-inf")

    @property
    def most(self) -> int:
        return self.window if self.is_quick else min(self.window, MAX_SLOW_WINDOW)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    server: str
    is_common: bool  #: it holds one of the places that anybody may have
    address: str | None = None


class Turns:
    """The queues of all servers, and what is on its way. Times are seconds of the caller's clock."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._servers: OrderedDict[str, _Server] = OrderedDict()
        self._windows: OrderedDict[str, int] = OrderedDict()  #: of addresses
        self._under_way: dict[str, _UnderWay] = {}
        self._num_of: Counter[str] = Counter()  #: messages on their way, by server and by address
        self._num_common = 0

    @property
    def num_under_way(self) -> int:
        return len(self._under_way)

    def to_list(self, servers: Iterable[str], now: float) -> Sequence[tuple[str, str]]:
        """Whose debts to list now, and from behind which key on: of either kind those who wait longest."""
        known = [(name, self._known(name)) for name in servers]
        free = [(name, server) for name, server in known if not server.queue and self._may_ask(name, server, now)]
        free.sort(key=lambda named: named[1].listed)
        quick = [named for named in free if named[1].is_quick][:LISTED]
        others = [named for named in free if not named[1].is_quick][:LISTED]
        return [(name, server.after) for name, server in (*quick, *others)]

    def offer(self, name: str, due: Iterable[str], behind: str, now: float) -> None:
        """What a server is to be told now, in order. `behind`: after which key its next list begins."""
        server = self._known(name)
        told = {message_of(key) for key in self._under_way}
        server.queue = deque(key for key in due if message_of(key) not in told and self._patience.may_send(key, now))
        server.found_at = server.listed = now
        server.behind = behind
        if not server.queue:
            server.after = behind

    def begin(self, now: float) -> str | None:
        """The key of what goes next, which is on its way from now on; None: nothing may go now."""
        if len(self._under_way) >= PLACES:
            return None
        is_room = self._num_common < COMMON_PLACES
        ready = [
            (self._num_of[name], server.began, name)
            for name, server in self._servers.items()
            if server.queue and (server.is_quick or is_room) and self._is_ready(name, server, now)
        ]
        if not ready:
            return None
        name = min(ready)[2]
        server = self._servers[name]
        key = server.queue.popleft()
        server.after = key if server.queue else server.behind
        server.began = now
        self._hold(key, _UnderWay(name, not server.is_quick))
        return key

    def may_connect(self, key: str, address: str, now: float) -> bool:
        """Whether a message that is on its way goes on, now that it is known where to (as `network` names it)."""
        server = self._servers[self._under_way[key].server]
        server.address = address
        if not self._is_free(address, server, now):
            return False
        self._hold(key, replace(self._release(key), address=address))
        return True

    def ended(self, key: str, own_key: str, tried: Tried, now: float) -> None:
        """What came of it. `own_key`: the one that it has by now."""
        held = self._release(key)
        server = self._servers[held.server]
        match tried.outcome:
            case "taken":
                self._patience.taken(held.server, own_key)
                self._answered(server, held, tried.seconds)
                server.window = min(server.window + 1, MAX_WINDOW)
                self._widen(held)
            case "refused":
                self._patience.not_taken(held.server, own_key, now)
                self._answered(server, held, tried.seconds)
            case "away" | "silent":
                self._patience.is_away(held.server, now)
                server.window, server.is_quick = 1, False
                server.queue.appendleft(own_key)
                if tried.outcome == "silent" and held.address is not None:
                    self._patience.is_away(held.address, now, LONGEST_REST_OF_ADDRESS)
                    self._windows.pop(held.address, None)
            case "unread":
                self._patience.cannot_be_made(own_key, now)
            case "postponed":
                server.queue.appendleft(own_key)

    def clear(self) -> None:
        """Somebody else tells what is due."""
        for server in self._servers.values():
            server.queue.clear()
            server.after = ""

    def _answered(self, server: _Server, held: _UnderWay, seconds: float) -> None:
        server.is_quick = seconds <= QUICK_SECONDS
        if held.address is not None:
            self._patience.is_back(held.address)

    def _widen(self, held: _UnderWay) -> None:
        if held.address is not None:
            self._windows[held.address] = min(self._windows.pop(held.address, 1) + 1, MAX_WINDOW)
            if len(self._windows) > MAX_REMEMBERED:
                self._windows.popitem(last=False)

    def _hold(self, key: str, held: _UnderWay) -> None:
        self._under_way[key] = held
        self._num_common += held.is_common
        self._num_of.update(name for name in (held.server, held.address) if name)

    def _release(self, key: str) -> _UnderWay:
        held = self._under_way.pop(key)
        self._num_common -= held.is_common
        self._num_of.subtract(name for name in (held.server, held.address) if name)
        self._num_of += Counter()  # what is at nothing is forgotten
        return held

    def _is_ready(self, name: str, server: _Server, now: float) -> bool:
        if now - server.found_at > FRESH_SECONDS:
            server.queue.clear()
        return bool(server.queue) and self._num_of[name] < server.most and self._may_ask(name, server, now)

    def _may_ask(self, name: str, server: _Server, now: float) -> bool:
        if not self._patience.may_ask(name, now):
            return False
        return server.address is None or self._is_free(server.address, server, now)

    def _is_free(self, address: str, server: _Server, now: float) -> bool:
        most = self._windows.get(address, 1)
        if not server.is_quick:
            if not self._patience.may_ask(address, now):
                return False
            most = min(most, MAX_SLOW_WINDOW)
        return self._num_of[address] < most

    def _known(self, name: str) -> _Server:
        server = self._servers.pop(name, None) or _Server()
        self._servers[name] = server
        if len(self._servers) > MAX_REMEMBERED:
            del self._servers[next(other for other in self._servers if not self._num_of[other])]
        return server


def network(address: str, port: int) -> str:
    """Who is behind an address: one of IPv4 itself, of IPv6 the network that a customer has."""
    found = ipaddress.ip_address(address.split("%", 1)[0])
    whose = found if found.version == 4 else ipaddress.ip_network((int(found), CUSTOMER_BITS), strict=False)
    return f"{whose} {port}"
