"""Telling what is owed: looks for what is due, and several threads that tell it, each server at its own speed."""

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from time import monotonic

from pydantic import ValidationError

from pipeline import keys
from pipeline.collecting.record import Ended
from pipeline.collecting.shards import read_collection
from pipeline.errors import MissingObjectError, PermanentError, TransientError, UsageError
from pipeline.ledger import Ledger
from pipeline.objects import ObjectStore
from pipeline.settings import Webhooks
from pipeline.webhooks.addresses import Target, locate
from pipeline.webhooks.debts import Debt, Debts, server_of, subject_of
from pipeline.webhooks.events import Event, ToldResult, collection_event, job_event
from pipeline.webhooks.patience import Patience
from pipeline.webhooks.posting import GONE, Reply, post, signed
from pipeline.webhooks.turns import PLACES, Outcome, Tried, Turns, network

log = logging.getLogger(__name__)

#: Of one server in one look; the next one goes on behind them.
PAGE = 1_000
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
        self._turns = Turns(Patience(chance or random.Random()))
        self._lock = threading.Lock()  # of the turns
        self._reading = threading.Lock()  # a result may be 100 MB
        self._pool = ThreadPoolExecutor(PLACES, thread_name_prefix="webhooks")
        self._is_ending = False
        self._has_complained = False

    @property
    def num_under_way(self) -> int:
        """How many messages are being told now. At 0, none may be begun before the next look."""
        with self._lock:
            return self._turns.num_under_way

    def look(self) -> None:
        """Find what is due, and begin to tell it. Does not wait for any server. Raises TransientError."""
        if not self._leads():
            return
        found = self._found()
        if found and not self._settings.keys:
            self._complain([name for name, _ in found])
            return
        if found:
            still_open = self._still_open()
            for name, page in found:
                due = [key for key in page if subject_of(key) not in still_open]
                with self._lock:
                    self._turns.offer(name, due, page[-1] if len(page) == PAGE else "", self._clock())
        with self._lock:
            self._begin()

    def end(self) -> None:
        """Begin no further message. Called by another thread."""
        self._is_ending = True

    def close(self) -> None:
        """Wait for the messages that are on their way."""
        with self._lock:
            self._is_ending = True
        self._pool.shutdown()

    def _found(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Some of what some servers are owed: each goes on where it ended before, so that none hides those behind it.

        A store may list a folder for minutes after its last object is gone.
        """
        servers = self._debts.servers()
        with self._lock:
            wanted = self._turns.to_list(servers, self._clock())
        pages = [(name, self._debts.page(name, PAGE, after)) for name, after in wanted]
        with self._lock:
            for name, page in pages:
                if not page:
                    self._turns.offer(name, (), "", self._clock())
        return [(name, page) for name, page in pages if page]

    def _begin(self) -> None:
        """As many as there are places for. The caller holds the lock."""
        while not self._is_ending and (key := self._turns.begin(self._clock())) is not None:
            self._pool.submit(self._run, key)

    def _run(self, key: str) -> None:
        own_key, tried = self._tried(key)
        with self._lock:
            self._turns.ended(key, own_key, tried, self._clock())
            self._begin()

    def _complain(self, servers: Sequence[str]) -> None:
        """Once in the log, and where people look."""
        if not self._has_complained:
            log.error("webhooks are owed and %s", UNSIGNED)
            self._has_complained = True
        for server in servers:
            self._ledger.note(note_name(server), UNSIGNED)

    def _still_open(self) -> frozenset[str]:
        """Jobs and collections that have not ended, as the bucket has it."""
        opened = chain(self._store.list(keys.OPEN), self._store.list(keys.OPEN_COLLECTIONS))
        return frozenset(map(subject_of, opened))

    def _tried(self, key: str) -> tuple[str, Tried]:
        """With the key that the debt has by now."""
        own_key = key
        try:
            if not self._leads():
                with self._lock:
                    self._turns.clear()
                return key, Tried("nothing")
            debt = self._debts.take(key)
            own_key = debt.own_key
            return own_key, self._told(key, debt)
        except MissingObjectError:
            return own_key, Tried("nothing")  # it was told meanwhile
        except TransientError as error:
            log.warning("cannot tell now what is owed as %s: %s (%s)", key, error, error.detail)
        except Exception:
            # What is stored of it cannot be read. The others must not wait for whoever mends it.
            log.exception("cannot make out what is owed as %s", key)
        return own_key, Tried("unread")

    def _told(self, key: str, debt: Debt) -> Tried:
        at = self._ended_at(debt)
        if at is None:
            if self._is_old(debt) and not self._is_open(debt):
                self._give_up(debt, f"{debt.subject} has no result")
            return Tried("nothing")
        try:
            target = locate(debt.url, private=self._settings.private)
        except TransientError as error:
            return self._not_told(debt, at, Reply(None, error.reason), "away")
        except PermanentError as error:
            return self._not_told(debt, at, Reply(0, error.reason), "refused")
        with self._lock:
            if not self._turns.may_connect(key, network(target.addresses[0], target.port), self._clock()):
                return Tried("postponed")
        return self._sent(debt, at, target)

    def _sent(self, debt: Debt, at: datetime, target: Target) -> Tried:
        event = self._event(debt, at)
        if event is None:
            return Tried("nothing")
        headers = signed(event, self._settings.keys, datetime.now(UTC))
        began = self._clock()
        reply = self._send(target, headers, event.body.encode(), self._settings.request_seconds)
        seconds = self._clock() - began
        if not reply.is_taken:
            outcome: Outcome = "silent" if reply.status is None else "away" if reply.is_away else "refused"
            return self._not_told(debt, at, reply, outcome, seconds)
        self._debts.settle(debt.own_key)
        with suppress(TransientError):  # only a figure
            self._ledger.count(DELIVERED)
        return Tried("taken", seconds)

    def _not_told(
        self, debt: Debt, at: datetime, reply: Reply, outcome: Outcome, seconds: float = float("inf")
    ) -> Tried:
        log.warning("%s was not told of %s: %s", debt.server, debt.subject, reply.reason)
        with suppress(TransientError):  # whoever looks is told less
            name = note_name(server_of(debt.key))
            self._ledger.note(name, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {reply.reason}")
        if reply.status == GONE or self._is_old(debt, at):
            self._give_up(debt, reply.reason)
        return Tried(outcome, seconds)

    def _ended_at(self, debt: Debt) -> datetime | None:
        """None: what it is about has not ended."""
        try:
            return self._store.written(_end(debt))
        except MissingObjectError:
            return None

    def _event(self, debt: Debt, at: datetime) -> Event | None:
        """None: what it is about is open again."""
        try:
            return self._made(debt, at)
        except (MissingObjectError, UsageError):
            return None
        except (TransientError, ValidationError):
            if self._is_old(debt, at):
                self._give_up(debt, f"the result of {debt.subject} cannot be read")
            raise

    def _made(self, debt: Debt, at: datetime) -> Event:
        if debt.job is None:
            ended = Ended.from_bytes(self._store.get(_end(debt)))
            return collection_event(debt, read_collection(self._store, debt.subject), ended, at)
        with self._reading:
            result = ToldResult.model_validate_json(self._store.get(_end(debt)))
        return job_event(debt, result, at, self._store.address)

    def _is_old(self, debt: Debt, at: datetime | None = None) -> bool:
        """Whether it was tried for long enough, counted from when there was something to tell."""
        began = max(time for time in (debt.since, debt.again, at) if time is not None)
        return datetime.now(UTC) - began > timedelta(hours=self._settings.give_up_hours)

    def _is_open(self, debt: Debt) -> bool:
        """Asked anew: a look lasts a while. Ids have one length, so that none begins with another one."""
        if debt.job is None:
            return self._store.exists(keys.open_collection(debt.subject))
        return any(self._store.list(f"{keys.OPEN}{debt.job}"))

    def _give_up(self, debt: Debt, reason: str) -> None:
        self._debts.give_up(debt.own_key, debt, reason)
        with suppress(TransientError):  # only a figure
            self._ledger.count(GIVEN_UP)


def note_name(server: str) -> str:
    """Under which name the ledger has why a server was not told something, the last time."""
    return f"{NOTE_PREFIX}{server}"


def _end(debt: Debt) -> str:
    """The object that its end is."""
    return keys.ended_collection(debt.subject) if debt.job is None else keys.result(debt.job)
