"""The checker finds each violation that is planted, and none in a bucket that keeps the promise."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import Accepted, Bucket, Log, judge, read_log
from tests.webhook_receiver import Delivery

HEALTHY = Accepted("jhealthy", "a.txt", "It says m000000000001.", "done")
SICK = Accepted("jsick", "b.wav", "", "failed")
LOG = Log((HEALTHY, SICK), ("archive",))
RESULT, TRANSCRIPT = "jobs/jhealthy/result.json", "jobs/jhealthy/transcript.txt"
PARCEL = "jobs/jhealthy/answers/00000-00000-00001.json"


def result(job: str, status: str = "done", text: str = HEALTHY.text, error: str | None = None) -> dict[str, Any]:
    outputs = {"json": f"jobs/{job}/result.json", "text": f"jobs/{job}/transcript.txt"}
    return {"job": job, "status": status, "error": error, "text": text, "outputs": outputs}


def kept() -> Bucket:
    """One job done, one failed: as it should be."""
    documents: dict[str, Any] = {
        RESULT: result("jhealthy"),
        TRANSCRIPT: "It says\nm000000000001.\n",
        "jobs/jhealthy/plans/00000.json": {"segments": [{}, {}, {}]},
        PARCEL: {"answers": [{"spans": []}, None]},
        "jobs/jhealthy/answers/00000-00001.json": {"spans": []},
        "jobs/jhealthy/answers/00000-00002.json": {"spans": []},
        "jobs/jsick/result.json": result("jsick", "failed", "", "it is no media"),
        "jobs/jsick/transcript.txt": "[no transcript: it is no media]\n",
    }
    keys = [*documents, "quarantine/jsick.json", "collections/archive/ended.json"]
    deleted = ["open/jhealthy", "open/jsick", "open-collections/archive", "jobs/jhealthy/segments/00000-00000.bin"]
    return Bucket(writes=dict.fromkeys([*keys, *deleted], 1), present=frozenset(keys), documents=documents)


def violations(bucket: Bucket) -> set[str]:
    return set(judge(LOG, bucket).violations)


def without(bucket: Bucket, *keys: str) -> Bucket:
    documents = {key: document for key, document in bucket.documents.items() if key not in keys}
    return replace(bucket, present=bucket.present - set(keys), documents=documents)


def with_document(bucket: Bucket, key: str, document: Any) -> Bucket:
    return replace(bucket, present=bucket.present | {key}, documents={**bucket.documents, key: document})


def with_result(bucket: Bucket, job: str, /, **changes: Any) -> Bucket:
    return with_document(bucket, f"jobs/{job}/result.json", {**bucket.results[job], **changes})


def written_again(bucket: Bucket, key: str) -> Bucket:
    return replace(bucket, writes={**bucket.writes, key: 2})


def test_a_kept_promise_has_no_violation() -> None:
    verdict = judge(LOG, kept())
    assert verdict.violations == {}
    assert (verdict.submitted, verdict.done, verdict.quarantined) == (2, 1, 1)


PLANTED: dict[str, tuple[Callable[[Bucket], Bucket], str]] = {
    "no result": (lambda bucket: without(bucket, RESULT), "lost"),
    "a collection that did not end": (lambda bucket: without(bucket, "collections/archive/ended.json"), "lost"),
    "an unknown status": (lambda bucket: with_result(bucket, "jhealthy", status="running"), "lost"),
    "somebody else's result": (lambda bucket: with_result(bucket, "jhealthy", job="jother"), "lost"),
    "an output that is not there": (lambda bucket: without(bucket, "jobs/jhealthy/transcript.txt"), "lost"),
    "a second result": (lambda bucket: written_again(bucket, "jobs/jhealthy/result.json"), "doubled"),
    "a second answer": (lambda bucket: written_again(bucket, "jobs/jhealthy/answers/00000-00000.json"), "doubled"),
    "a second plan": (lambda bucket: written_again(bucket, "jobs/jhealthy/plans/00000.json"), "doubled"),
    "a second verdict": (lambda bucket: written_again(bucket, "quarantine/jsick.json"), "doubled"),
    "another text": (lambda bucket: with_result(bucket, "jhealthy", text="It says nothing."), "wrong"),
    "somebody else's words behind it": (
        lambda bucket: with_result(bucket, "jhealthy", text=f"{HEALTHY.text} m000000000002."),
        "wrong",
    ),
    "its words in another order": (
        lambda bucket: with_result(bucket, "jhealthy", text="m000000000001. It says"),
        "wrong",
    ),
    "another transcript": (lambda bucket: with_document(bucket, TRANSCRIPT, "It says nothing.\n"), "wrong"),
    "a segment without an answer": (
        lambda bucket: without(bucket, "jobs/jhealthy/answers/00000-00002.json"),
        "misanswered",
    ),
    "a segment answered twice": (
        lambda bucket: with_document(bucket, PARCEL, {"answers": [{"spans": []}, {"spans": []}]}),
        "misanswered",
    ),
    "an answer to no segment": (
        lambda bucket: with_document(bucket, "jobs/jhealthy/answers/00001-00000.json", {"spans": []}),
        "misanswered",
    ),
    "a healthy item that failed": (
        lambda bucket: with_result(bucket, "jhealthy", status="failed"),
        "healthy_quarantined",
    ),
    "a healthy item that is cut short": (
        lambda bucket: with_result(bucket, "jhealthy", status="partial"),
        "healthy_quarantined",
    ),
    "a healthy item in quarantine": (
        lambda bucket: replace(bucket, present=bucket.present | {"quarantine/jhealthy.json"}),
        "healthy_quarantined",
    ),
    "a sick item that passed": (lambda bucket: with_result(bucket, "jsick", status="done"), "sick_passed"),
    "a sick item that nobody has put aside": (lambda bucket: without(bucket, "quarantine/jsick.json"), "sick_passed"),
    "a sick item without a reason": (lambda bucket: with_result(bucket, "jsick", error=None), "sick_passed"),
    "a job left open": (lambda bucket: replace(bucket, present=bucket.present | {"open/jhealthy"}), "left_open"),
    "somebody's job left open": (lambda bucket: replace(bucket, present=bucket.present | {"open/jx"}), "left_open"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_violation_is_found_and_no_other(name: str) -> None:
    plant, found = PLANTED[name]
    assert violations(plant(kept())) == {found}


def told_end(name: str = "archive", status: int | None = 204) -> Delivery:
    event = {"type": "collection.ended", "data": {"collection": name}}
    return Delivery(f"msg_{name}", "{}", status, True, event)


def told(job: str, kind: str = "job.done", body: str = "{}", status: int | None = 204, signed: bool = True) -> Delivery:
    return Delivery(f"msg_{job}", body, status, signed, {"type": kind, "data": {"job": job}})


EACH = [told("jhealthy"), told("jsick", "job.failed"), told_end()]
HEARD: dict[str, tuple[list[Delivery], set[str]]] = {
    "each once": (EACH, set()),
    "one again in the same words": ([*EACH, told("jsick", "job.failed")], set()),
    "one that was taken at the second try": ([told("jhealthy", status=None), *EACH], set()),
    "nobody": ([], {"untold"}),
    "one that was never taken": ([told("jhealthy", status=503), *EACH[1:]], {"untold"}),
    "jobs, and not the collection": (EACH[:2], {"untold"}),
    "a collection whose end was never taken": ([*EACH[:2], told_end(status=503)], {"untold"}),
    "one in other words": ([*EACH, told("jhealthy", body="{ }")], {"told_otherwise"}),
    "one not signed": ([EACH[0], told("jsick", "job.failed", signed=False), EACH[2]], {"told_otherwise"}),
    "one that ended otherwise": ([told("jhealthy", "job.failed"), *EACH[1:]], {"told_otherwise"}),
}


@pytest.mark.parametrize("name", HEARD)
def test_what_was_heard_is_held_against_what_became_of_it(name: str) -> None:
    deliveries, found = HEARD[name]
    assert set(judge(LOG, kept(), deliveries).violations) == found


def test_temporary_objects_may_be_written_anew_but_those_left_over_are_told() -> None:
    key = "jobs/jhealthy/segments/00000-00000.bin"
    bucket = written_again(kept(), key)
    left = replace(bucket, present=bucket.present | {key})
    assert violations(bucket) == violations(left) == set()
    assert judge(LOG, left).left_over == (key,)


def test_the_log_tells_what_was_accepted_each_job_once(tmp_path: Path) -> None:
    accepted = {"accepted": "j1", "name": "a.txt", "text": "m1.", "fate": "done"}
    lines = [accepted, {"refused": "b.txt", "reason": "it is full"}, {"collection": "archive"}, accepted]
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_log(log) == Log((Accepted("j1", "a.txt", "m1.", "done"),), ("archive",))
