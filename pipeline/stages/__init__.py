"""The work itself: prepare, cut, infer, finish, and reconcile, as plain functions.

They know no queue and no process: what they touch comes in as ports. Any of them may run twice, or die at any line.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.job import Work
from pipeline.ledger import Ledger
from pipeline.settings import Limits
from pipeline.store import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The outside world of a stage."""

    store: ObjectStore
    ledger: Ledger
    send: Callable[[Work], None]  #: put work on its queue; may lose it or deliver it twice
    windows_ahead: int = 4
    max_attempts: int = 3
    limits: Limits = field(default_factory=Limits)
