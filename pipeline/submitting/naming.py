"""Which collection it is: the same names, task, options and engine are the same one, so that it goes on. Pure."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from pipeline.errors import UsageError
from pipeline.identity import Asked
from pipeline.job import Job, Options, Priority

_ID = re.compile(r"c[a-z2-7]{24}")
_SPAN = re.compile(r"\+(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def derived_id(named: Sequence[str], task: str, options: Options, engine: str, tenant: str) -> str:
    """`named`: absolute paths and addresses, in the order in which they were given."""
    return _id(
        {
            "tenant": tenant,
            "named": list(named),
            "task": task,
            "options": options.model_dump(exclude_defaults=True),
            "engine": engine,
        }
    )


def named_id(name: str, tenant: str) -> str:
    """Of a collection that its submitter gave a name."""
    return _id({"tenant": tenant, "name": name})


def is_id(word: str) -> bool:
    """Whether it looks like the id of a collection."""
    return _ID.fullmatch(word) is not None


def title(named: Sequence[str]) -> str:
    """What people may call a collection that nobody gave a name."""
    return named[0] if len(named) == 1 else f"{named[0]} and {len(named) - 1} more"


def moment(text: str, now: datetime) -> datetime:
    """A time as a user writes it: `+6h` from now, or ISO 8601, in the time zone of `now` if it names none.

    Raises UsageError.
    """
    if span := _SPAN.fullmatch(text):
        try:
            return now + timedelta(seconds=float(span[1]) * _SECONDS[span[2]])
        except OverflowError as error:
            raise UsageError(f"{text!r} is too far away: the last year is 9999") from error
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no time: write 2026-11-30T18:00 or +6h (s, m, h or d from now)") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=now.tzinfo)


def check_tenant(tenant: str) -> None:
    """Raise UsageError for what is no name of a tenant."""
    pattern = next(one.pattern for one in Job.model_fields["tenant"].metadata if getattr(one, "pattern", None))
    if re.fullmatch(pattern, tenant) is None:
        raise UsageError(f"{tenant!r} cannot be a tenant: small letters, digits and hyphens, 63 at most")


def who(tenant: str, priority: Priority, deadline: str | None, now: datetime, webhook: str | None = None) -> Asked:
    """Who asks, as a command line says it. Raises UsageError."""
    check_tenant(tenant)
    return Asked(
        tenant=tenant,
        priority=priority,
        deadline=None if deadline is None else moment(deadline, now),
        webhook=webhook,
    )


def _id(identity: dict[str, object]) -> str:
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode("utf-8", "surrogatepass")).digest()
    return "c" + base64.b32encode(digest[:15]).decode().lower()
