"""Ending a collection early, and taking back what failed of it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from pipeline import keys
from pipeline.collecting.shards import read_closed, read_collection
from pipeline.errors import UsageError
from pipeline.objects import ObjectStore
from pipeline.operating.outcomes import job_now, outcomes
from pipeline.operating.report import not_all_done
from pipeline.operating.sharing import Others
from pipeline.producer import Producer
from pipeline.webhooks.debts import Debt, Debts


def cancel(store: ObjectStore, producer: Producer, collection: str) -> int:
    """Let no more lines in, and end those jobs that came with it and are open; returns how many those are.

    Those that another open collection waits for go on. What its steward lets in meanwhile, it ends itself. Raises
    UsageError when it has ended.
    """
    read_collection(store, collection)
    if store.exists(keys.ended_collection(collection)):
        raise UsageError(f"collection {collection} has already ended")
    store.create(keys.cancelled_collection(collection), b"{}\n")
    number, others = 0, Others(store, collection)
    for name in producer.open_jobs():
        with suppress(UsageError, ValueError):  # it has ended meanwhile, or cannot be read
            job = producer.job(name)
            if job.collection == collection and not others.want(job) and not store.exists(keys.result(name)):
                producer.cancel(name)
                number += 1
    return number


def retry(store: ObjectStore, producer: Producer, collection: str) -> Iterator[str]:
    """Try again what is not done of a collection that nobody adds to; gives the jobs as they are opened again.

    Its steward counts those lines anew; one whose media has changed elsewhere becomes another job then. Stopped half
    way, it goes on when it is called again. Raises UsageError.
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
    ended = {key: keys.numbers(key)[0] for key in store.list(keys.ended_shards(collection))}
    anew = {key: number for key, number in ended.items() if is_wanted(number)}
    store.delete([keys.jobs_of_shard(collection, number) for number in anew.values()])  # made anew with the tally
    store.delete(list(anew))
    store.delete([keys.cancelled_collection(collection), keys.closed_collection(collection), keys.promise(collection)])
    if closed is not None:  # whoever follows it sees the difference
        again = closed.model_copy(update={"closed_at": datetime.now(UTC), "again": True})
        store.create(keys.closed_collection(collection), again.to_bytes())
    store.delete([keys.ended_collection(collection)])
    webhook = read_collection(store, collection).webhook
    if webhook is not None:  # its jobs' ends are owed by whoever lets them in
        Debts(store).owe(Debt(url=webhook, collection=collection, since=datetime.now(UTC)))
    store.create(keys.open_collection(collection), b"")


def _not_done(store: ObjectStore, collection: str, wanted: Callable[[int], bool]) -> Iterator[str]:
    """Jobs that their lines are still: what lies elsewhere may have changed since."""
    found = read_collection(store, collection)
    for outcome in outcomes(store, collection, wanted):
        if outcome.result is None or outcome.state == "done":
            continue
        if outcome.job == job_now(store, outcome.line, found):
            yield outcome.job
