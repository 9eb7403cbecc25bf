"""What cannot be read of the bucket: left alone, so that the others go on, and told, so that somebody mends it."""

import logging

from pipeline.ledger import Ledger

log = logging.getLogger(__name__)

#: What the ledger counts them as, which `status` shows.
UNREADABLE = "unreadable"
#: So many are remembered, so that each is told once and not at every look.
MAX_TOLD = 10_000


class Troubles:
    """Safe for threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._told: set[str] = set()

    def tell(self, what: str) -> None:
        """Of the exception that is being handled."""
        if what in self._told:
            return
        log.exception("%s cannot be read", what)
        self._ledger.count(UNREADABLE)
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told.add(what)
