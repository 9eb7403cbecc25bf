"""The checker: from a versioned bucket and the submitter's log alone, whether the mill kept its promise.

It shares no code with the mill: keys and documents are read here as the published layout describes them.
I1 every accepted job ended, with all its outputs; I2 nothing was written twice; I3 the text is the one that its item
must give; I5 nothing is left open; I6 no healthy item was quarantined, and no sick one was let through; I7 each end was
told by webhook at least once, signed, and in the same words each time.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minio import Minio

from tests.webhook_receiver import Delivery

ENDED = frozenset({"done", "partial", "failed", "cancelled"})
#: Temporary objects, which may be written anew after they were deleted. Everything else of a job is written once.
TEMPORARY = ("segments/", "whole.bin")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line of the submitter's log."""

    job: str
    name: str
    contains: tuple[str, ...]
    fate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What a bucket holds now, and how often each key was ever written."""

    writes: Mapping[str, int]
    present: frozenset[str]
    results: Mapping[str, Mapping[str, Any]]
    """By job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Lists of jobs, keys or complaints: all but the counts are empty when the promise was kept."""

    submitted: int
    done: int
    partial: int
    quarantined: int
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    healthy_quarantined: tuple[str, ...] = ()
    sick_passed: tuple[str, ...] = ()
    left_open: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    told_otherwise: tuple[str, ...] = ()
    """Ids of messages that were not always the same, not signed, or not what became of their job."""
    left_over: tuple[str, ...] = field(default=(), compare=False)
    """Temporary objects of jobs that ended: waste, and no broken promise."""

    @property
    def violations(self) -> dict[str, tuple[str, ...]]:
        """By name, those that there are."""
        names = (
            "lost",
            "doubled",
            "wrong",
            "healthy_quarantined",
            "sick_passed",
            "left_open",
            "untold",
            "told_otherwise",
        )
        found = {name: tuple(getattr(self, name)) for name in names}
        return {name: what for name, what in found.items() if what}


def read_log(path: Path) -> list[Accepted]:
    """What was accepted, each job once: the same bytes submitted twice are one job."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    jobs = {
        entry["accepted"]: Accepted(entry["accepted"], entry["name"], tuple(entry["contains"]), entry["fate"])
        for entry in entries
        if "accepted" in entry
    }
    return list(jobs.values())


def read_bucket(client: Minio, name: str) -> Bucket:
    """Every version of every key, then the results."""
    writes: dict[str, int] = {}
    present: set[str] = set()
    for version in client.list_objects(name, recursive=True, include_version=True):
        key = str(version.object_name)
        if version.is_delete_marker:
            continue
        writes[key] = writes.get(key, 0) + 1
        if version.is_latest == "true":
            present.add(key)
    results = {}
    for key in sorted(present):
        parts = key.split("/")
        if parts[0] == "jobs" and parts[2:] == ["result.json"]:
            response = client.get_object(name, key)
            results[parts[1]] = json.loads(response.read())
            response.close()
            response.release_conn()
    return Bucket(writes=writes, present=frozenset(present), results=results)


def judge(accepted: Collection[Accepted], bucket: Bucket, deliveries: Sequence[Delivery] | None = None) -> Verdict:
    """Hold what was promised against what is there. `deliveries` None: nobody was to be told."""
    quarantine = {key.removeprefix("quarantine/").removesuffix(".json") for key in _under("quarantine/", bucket)}
    healthy = [item for item in accepted if item.fate == "done"]
    sick = [item for item in accepted if item.fate == "failed"]
    statuses = {job: str(result.get("status")) for job, result in bucket.results.items()}
    ours = [statuses.get(item.job) for item in accepted]
    return Verdict(
        submitted=len(accepted),
        done=ours.count("done"),
        partial=ours.count("partial"),
        quarantined=len(quarantine & {item.job for item in accepted}),
        lost=tuple(item.job for item in accepted if not _has_ended(item.job, bucket)),
        doubled=tuple(sorted(key for key, number in bucket.writes.items() if number > 1 and _is_committed(key))),
        wrong=tuple(item.job for item in healthy if statuses.get(item.job) == "done" and not _as_told(item, bucket)),
        healthy_quarantined=tuple(
            f"{item.job} ({bucket.results.get(item.job, {}).get('error')})"
            for item in healthy
            if item.job in quarantine or statuses.get(item.job) in ENDED - {"done"}
        ),
        sick_passed=tuple(item.job for item in sick if statuses.get(item.job) == "done"),
        left_open=tuple(sorted([*_under("open/", bucket), *_under("open-collections/", bucket)])),
        untold=() if deliveries is None else _untold(accepted, deliveries),
        told_otherwise=tuple(_told_otherwise(deliveries or (), statuses)),
        left_over=tuple(
            sorted(
                key for key in _under("jobs/", bucket) if not _is_committed(key) and key.split("/")[1] in bucket.results
            )
        ),
    )


def _untold(accepted: Collection[Accepted], deliveries: Sequence[Delivery]) -> tuple[str, ...]:
    told = {delivery.subject for delivery in deliveries if delivery.is_taken}
    return tuple(item.job for item in accepted if item.job not in told)


def _told_otherwise(deliveries: Sequence[Delivery], statuses: Mapping[str, str]) -> Iterable[str]:
    first: dict[str, str] = {}
    for delivery in deliveries:
        is_same = first.setdefault(delivery.id, delivery.body) == delivery.body
        status = statuses.get(delivery.subject)
        is_so = status is None or delivery.event.get("type") == f"job.{status}"
        if not (is_same and is_so and delivery.is_signed):
            yield delivery.id


def _under(prefix: str, bucket: Bucket) -> Iterable[str]:
    return (key for key in bucket.present if key.startswith(prefix))


def _is_committed(key: str) -> bool:
    """Whether a key is one that is written once for all."""
    top, *rest = key.split("/", 2)
    if top in ("quarantine", "collections"):
        return True
    return top == "jobs" and not rest[-1].startswith(TEMPORARY)


def _has_ended(job: str, bucket: Bucket) -> bool:
    """A result of a known status, and every output that it names."""
    result = bucket.results.get(job)
    if result is None or result.get("status") not in ENDED or result.get("job") != job:
        return False
    return all(key in bucket.present for key in result.get("outputs", {}).values())


def _as_told(item: Accepted, bucket: Bucket) -> bool:
    text = str(bucket.results[item.job].get("text", ""))
    return all(text.count(words) == 1 for words in item.contains)


def check(client: Minio, bucket: str, log: Path, deliveries: Sequence[Delivery]) -> Verdict:
    return judge(read_log(log), read_bucket(client, bucket), deliveries)
