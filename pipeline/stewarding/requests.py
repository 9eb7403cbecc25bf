"""Many requests to the object store at once, of which some may fail without a word about the others."""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipeline.errors import TransientError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Found = TypeVar("Found")

THREADS = 8
#: So many of what is done at once may meet an outage before it is taken for one of the whole store.
MOST_OUTAGES = 8


class Requests:
    """Threads of one owner."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="requests")

    def each(
        self, act: Callable[[Item], Found], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Found | TransientError]]:
        """What comes of each, in order. What meets an outage gives that; one that very many meet is raised."""
        coming = [(item, self._pool.submit(act, item)) for item in items]
        outages = 0
        for item, future in coming:
            try:
                found: Found | TransientError = future.result()
            except TransientError as error:
                outages += 1
                if outages == MOST_OUTAGES:
                    for _, late in coming:
                        late.cancel()
                    raise
                log.warning("left for later: %s (%s)", error, error.detail)
                found = error
            yield item, found

    def close(self) -> None:
        self._pool.shutdown()
