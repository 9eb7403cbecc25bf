"""One try at a piece of work: the lease, the count of tries, and what each kind of error leads to."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline import keys
from pipeline.errors import (
    LeavingError,
    PermanentError,
    PipelineError,
    ResourceError,
    TransientError,
    WorldError,
)
from pipeline.job import Failure, Work
from pipeline.ledger import ENDED, is_segment
from pipeline.stages import Ports
from pipeline.stages.completion import advance
from pipeline.stages.evidence import gathered, log_tail, record_begun, record_failed
from pipeline.stages.finish import close_failed, conclude_failed
from pipeline.stages.outcomes import commit_failed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fail:
    """The work ends here, as this Failure."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Later:
    """It is sent again, by the steward or `at_once`; `counted` tells whether this was a try."""

    counted: bool
    at_once: bool = False


#: What became of a try.
Outcome = Literal["done", "later", "handed back"]


def decide(error: Exception, tries: int, max_attempts: int) -> Fail | Later:
    """What an error leads to. `tries` counts this one; an outage or a crippled worker never counts."""
    if isinstance(error, TransientError | WorldError):
        return Later(counted=False, at_once=isinstance(error, LeavingError))
    if isinstance(error, PermanentError):
        return Fail(Failure(error="permanent", reason=error.reason, detail=error.detail, attempts=max(tries, 1)))
    if tries < max_attempts:
        return Later(counted=True)
    if isinstance(error, PipelineError):
        return Fail(Failure(error="resource", reason=error.reason, detail=error.detail, attempts=tries))
    return Fail(Failure(error="internal", reason=f"reelmill failed on it: {error}", detail=repr(error), attempts=tries))


def quarantined(tries: int, detail: str = "") -> Failure:
    """The verdict on work that was begun too often and never ended, not even with an error."""
    reason = f"its worker died or hung {tries} times while working on it"
    return Failure(error="quarantined", reason=reason, detail=detail, attempts=tries)


def attempt(work: Work, ports: Ports, run: Callable[[int], None], *, count: bool = True) -> None:
    """Try a piece of work once. `run` is given the number of earlier tries that never ended.

    `count` False: whoever runs the work counts the try itself, at the moment it becomes dangerous.
    Whatever goes wrong with the work ends in a Failure or is left to the steward. Raises TransientError only when
    not even that could be written down; then too the steward finds the work again, and no try is counted.
    """
    tries = ports.ledger.start(work, count=count)
    if isinstance(tries, str):
        if tries == ENDED:  # perhaps by somebody who died before they could tell
            advance(work.job, ports, urgent=work.urgent)
        return  # should whoever works on it die, the steward sends it again
    outcome: Outcome = "later"
    try:
        outcome = _tried(work, ports, run, tries)
    except TransientError:
        ports.ledger.restore(work, tries)
        raise
    finally:
        (ports.ledger.end if outcome == "done" else ports.ledger.release)(work)
    if outcome == "handed back":
        ports.send(work)


def _tried(work: Work, ports: Ports, run: Callable[[int], None], tries: int) -> Outcome:
    try:
        if tries >= ports.max_attempts:
            fail(work, quarantined(tries, gathered(work, ports.store)), ports)
            return "done"
        if tries:
            record_begun(work, tries, ports.store)
        run(tries)
    except Exception as error:
        return _settle(work, known(error), ports, tries)
    return "done"


def known(error: Exception) -> Exception:
    """An error as the pipeline knows it."""
    if isinstance(error, MemoryError):
        return ResourceError("it needs more memory than a worker has", repr(error))
    return error


def _settle(work: Work, error: Exception, ports: Ports, tries: int) -> Outcome:
    """Do what an error leads to."""
    verdict = decide(error, tries + 1, ports.max_attempts)
    if isinstance(verdict, Later):
        return put_off(work, verdict, error, ports, tries)
    fail(work, with_evidence(work, verdict.failure, ports), ports)
    return "done"


def with_evidence(work: Work, failure: Failure, ports: Ports) -> Failure:
    """A failure with all that is known of the tries; a bad file's own evidence says it all."""
    log.info("%s failed: %s", work.name, failure.reason)
    if failure.error == "permanent":
        return failure
    return failure.model_copy(update={"detail": gathered(work, ports.store, detail=failure.detail, log=log_tail())})


def put_off(work: Work, verdict: Later, error: Exception, ports: Ports, tries: int) -> Outcome:
    """Keep the books about work that is tried again; `tries` were begun before this one."""
    match verdict:
        case Later(counted=True):
            log.warning("%s did not succeed this time, it is tried again: %r", work.name, error)
            record_failed(work, tries + 1, error, ports.store)
            if ports.ledger.tries(work) <= tries:
                ports.ledger.begin([work])  # it failed before whoever counts had counted it
        case Later(at_once=True):
            ports.ledger.restore(work, tries)
            log.info("%s goes back to the queue: %s", work.name, error)
            return "handed back"
        case Later():
            ports.ledger.restore(work, tries)
            seconds = ports.ledger.postpone(work)
            log.warning("%s met an outage, it is sent again in %.0f s: %s", work.name, seconds, error)
    return "later"


def fail(work: Work, failure: Failure, ports: Ports) -> None:
    """Store a Failure where the output would have been, and go on with the job."""
    if work.stage == "finish":
        close_failed(work.job, failure, ports)
        return
    if work.stage == "infer" and work.window is None:
        _conclude_failed(work.job, failure, ports)
        return
    if is_segment(work):
        commit_failed(work, failure, ports)
        ports.ledger.answered(work, 0.0)
    else:
        ports.store.create(keys.outcome(work), failure.to_bytes())
    advance(work.job, ports, urgent=work.urgent)


def _conclude_failed(job: str, failure: Failure, ports: Ports) -> None:
    try:
        conclude_failed(job, failure, ports)
    except TransientError:
        raise
    except Exception:
        log.exception("the result of job %s cannot be written as it should be, it gets a bare one", job)
        close_failed(job, failure, ports)
