"""The checker: from a versioned bucket and the submitter's log alone, whether the mill kept its promise.

It shares no code with the mill: keys and documents are read here as the published layout describes them.
I1 every accepted job and collection ended, with all its outputs; I2 nothing was written twice, and each planned segment
has one answer; I3 the text of a result and of its transcript is, word for word, the one that its item must give; I5
nothing is left open; I6 no healthy item was quarantined, and each sick one was, with a reason; I7 each end was told by
webhook at least once, signed, and in the same words each time.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from minio import Minio

from tests.webhook_receiver import Delivery

ENDED = frozenset({"done", "partial", "failed", "cancelled"})
#: Temporary objects, which may be written anew after they were deleted. Everything else of a job is written once.
TEMPORARY = ("segments/", "whole.bin")
#: What of a job is read: its result, what a reader gets of it, and what it was made from.
READ = ("result.json", "transcript.txt", "plans/", "answers/")
READERS = 8  # threads

Place = tuple[int, int]  #: window, index of a segment


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line of the submitter's log."""

    job: str
    name: str
    text: str
    fate: str


@dataclass(frozen=True, slots=True)
class Log:
    """What was accepted."""

    jobs: tuple[Accepted, ...]
    collections: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What a bucket holds now, and how often each key was ever written."""

    writes: Mapping[str, int]
    present: frozenset[str]
    documents: Mapping[str, Any]
    """By key: what stands in those objects of jobs that are read. JSON, or the text of a transcript."""

    @property
    def results(self) -> dict[str, Mapping[str, Any]]:
        """By job."""
        return {key.split("/")[1]: document for key, document in self.documents.items() if key.endswith("/result.json")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Lists of jobs, keys or complaints: all but the counts are empty when the promise was kept."""

    submitted: int
    done: int
    partial: int
    quarantined: int
    lost: tuple[str, ...] = ()
    """Jobs and collections."""
    doubled: tuple[str, ...] = ()
    misanswered: tuple[str, ...] = ()
    """Jobs that are done, of which a planned segment has no answer or more than one."""
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
        lists = {one.name: getattr(self, one.name) for one in fields(self) if one.compare}
        return {name: found for name, found in lists.items() if isinstance(found, tuple) and found}


def read_log(path: Path) -> Log:
    """What was accepted, each job once: the same bytes submitted twice are one job."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    jobs = {
        entry["accepted"]: Accepted(entry["accepted"], entry["name"], entry["text"], entry["fate"])
        for entry in entries
        if "accepted" in entry
    }
    return Log(tuple(jobs.values()), tuple(entry["collection"] for entry in entries if "collection" in entry))


def read_bucket(client: Minio, name: str) -> Bucket:
    """Every version of every key, then the documents."""
    writes: dict[str, int] = {}
    present: set[str] = set()
    for version in client.list_objects(name, recursive=True, include_version=True):
        key = str(version.object_name)
        if version.is_delete_marker:
            continue
        writes[key] = writes.get(key, 0) + 1
        if version.is_latest == "true":
            present.add(key)

    def document(key: str) -> Any:
        response = client.get_object(name, key)
        data = response.read()
        response.close()
        response.release_conn()
        return json.loads(data) if key.endswith(".json") else data.decode()

    wanted = sorted(key for key in _under("jobs/", present) if key.split("/", 2)[2].startswith(READ))
    with ThreadPoolExecutor(READERS) as pool:
        documents = dict(zip(wanted, pool.map(document, wanted), strict=True))
    return Bucket(writes=writes, present=frozenset(present), documents=documents)


def judge(accepted: Log, bucket: Bucket, deliveries: Sequence[Delivery] | None = None) -> Verdict:
    """Hold what was promised against what is there. `deliveries` None: nobody was to be told."""
    present = bucket.present
    quarantine = {key.removeprefix("quarantine/").removesuffix(".json") for key in _under("quarantine/", present)}
    healthy = [item for item in accepted.jobs if item.fate == "done"]
    sick = [item for item in accepted.jobs if item.fate == "failed"]
    results = bucket.results
    statuses = {job: str(result.get("status")) for job, result in results.items()}
    ours = [statuses.get(item.job) for item in accepted.jobs]
    done = [item for item in healthy if statuses.get(item.job) == "done"]
    return Verdict(
        submitted=len(accepted.jobs),
        done=ours.count("done"),
        partial=ours.count("partial"),
        quarantined=len(quarantine & {item.job for item in accepted.jobs}),
        lost=(
            *(item.job for item in accepted.jobs if not _has_ended(item.job, results.get(item.job), present)),
            *(name for name in accepted.collections if f"collections/{name}/ended.json" not in present),
        ),
        doubled=tuple(sorted(key for key, number in bucket.writes.items() if number > 1 and _is_committed(key))),
        misanswered=tuple(sorted(_misanswered(bucket.documents, {item.job for item in done}))),
        wrong=tuple(item.job for item in done if not _is_said(item, bucket.documents)),
        healthy_quarantined=tuple(
            f"{item.job} ({results.get(item.job, {}).get('error')})"
            for item in healthy
            if item.job in quarantine or statuses.get(item.job) in ENDED - {"done"}
        ),
        sick_passed=tuple(
            item.job
            for item in sick
            if item.job in results and not (_is_failed(results[item.job]) and item.job in quarantine)
        ),
        left_open=tuple(sorted([*_under("open/", present), *_under("open-collections/", present)])),
        untold=() if deliveries is None else _untold(accepted, deliveries),
        told_otherwise=tuple(_told_otherwise(deliveries or (), statuses)),
        left_over=tuple(
            sorted(key for key in _under("jobs/", present) if not _is_committed(key) and key.split("/")[1] in results)
        ),
    )


def _untold(accepted: Log, deliveries: Sequence[Delivery]) -> tuple[str, ...]:
    told = {delivery.subject for delivery in deliveries if delivery.is_taken}
    return tuple(one for one in (*(item.job for item in accepted.jobs), *accepted.collections) if one not in told)


def _told_otherwise(deliveries: Sequence[Delivery], statuses: Mapping[str, str]) -> Iterable[str]:
    first: dict[str, str] = {}
    for delivery in deliveries:
        is_same = first.setdefault(delivery.id, delivery.body) == delivery.body
        status = statuses.get(delivery.subject)
        is_so = status is None or delivery.event.get("type") == f"job.{status}"
        if not (is_same and is_so and delivery.is_signed):
            yield delivery.id


def _under(prefix: str, present: Collection[str]) -> Iterable[str]:
    return (key for key in present if key.startswith(prefix))


def _is_committed(key: str) -> bool:
    """Whether a key is one that is written once for all."""
    top, *rest = key.split("/", 2)
    if top in ("quarantine", "collections"):
        return True
    return top == "jobs" and not rest[-1].startswith(TEMPORARY)


def _has_ended(job: str, result: Mapping[str, Any] | None, present: Collection[str]) -> bool:
    """A result of a known status, and every output that it names."""
    if result is None or result.get("status") not in ENDED or result.get("job") != job:
        return False
    return all(key in present for key in result.get("outputs", {}).values())


def _is_failed(result: Mapping[str, Any]) -> bool:
    return result.get("status") == "failed" and bool(result.get("error"))


def _is_said(item: Accepted, documents: Mapping[str, Any]) -> bool:
    """Whether a result and its transcript say what they must, however their lines are broken."""
    said = (
        documents[f"jobs/{item.job}/result.json"].get("text"),
        documents.get(f"jobs/{item.job}/transcript.txt", item.text),
    )
    return all(str(text).split() == item.text.split() for text in said)


def _misanswered(documents: Mapping[str, Any], jobs: Collection[str]) -> set[str]:
    """Of these jobs, those of which some planned segment has not exactly one answer."""
    planned: set[tuple[str, Place]] = set()
    answered: Counter[tuple[str, Place]] = Counter()
    for key, document in documents.items():
        _, job, folder, *name = key.split("/")
        if job not in jobs or not name:
            continue
        window, *numbers = (int(part) for part in name[0].removesuffix(".json").split("-"))
        if folder == "plans":
            planned |= {(job, (window, index)) for index in range(len(document.get("segments", ())))}
        else:
            answered.update((job, (window, index)) for index in _indices(numbers, document))
    once = {one for one, number in answered.items() if number == 1}
    return {job for job, _ in planned ^ once | {one for one, number in answered.items() if number > 1}}


def _indices(numbers: Sequence[int], document: Mapping[str, Any]) -> list[int]:
    """Which segments an object of answers answers: that of one, or of several those that it does not leave out."""
    if len(numbers) == 1:
        return [numbers[0]]
    first = numbers[0]
    return [first + place for place, answer in enumerate(document["answers"]) if answer is not None]


def check(client: Minio, bucket: str, log: Path, deliveries: Sequence[Delivery]) -> Verdict:
    return judge(read_log(log), read_bucket(client, bucket), deliveries)
