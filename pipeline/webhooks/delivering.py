"""Telling what is owed, round by round: of each server some messages, none of a server that rests."""

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from pipeline.webhooks.debts import Debt, Debts, Origin, subject_of
from pipeline.webhooks.events import Event, collection_event, job_event
from pipeline.webhooks.patience import Patience
from pipeline.webhooks.posting import GONE, Reply, post, signed

log = logging.getLogger(__name__)

#: Of one server in one round; the next round goes on behind them.
PAGE = 1_000
#: Messages on their way at once.
THREADS = 8
#: Names in the ledger.
DELIVERED, GIVEN_UP = "webhooks_delivered", "webhooks_given_up"
NOTE_PREFIX = "webhook:"
UNSIGNED = "cannot be signed: set REELMILL_WEBHOOKS__SECRETS where the steward runs"

Send = Callable[[Target, Mapping[str, str], bytes, float], Reply]


@dataclass(frozen=True, slots=True)
class _Due:
    key: str
    origin: Origin


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
        if not self._leads() or not self._debts.is_any():
            return 0
        if not self._settings.keys:
            self._complain()
            return 0
        pages = {origin.id: (origin, self._page(origin)) for origin in self._origins()}
        if not any(page for _, page in pages.values()):
            return 0
        still_open = self._still_open()
        rows = [
            [_Due(key, origin) for key in page if subject_of(key) not in still_open] for origin, page in pages.values()
        ]
        in_turn = [due for due in chain.from_iterable(zip_longest(*rows)) if due is not None]
        number = sum(self._pool.map(self._settled, in_turn))
        if number:
            self._ledger.count(DELIVERED, number)
        return number

    def end(self) -> None:
        """Let the round that is going on begin no further message. Called by another thread."""
        self._is_ending = True

    def close(self) -> None:
        self._pool.shutdown()

    def _complain(self) -> None:
        """Once in the log, and where people look."""
        if not self._has_complained:
            log.error("webhooks are owed and %s", UNSIGNED)
            self._has_complained = True
        for origin in self._debts.origins():
            self._ledger.note(note_name(origin), UNSIGNED)

    def _origins(self) -> Iterator[Origin]:
        now = self._clock()
        return (origin for origin in self._debts.origins() if self._patience.may_ask(origin.id, now))

    def _page(self, origin: Origin) -> Sequence[str]:
        """Some of what a server is owed, from where the last page ended, so that no message hides those behind it."""
        page = self._debts.page(origin, PAGE, self._places.pop(origin.id, ""))
        if len(page) == PAGE:
            self._places[origin.id] = page[-1]
        return page

    def _still_open(self) -> frozenset[str]:
        """Jobs and collections that have not ended, as the bucket has it."""
        jobs = (key.removeprefix(keys.OPEN) for key in self._store.list(keys.OPEN))
        collections = (key.removeprefix(keys.OPEN_COLLECTIONS) for key in self._store.list(keys.OPEN_COLLECTIONS))
        return frozenset(chain(jobs, collections))

    def _settled(self, due: _Due) -> bool:
        with self._lock:
            now = self._clock()
            may_send = self._patience.may_ask(due.origin.id, now) and self._patience.may_send(due.key, now)
        if not may_send or self._is_ending or not self._leads():
            return False
        try:
            return self._told(due)
        except MissingObjectError:
            return False  # it was told meanwhile
        except TransientError:
            raise
        except Exception:
            # What is stored of it cannot be read. The others must not wait for whoever mends it.
            log.exception("cannot make out what is owed as %s", due.key)
            with self._lock:
                self._patience.not_taken(due.key, self._clock())
            return False

    def _told(self, due: _Due) -> bool:
        debt = self._debts.read(due.key)
        event = self._event(debt)
        if event is None:
            self._unless_too_old(due, debt, f"{debt.subject} has no result")
            return False
        reply = self._reply(debt, event)
        if reply.is_taken:
            self._debts.settle(due.key)
        with self._lock:
            self._learn(due, reply)
        if reply.is_taken:
            return True
        log.warning("%s was not told of %s: %s", due.origin.address, debt.subject, reply.reason)
        self._ledger.note(note_name(due.origin), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {reply.reason}")
        if reply.status == GONE:
            self._give_up(due, debt, reply.reason)
        else:
            self._unless_too_old(due, debt, reply.reason)
        return False

    def _event(self, debt: Debt) -> Event | None:
        """None: what it is about has not ended."""
        try:
            if debt.job is not None:
                key = keys.result(debt.job)
                result = Result.from_bytes(self._store.get(key))
                return job_event(debt, result, self._store.written(key), self._store.address)
            ended = Ended.from_bytes(self._store.get(keys.ended_collection(debt.subject)))
            return collection_event(debt, read_collection(self._store, debt.subject), ended)
        except (MissingObjectError, UsageError):
            return None

    def _reply(self, debt: Debt, event: Event) -> Reply:
        try:
            target = locate(debt.url, private=self._settings.private)
        except TransientError as error:
            return Reply(None, error.reason)
        except PermanentError as error:
            return Reply(0, error.reason)
        headers = signed(event, self._settings.keys, datetime.now(UTC))
        return self._send(target, headers, event.body.encode(), self._settings.request_seconds)

    def _learn(self, due: _Due, reply: Reply) -> None:
        now = self._clock()
        if reply.is_away:
            self._patience.is_away(due.origin.id, now)
            return
        self._patience.is_there(due.origin.id)
        if reply.is_taken:
            self._patience.forget(due.key)
        else:
            self._patience.not_taken(due.key, now)

    def _unless_too_old(self, due: _Due, debt: Debt, reason: str) -> None:
        if datetime.now(UTC) - debt.since > timedelta(hours=self._settings.give_up_hours):
            self._give_up(due, debt, reason)

    def _give_up(self, due: _Due, debt: Debt, reason: str) -> None:
        self._debts.give_up(due.key, debt, reason)
        self._ledger.count(GIVEN_UP)


def note_name(origin: Origin) -> str:
    """Under which name the ledger has why a server was not told something, the last time."""
    return f"{NOTE_PREFIX}{origin.id}"
