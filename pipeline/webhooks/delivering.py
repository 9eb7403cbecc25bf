"""Telling what is owed, round by round: of each server some messages, none of a server that rests."""

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain, zip_longest
from time import monotonic

from pipeline import keys
from pipeline.collecting.record import Ended
from pipeline.collecting.shards import read_collection
from pipeline.errors import MissingObjectError, PermanentError, TransientError, UsageError
from pipeline.job import Result
from pipeline.ledger import Ledger
from pipeline.objects import ObjectStore
from pipeline.settings import Webhooks
from pipeline.webhooks.addresses import Target, locate
from pipeline.webhooks.debts import Debt, Debts, server_of, subject_of
from pipeline.webhooks.events import Event, collection_event, job_event
from pipeline.webhooks.patience import Patience
from pipeline.webhooks.posting import GONE, Reply, post, signed

log = logging.getLogger(__name__)

#: Of one server in one round; the next round goes on behind them.
PAGE = 1_000
#: Messages on their way at once.
THREADS = 8
#: A round takes no further message after so long: the next one sees what has become due meanwhile.
ROUND_SECONDS = 10.0
#: Names in the ledger.
DELIVERED, GIVEN_UP = "webhooks_delivered", "webhooks_given_up"
NOTE_PREFIX = "webhook:"
UNSIGNED = "cannot be signed: set REELMILL_WEBHOOKS__SECRETS where the steward runs"

Send = Callable[[Target, Mapping[str, str], bytes, float], Reply]


class Deliverer:
    """One steward owns it. Two at once do no harm: what is told twice has the same id."""

    def __init__(
        self,
        store: ObjectStore,
        ledger: Ledger,
        settings: Webhooks,
        *,
        leads: Callable[[], bool] = lambda: True,
        send: Send = post,
        clock: Callable[[], float] = monotonic,
        chance: random.Random | None = None,
    ) -> None:
        """`leads`: whether this is still the one that delivers; asked before each message."""
        self._store = store
        self._ledger = ledger
        self._settings = settings
        self._leads = leads
        self._send = send
        self._clock = clock
        self._debts = Debts(store)
        self._patience = Patience(chance or random.Random())
        self._places: dict[str, str] = {}
        self._lock = threading.Lock()  # of the patience
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="webhooks")
        self._is_ending = False
        self._has_complained = False

    def round(self) -> int:
        """Tell what is due; returns how many messages were taken. Raises TransientError."""
        if not self._leads():
            return 0
        servers = self._debts.servers()
        if servers and not self._settings.keys:
            self._complain(servers)
            return 0
        places = dict(self._places)
        pages = [self._page(server) for server in servers if self._patience.may_ask(server, self._clock())]
        if not any(pages):
            return 0
        still_open = self._still_open()
        due = [[key for key in page if subject_of(key) not in still_open] for page in pages]
        until = self._clock() + ROUND_SECONDS
        in_turn = [key for key in chain.from_iterable(zip_longest(*due)) if key is not None]
        number = sum(self._pool.map(lambda key: self._settled(key, until), in_turn))
        if self._clock() >= until:
            self._places = places  # what was left out comes first
        if number:
            self._ledger.count(DELIVERED, number)
        return number

    def end(self) -> None:
        """Let the round that is going on begin no further message. Called by another thread."""
        self._is_ending = True

    def close(self) -> None:
        self._pool.shutdown()

    def _complain(self, servers: Sequence[str]) -> None:
        """Once in the log, and where people look."""
        if not self._has_complained:
            log.error("webhooks are owed and %s", UNSIGNED)
            self._has_complained = True
        for server in servers:
            self._ledger.note(note_name(server), UNSIGNED)

    def _page(self, server: str) -> Sequence[str]:
        """Some of what a server is owed, from where the last page ended, so that no message hides those behind it."""
        page = self._debts.page(server, PAGE, self._places.pop(server, ""))
        if len(page) == PAGE:
            self._places[server] = page[-1]
        return page

    def _still_open(self) -> frozenset[str]:
        """Jobs and collections that have not ended, as the bucket has it."""
        jobs = (key.removeprefix(keys.OPEN) for key in self._store.list(keys.OPEN))
        collections = (key.removeprefix(keys.OPEN_COLLECTIONS) for key in self._store.list(keys.OPEN_COLLECTIONS))
        return frozenset(chain(jobs, collections))

    def _settled(self, key: str, until: float) -> bool:
        server = server_of(key)
        with self._lock:
            now = self._clock()
            may_send = self._patience.may_ask(server, now) and self._patience.may_send(key, now)
        if not may_send or now >= until or self._is_ending or not self._leads():
            return False
        try:
            return self._told(key, server)
        except MissingObjectError:
            return False  # it was told meanwhile
        except TransientError:
            raise
        except Exception:
            # What is stored of it cannot be read. The others must not wait for whoever mends it.
            log.exception("cannot make out what is owed as %s", key)
            with self._lock:
                self._patience.not_taken(server, key, self._clock())
            return False

    def _told(self, key: str, server: str) -> bool:
        debt = self._debts.read(key)
        event = self._event(debt)
        if event is None:
            if self._is_old(debt) and not self._is_open(debt):
                self._give_up(key, debt, f"{debt.subject} has no result")
            return False
        reply = self._reply(debt, event)
        with self._lock:
            self._learn(key, server, reply)
        if reply.is_taken:
            self._debts.settle(key)
            self._unless_ended_again(debt, event)
            return True
        log.warning("%s was not told of %s: %s", debt.server, debt.subject, reply.reason)
        self._ledger.note(note_name(server), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {reply.reason}")
        if reply.status == GONE or self._is_old(debt, event):
            self._give_up(key, debt, reply.reason)
            self._unless_ended_again(debt, event)
        return False

    def _event(self, debt: Debt) -> Event | None:
        """None: what it is about has not ended."""
        try:
            at = self._store.written(_end(debt))
            data = self._store.get(_end(debt))
            if debt.job is not None:
                return job_event(debt, Result.from_bytes(data), at, self._store.address)
            return collection_event(debt, read_collection(self._store, debt.subject), Ended.from_bytes(data), at)
        except (MissingObjectError, UsageError):
            return None

    def _unless_ended_again(self, debt: Debt, event: Event) -> None:
        """Owed again if it was opened again while the message was on its way: who did so found it owed already."""
        try:
            at = self._store.written(_end(debt))
        except MissingObjectError:
            at = None
        if at != event.at:
            self._debts.owe(debt)

    def _reply(self, debt: Debt, event: Event) -> Reply:
        try:
            target = locate(debt.url, private=self._settings.private)
        except TransientError as error:
            return Reply(None, error.reason)
        except PermanentError as error:
            return Reply(0, error.reason)
        headers = signed(event, self._settings.keys, datetime.now(UTC))
        return self._send(target, headers, event.body.encode(), self._settings.request_seconds)

    def _learn(self, key: str, server: str, reply: Reply) -> None:
        now = self._clock()
        if reply.is_taken:
            self._patience.taken(server, key)
        elif reply.is_away:
            self._patience.is_away(server, now)
        else:
            self._patience.not_taken(server, key, now)

    def _is_old(self, debt: Debt, event: Event | None = None) -> bool:
        """Whether it was tried for long enough, counted from when there was something to tell."""
        began = max(at for at in (debt.since, debt.again, event.at if event else None) if at is not None)
        return datetime.now(UTC) - began > timedelta(hours=self._settings.give_up_hours)

    def _is_open(self, debt: Debt) -> bool:
        """Asked anew: a round lasts a while."""
        name = keys.open_collection(debt.subject) if debt.job is None else keys.open_job(debt.job)
        return self._store.exists(name)

    def _give_up(self, key: str, debt: Debt, reason: str) -> None:
        self._debts.give_up(key, debt, reason)
        self._ledger.count(GIVEN_UP)


def note_name(server: str) -> str:
    """Under which name the ledger has why a server was not told something, the last time."""
    return f"{NOTE_PREFIX}{server}"


def _end(debt: Debt) -> str:
    """The object that its end is."""
    return keys.ended_collection(debt.subject) if debt.job is None else keys.result(debt.job)
