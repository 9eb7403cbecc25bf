"""Which engines somebody runs. Infer workers say so now and then; whoever lets jobs in, or is asked, looks."""

import logging
from collections.abc import Iterable, Set

from pipeline.errors import TransientError
from pipeline.ledger import Ledger

log = logging.getLogger(__name__)

#: So long it is believed: longer than a worker takes to start anew and load its model.
SERVED_SECONDS = 300.0
#: Between two times that it is said.
TELL_SECONDS = 30.0


def tell_served(engine: str, ledger: Ledger) -> None:
    """Say that an infer worker runs this engine, as jobs name it. Those who run the same hold one office together."""
    ledger.lead(_office(engine), "infer", SERVED_SECONDS)


def served(engines: Iterable[str], ledger: Ledger) -> frozenset[str]:
    """Those of these engines that somebody runs."""
    return frozenset(engine for engine in engines if ledger.is_led(_office(engine)))


def is_served(engine: str, ledger: Ledger) -> bool:
    """Whether anybody runs an engine, as far as is known: while Redis is away, yes."""
    try:
        return bool(served([engine], ledger))
    except TransientError:
        return True


class Served:
    """What the log was told of engines that nobody runs."""

    def __init__(self) -> None:
        self._missing: Set[str] = frozenset()

    def among(self, asked: Set[str], ledger: Ledger) -> frozenset[str]:
        """Those of the engines that jobs ask for that somebody runs. What asks for another gives way to the others."""
        found = served(asked, ledger)
        missing = asked - found if found else frozenset()
        for engine in sorted(missing - self._missing):
            log.warning("no infer worker runs %s: jobs that ask for it take no places from others meanwhile", engine)
        self._missing = missing
        return found


def _office(engine: str) -> str:
    return f"engine:{engine}"
