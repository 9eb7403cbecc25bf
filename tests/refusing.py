"""A store that is away for one object, as long as a test wants."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pipeline.errors import TransientError
from tests.doubles import MemoryStore
from tests.unit.test_collections import Mill

FOR_EVER = 10**9


def refuse(store: MemoryStore, method: str, key: str, times: int = 1) -> Callable[[], int]:
    """Let a method fail when it is called about this object, so many times; gives how often it did."""
    real, failed = getattr(store, method), [0]

    def refusing(*about: Any, **more: Any) -> Any:
        if failed[0] < times and key in ("/".join(map(str, about[:2])) if method == "mark" else about[0]):
            failed[0] += 1
            raise TransientError(f"the store is away for {key}")
        return real(*about, **more)

    setattr(store, method, refusing)
    return lambda: failed[0]


def look_and_work(mill: Mill, times: int) -> None:
    """As the steward's loop does: an outage ends a look, and the next one goes on."""
    for _ in range(times):
        with suppress(TransientError):
            mill.steward.look()
        mill.work()
