"""What is told: the body of a message, by Standard Webhooks 1.0.0 (standardwebhooks.com). Pure.

It names what there is to fetch and holds none of it. The same event has the same id and the same bytes, however often
it is sent, so that its receiver can tell a repetition.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline import keys
from pipeline.collecting.record import Collection, Ended
from pipeline.job import Result
from pipeline.webhooks.debts import Debt

#: A receiver takes 20 kB by the standard; the rest of a longer reason is in the result.
MAX_WORDS = 1_000


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    at: datetime  #: when it happened
    body: str  #: JSON, in ASCII: names of files may hold bytes that are no text


def job_event(debt: Debt, result: Result, at: datetime, address: Callable[[str], str]) -> Event:
    """`job.done`, `.partial`, `.failed` or `.cancelled`. `at`: when its result was written. `address`: of a key."""
    data = {
        "job": result.job,
        "collection": debt.collection,
        "custom_id": debt.custom_id,
        "name": result.media.name[:MAX_WORDS],
        "task": result.task,
        "status": result.status,
        "error": result.error and result.error[:MAX_WORDS],
        "seconds": result.media.duration,
        "language": result.language,
        "result": address(keys.result(result.job)),
        "outputs": {name: address(key) for name, key in result.outputs.items()},
    }
    return _event(f"job.{result.status}", debt, at, data)


def collection_event(debt: Debt, collection: Collection, ended: Ended, at: datetime) -> Event:
    """`collection.ended`, with how many of its lines became what. `at`: when that was written."""
    data = {
        "collection": collection.id,
        "name": collection.name[:MAX_WORDS],
        "lines": ended.tally.lines,
        "statuses": ended.tally.statuses,
        "seconds": ended.tally.seconds,
    }
    return _event("collection.ended", debt, at, data)


def _event(kind: str, debt: Debt, at: datetime, data: dict[str, Any]) -> Event:
    digest = hashlib.sha256(f"{debt.url} {debt.key} {kind} {at.isoformat()}".encode()).hexdigest()
    body = {"type": kind, "timestamp": at.isoformat(), "data": data}
    return Event(f"msg_{digest[:32]}", at, json.dumps(body, separators=(",", ":")))
