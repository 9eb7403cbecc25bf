"""The checker finds each violation that is planted, and none in a bucket that keeps the promise."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import Accepted, Bucket, judge, read_log
from tests.webhook_receiver import Delivery

HEALTHY = Accepted("jhealthy", "a.txt", ("m000000000001",), "done")
SICK = Accepted("jsick", "b.wav", (), "failed")


def result(job: str, status: str = "done", text: str = "It says m000000000001.", **more: Any) -> dict[str, Any]:
    outputs = {"json": f"jobs/{job}/result.json", "text": f"jobs/{job}/transcript.txt"}
    return {"job": job, "status": status, "error": None, "text": text, "outputs": outputs, **more}


def kept() -> Bucket:
    """One job done, one failed: as it should be."""
    keys = [
        "jobs/jhealthy/windows.json",
        "jobs/jhealthy/answers/00000-00000.json",
        "jobs/jhealthy/result.json",
        "jobs/jhealthy/transcript.txt",
        "jobs/jsick/result.json",
        "jobs/jsick/transcript.txt",
        "quarantine/jsick.json",
    ]
    deleted = ["open/jhealthy", "open/jsick", "jobs/jhealthy/segments/00000-00000.bin"]
    return Bucket(
        writes=dict.fromkeys([*keys, *deleted], 1),
        present=frozenset(keys),
        results={"jhealthy": result("jhealthy"), "jsick": result("jsick", "failed", "")},
    )


def violations(bucket: Bucket) -> set[str]:
    return set(judge([HEALTHY, SICK], bucket).violations)


def without(bucket: Bucket, *keys: str) -> Bucket:
    return replace(bucket, present=bucket.present - set(keys))


def with_result(bucket: Bucket, job: str, /, **changes: Any) -> Bucket:
    return replace(bucket, results={**bucket.results, job: {**bucket.results[job], **changes}})


def written_again(bucket: Bucket, key: str) -> Bucket:
    return replace(bucket, writes={**bucket.writes, key: 2})


def vanished(bucket: Bucket) -> Bucket:
    gone = without(bucket, "jobs/jhealthy/result.json")
    return replace(gone, results={"jsick": bucket.results["jsick"]})


def test_a_kept_promise_has_no_violation() -> None:
    verdict = judge([HEALTHY, SICK], kept())
    assert verdict.violations == {}
    assert (verdict.submitted, verdict.done, verdict.quarantined) == (2, 1, 1)


PLANTED: dict[str, tuple[Callable[[Bucket], Bucket], str]] = {
    "no result": (vanished, "lost"),
    "an unknown status": (lambda bucket: with_result(bucket, "jhealthy", status="running"), "lost"),
    "somebody else's result": (lambda bucket: with_result(bucket, "jhealthy", job="jother"), "lost"),
    "an output that is not there": (lambda bucket: without(bucket, "jobs/jhealthy/transcript.txt"), "lost"),
    "a second result": (lambda bucket: written_again(bucket, "jobs/jhealthy/result.json"), "doubled"),
    "a second answer": (lambda bucket: written_again(bucket, "jobs/jhealthy/answers/00000-00000.json"), "doubled"),
    "a second plan": (lambda bucket: written_again(bucket, "jobs/jhealthy/plans/00000.json"), "doubled"),
    "a second verdict": (lambda bucket: written_again(bucket, "quarantine/jsick.json"), "doubled"),
    "another text": (lambda bucket: with_result(bucket, "jhealthy", text="It says nothing."), "wrong"),
    "a text twice": (lambda bucket: with_result(bucket, "jhealthy", text="m000000000001 m000000000001"), "wrong"),
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
    "a job left open": (lambda bucket: replace(bucket, present=bucket.present | {"open/jhealthy"}), "left_open"),
    "somebody's job left open": (lambda bucket: replace(bucket, present=bucket.present | {"open/jx"}), "left_open"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_violation_is_found_and_no_other(name: str) -> None:
    plant, found = PLANTED[name]
    assert violations(plant(kept())) == {found}


def told(job: str, kind: str = "job.done", body: str = "{}", status: int | None = 204, signed: bool = True) -> Delivery:
    return Delivery(f"msg_{job}", body, status, signed, {"type": kind, "data": {"job": job}})


EACH = [told("jhealthy"), told("jsick", "job.failed")]
HEARD: dict[str, tuple[list[Delivery], set[str]]] = {
    "each once": (EACH, set()),
    "one again in the same words": ([*EACH, told("jsick", "job.failed")], set()),
    "one that was taken at the second try": ([told("jhealthy", status=None), *EACH], set()),
    "nobody": ([], {"untold"}),
    "one that was never taken": ([told("jhealthy", status=503), EACH[1]], {"untold"}),
    "one in other words": ([*EACH, told("jhealthy", body="{ }")], {"told_otherwise"}),
    "one not signed": ([EACH[0], told("jsick", "job.failed", signed=False)], {"told_otherwise"}),
    "one that ended otherwise": ([told("jhealthy", "job.failed"), EACH[1]], {"told_otherwise"}),
}


@pytest.mark.parametrize("name", HEARD)
def test_what_was_heard_is_held_against_what_became_of_it(name: str) -> None:
    deliveries, found = HEARD[name]
    assert set(judge([HEALTHY, SICK], kept(), deliveries).violations) == found


def test_temporary_objects_may_be_written_anew_but_those_left_over_are_told() -> None:
    key = "jobs/jhealthy/segments/00000-00000.bin"
    bucket = written_again(kept(), key)
    left = replace(bucket, present=bucket.present | {key})
    assert violations(bucket) == violations(left) == set()
    assert judge([HEALTHY], left).left_over == (key,)


def test_the_log_tells_what_was_accepted_each_job_once(tmp_path: Path) -> None:
    accepted = {"accepted": "j1", "name": "a.txt", "contains": ["m1"], "fate": "done"}
    lines = [accepted, {"refused": "b.txt", "reason": "it is full"}, accepted]
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_log(log) == [Accepted("j1", "a.txt", ("m1",), "done")]
