"""The steward: lets waiting jobs in while there is room, and sends again what was lost.

It trusts the bucket only. Two of them do no harm: what they send twice is worked on once.
"""

import logging
import signal
import threading

from pipeline.broker import Queues
from pipeline.errors import TransientError
from pipeline.fleet import open_ports
from pipeline.settings import Settings
from pipeline.stages import Ports
from pipeline.stages.reconcile import idle, lost, open_jobs

log = logging.getLogger(__name__)


class Steward:
    """Looks at the bucket now and then. Work counts as lost when two looks in a row find nothing of its job moving."""

    def __init__(self, ports: Ports, queues: Queues, jobs_in_flight: int) -> None:
        self._ports = ports
        self._queues = queues
        self._jobs_in_flight = jobs_in_flight
        self._idle_before: frozenset[str] = frozenset()

    def look(self) -> int:
        """Look once; returns how many messages were sent."""
        jobs = [job for job in open_jobs(self._ports) if self._ports.ledger.admit(job, self._jobs_in_flight)]
        resting = frozenset(idle(jobs, self._ports, self._queues.waiting()))
        num_sent = sum(self._send_lost(job) for job in sorted(resting & self._idle_before))
        self._idle_before = resting
        return num_sent

    def _send_lost(self, job: str) -> int:
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
    """Look every `steward.interval` seconds until told to stop."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    queues = Queues(settings)
    steward = Steward(open_ports(settings), queues, settings.steward.jobs_in_flight)
    while not stop.wait(settings.steward.interval):
        try:
            steward.look()
        except TransientError as error:
            log.warning("cannot look now: %s (%s)", error, error.detail)
