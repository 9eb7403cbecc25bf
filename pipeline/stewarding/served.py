"""Which engines somebody runs. Infer workers say so now and then; whoever lets jobs in, or is asked, looks."""

from collections.abc import Iterable

from pipeline.ledger import Ledger

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


def _office(engine: str) -> str:
    return f"engine:{engine}"
