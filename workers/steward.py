"""The steward: lets waiting jobs in while there is room, sends again what was lost, follows collections to their end.

It trusts the bucket only. One of them leads, by a lease; two that both think so do no harm: what they send twice is
worked on once.
"""

import logging
import signal
import threading
import time
from uuid import uuid4

from pipeline import keys
from pipeline.broker import Queues
from pipeline.errors import TransientError
from pipeline.fleet import open_ports
from pipeline.producer import Producer
from pipeline.settings import Settings
from pipeline.stages import Ports
from pipeline.stages.reconcile import idle, lost, open_jobs
from pipeline.stewarding.admitting import Admitter
from pipeline.stewarding.progress import Prospects
from pipeline.stewarding.recovery import Sweeper, recover
from workers.webhooks import Teller

log = logging.getLogger(__name__)

#: Seconds between two turns in which jobs are let in; the looks at the bucket are further apart.
TURN_SECONDS = 0.2
#: Held by the one that leads; under the same name, the ledger notes who led last.
OFFICE = "steward"


class Steward:
    """Looks at the bucket now and then. Work counts as lost when two looks in a row find nothing of its job moving."""

    def __init__(self, ports: Ports, queues: Queues, settings: Settings) -> None:
        self._ports = ports
        self._queues = queues
        self._settings = settings.steward
        self._price = settings.price_per_hour
        self._producer = Producer(ports, settings)
        self._name = uuid4().hex
        self._office_seconds = max(3 * self._settings.interval, 5.0)
        self._renewed = time.monotonic()
        self._not_before = 0.0
        self._is_blank = False
        self._know_nothing()

    def leads(self) -> bool:
        """Whether this is the one that acts. The office is free again when its holder is silent for three looks.

        Where another has led since, what this one remembers is stale, and it starts from the bucket.
        """
        if not self._renew():
            return False
        if self._ports.ledger.noted(OFFICE) != self._name:
            self._admitter.close()
            self._know_nothing()
            self._ports.ledger.note(OFFICE, self._name)
        return True

    def look(self) -> int:
        """Look once at everything that is open; returns how many messages were sent again."""
        self._is_blank = self._ports.ledger.is_blank() or self._is_blank
        if self._is_blank:
            self._start_anew()
            self._is_blank = False
        if time.monotonic() < self._not_before:
            return 0
        is_open = frozenset(open_jobs(self._ports))
        self._hear()  # after the listing: what is gone from it has mostly said how it ended, and need not be read
        in_flight = self._ports.ledger.in_flight()
        self._dismiss(in_flight - is_open)
        self._admitter.refresh(is_open, in_flight)
        num_sent = self._send_again(in_flight & is_open)
        self._go_on()
        self._sweeper.sweep(is_open)
        try:
            self.turn()  # last: what it meets keeps nothing else from being looked at
        finally:
            self._prospects.tell(self._admitter.followed)
        return num_sent

    def turn(self) -> int:
        """Let in what there is room for; returns how many jobs."""
        if time.monotonic() < self._not_before:
            return 0
        self._hear()
        return self._admitter.admit() if self._admitter.has_waiting else 0

    def _know_nothing(self) -> None:
        self._admitter = Admitter(self._ports, self._producer, self._settings.jobs_in_flight, go_on=self._go_on)
        self._sweeper = Sweeper(self._ports)
        self._prospects = Prospects(self._ports, self._price)
        self._idle_before: frozenset[str] = frozenset()
        self._gone_before: frozenset[str] = frozenset()

    def _renew(self) -> bool:
        self._renewed = time.monotonic()
        return self._ports.ledger.lead(OFFICE, self._name, self._office_seconds)

    def _go_on(self) -> None:
        """Keep the office in a long look. Raises TransientError when another leads by now."""
        if time.monotonic() - self._renewed > self._office_seconds / 3 and not self._renew():
            raise TransientError("another steward leads by now")

    def _hear(self) -> None:
        endings = self._ports.ledger.endings()
        self._prospects.did(sum(ending.seconds for ending in endings))
        self._admitter.ended(endings)

    def close(self) -> None:
        """Let another one lead."""
        self._admitter.close()
        self._ports.ledger.resign(OFFICE, self._name)

    def _start_anew(self) -> None:
        """Redis knows nothing: tell it what the bucket knows, and give those who still work time to say so."""
        if not self._ports.store.exists(keys.STARTED):  # it never knew anything
            self._ports.store.create(keys.STARTED, b"")
            return
        found = recover(self._ports)
        self._sweeper.doubt(open_jobs(self._ports))
        if found.jobs:
            log.warning("the ledger is empty while %d jobs are open: starting from the bucket", found.jobs)
            self._not_before = time.monotonic() + self._settings.lease_seconds / 2

    def _dismiss(self, gone: frozenset[str]) -> None:
        """Jobs in flight that are not open, twice in a row: whoever closed them could not say so."""
        self._ports.ledger.dismiss(sorted(gone & self._gone_before))
        self._gone_before = gone

    def _send_again(self, jobs: frozenset[str]) -> int:
        resting = frozenset(idle(sorted(jobs), self._ports, self._queues.waiting()))
        num_sent = sum(self._send_lost(job) for job in sorted(resting & self._idle_before))
        self._idle_before = resting
        if num_sent:
            self._ports.ledger.count("sent_again", num_sent)
        return num_sent

    def _send_lost(self, job: str) -> int:
        self._go_on()
        try:
            works = lost(job, self._ports)
        except TransientError:
            raise
        except Exception:
            # What is stored of this job cannot be read. The others must not wait for whoever mends it.
            log.exception("cannot make out what job %s lacks", job)
            return 0
        for work in works:
            log.info("sending %s", work.name)
            self._ports.send(work)
        return len(works)


def run(settings: Settings) -> None:
    """Look every `steward.interval` seconds, and let jobs in between, until told to stop."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ports = open_ports(settings)
    with Teller(ports, settings):
        _lead(Steward(ports, Queues(settings), settings), settings, stop)


def _lead(steward: Steward, settings: Settings, stop: threading.Event) -> None:
    looked = float("-inf")
    while not stop.wait(min(TURN_SECONDS, settings.steward.interval)):
        try:
            if not steward.leads():
                continue
            if time.monotonic() - looked >= settings.steward.interval:
                steward.look()
                looked = time.monotonic()
            else:
                steward.turn()
        except TransientError as error:
            log.warning("cannot look now: %s (%s)", error, error.detail)
            looked = time.monotonic()
            stop.wait(settings.steward.interval)  # not five lines of the log a second
    try:
        steward.close()
    except TransientError as error:
        log.warning("the next steward has to wait: %s (%s)", error, error.detail)
