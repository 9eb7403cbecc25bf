"""The ports of a process of the fleet: its own connections to the object store, the ledger and the queue."""

from pipeline.broker import Queues
from pipeline.redis_ledger import RedisLedger
from pipeline.settings import Settings
from pipeline.stages import Ports
from pipeline.store import open_store


def open_ports(settings: Settings) -> Ports:
    """Connect; after a fork, never before it. Raises WorldError, UsageError, TransientError."""
    return Ports(
        store=open_store(settings.s3),
        ledger=RedisLedger(settings),
        send=Queues(settings).send,
        windows_ahead=settings.cutting.windows_ahead,
        max_attempts=settings.steward.max_attempts,
        limits=settings.limits,
    )
