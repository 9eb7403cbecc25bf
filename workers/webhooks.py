"""The steward's second thread: it tells what is owed, so that a server that is slow to listen holds up no job."""

import logging
import threading
from uuid import uuid4

from pipeline.errors import TransientError
from pipeline.settings import Settings
from pipeline.stages import Ports
from pipeline.webhooks.delivering import Deliverer

log = logging.getLogger(__name__)

OFFICE = "webhooks"
#: The office is free when its holder is silent for so much longer than a message may take.
MARGIN_SECONDS = 10.0


class Teller:
    """A context manager: delivers while it is open, if nobody else does. A message on its way is waited for."""

    def __init__(self, ports: Ports, settings: Settings) -> None:
        self._ledger = ports.ledger
        self._interval = settings.steward.interval
        self._lease_seconds = settings.webhooks.request_seconds + MARGIN_SECONDS
        self._deliverer = Deliverer(ports.store, ports.ledger, settings.webhooks, leads=self._leads)
        self._name = uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def __enter__(self) -> "Teller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._deliverer.end()
        self._thread.join()
        self._deliverer.close()
        try:
            self._ledger.resign(OFFICE, self._name)
        except TransientError as error:
            log.warning("whoever delivers next has to wait: %s (%s)", error, error.detail)

    def _leads(self) -> bool:
        return self._ledger.lead(OFFICE, self._name, self._lease_seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._deliverer.look()
            except TransientError as error:
                log.warning("cannot deliver webhooks now: %s (%s)", error, error.detail)
            except Exception:
                # A thread that ended would leave everything untold, and nobody would see it.
                log.exception("delivering webhooks failed")
