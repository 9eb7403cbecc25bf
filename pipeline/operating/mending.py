"""Ending a collection early, and taking back what failed of it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from pipeline import keys
from pipeline.collecting.shards import read_collection
from pipeline.errors import UsageError
from pipeline.objects import ObjectStore
from pipeline.operating.outcomes import outcomes
from pipeline.operating.report import not_all_done
from pipeline.operating.standing import read_closed
from pipeline.producer import Producer
from pipeline.webhooks.debts import Debt, Debts


def cancel(store: ObjectStore, producer: Producer, collection: str) -> int:
    """Let no more lines in, and end those jobs that came with it and are open; returns how many those are.

    What its steward lets in meanwhile, it ends itself. Raises UsageError when it has ended.
    """
    read_collection(store, collection)
    if store.exists(keys.ended_collection(collection)):
        raise UsageError(f"collection {collection} has already ended")
    store.create(keys.cancelled_collection(collection), b"{}\n")
    number = 0
    for job in producer.open_jobs():
        with suppress(UsageError):  # it has ended meanwhile
            if producer.job(job).collection == collection and not store.exists(keys.result(job)):
                producer.cancel(job)
                number += 1
    return number


def retry(store: ObjectStore, producer: Producer, collection: str) -> Iterator[str]:
    """Try again what is not done of a collection that nobody adds to; gives the jobs as they are opened again.

    Its steward counts those lines anew. Stopped half way, it goes on when it is called again. Raises UsageError.
    """
    closed = read_closed(store, collection)
    if closed is None and not store.exists(keys.cancelled_collection(collection)):
        read_collection(store, collection)
        raise UsageError(f"collection {collection} is still being submitted: give the same `submit` again first")
    is_wanted = not_all_done(store, collection)
    for job in _not_done(store, collection, is_wanted):
        with suppress(UsageError):  # another line with the same bytes was here first
            producer.retry(job)
            yield job
    store.delete([key for key in store.list(keys.ended_shards(collection)) if is_wanted(keys.numbers(key)[0])])
    store.delete([keys.cancelled_collection(collection), keys.closed_collection(collection)])
    if closed is not None:
        again = closed.model_copy(update={"closed_at": datetime.now(UTC)})  # whoever follows it sees the difference
        store.create(keys.closed_collection(collection), again.to_bytes())
    store.delete([keys.ended_collection(collection)])
    webhook = read_collection(store, collection).webhook
    if webhook is not None:  # its jobs' ends are owed by whoever lets them in
        Debts(store).owe(Debt(url=webhook, collection=collection, since=datetime.now(UTC)))
    store.create(keys.open_collection(collection), b"")


def _not_done(store: ObjectStore, collection: str, wanted: Callable[[int], bool]) -> Iterator[str]:
    for outcome in outcomes(store, collection, wanted):
        if outcome.result is not None and outcome.state != "done":
            yield outcome.job
