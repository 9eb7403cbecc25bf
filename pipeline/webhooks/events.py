"""What is told: the body of a message, by Standard Webhooks 1.0.0 (standardwebhooks.com). Pure.

It names what there is to fetch and holds none of it. The same event has the same id and the same bytes, however often
it is sent, so that its receiver can tell a repetition.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from pydantic import BaseModel

from pipeline import keys
from pipeline.collecting.record import Collection, Ended
from pipeline.job import Seconds, Status
from pipeline.webhooks.debts import Debt

#: Bytes of JSON. A receiver takes 20 kB by the standard; the rest of a longer reason, or list, is in the result.
MAX_WORDS, MAX_OUTPUTS = 1_500, 8_000


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    at: datetime  #: when it happened
    body: str  #: JSON, in ASCII: names of files may hold bytes that are no text


class ToldMedia(BaseModel):
    name: str
    duration: Seconds | None


class ToldResult(BaseModel):
    """What is told of a result. All else in it, which may be 100 MB, is not kept."""

    job: str
    status: Status
    error: str | None
    task: str
    media: ToldMedia
    language: str | None
    outputs: dict[str, str]


def job_event(debt: Debt, result: ToldResult, at: datetime, address: Callable[[str], str]) -> Event:
    """`job.done`, `.partial`, `.failed` or `.cancelled`. `at`: when its result was written. `address`: of a key."""
    data = {
        "job": result.job,
        "collection": debt.collection,
        "custom_id": _short(debt.custom_id),
        "name": _short(result.media.name),
        "task": result.task,
        "status": result.status,
        "error": _short(result.error),
        "seconds": result.media.duration,
        "language": _short(result.language),
        "result": address(keys.result(result.job)),
        "outputs": dict(_first((name, address(key)) for name, key in result.outputs.items())),
    }
    return _event(f"job.{result.status}", debt, at, data)


def collection_event(debt: Debt, collection: Collection, ended: Ended, at: datetime) -> Event:
    """`collection.ended`, with how many of its lines became what. `at`: when that was written."""
    data = {
        "collection": collection.id,
        "name": _short(collection.name),
        "lines": ended.tally.lines,
        "statuses": ended.tally.statuses,
        "seconds": ended.tally.seconds,
    }
    return _event("collection.ended", debt, at, data)


def _event(kind: str, debt: Debt, at: datetime, data: dict[str, Any]) -> Event:
    body = json.dumps({"type": kind, "timestamp": at.isoformat(), "data": data}, separators=(",", ":"))
    digest = hashlib.sha256(f"{debt.url} {debt.key} {body}".encode()).hexdigest()
    return Event(f"msg_{digest[:32]}", at, body)


def _short(words: str | None) -> str | None:
    """As many of its letters as fit; one may take twelve bytes."""
    if words is None:
        return None
    sizes = accumulate(len(json.dumps(letter)) - 2 for letter in words[:MAX_WORDS])
    return words[: sum(size <= MAX_WORDS for size in sizes)]


def _first(outputs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """As many as fit."""
    kept = list(outputs)
    sizes = accumulate(len(json.dumps(output)) for output in kept)
    return kept[: sum(size <= MAX_OUTPUTS for size in sizes)]
