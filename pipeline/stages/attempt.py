"""One try at a piece of work: the lease, the count of tries, and what each kind of error leads to."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pipeline import keys
from pipeline.errors import PermanentError, PipelineError, ResourceError, TransientError, WorldError
from pipeline.job import Failure, Work
from pipeline.ledger import ENDED, is_segment
from pipeline.stages import Ports
from pipeline.stages.completion import advance
from pipeline.stages.finish import close_failed, conclude_failed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fail:
    """The work ends here, as this Failure."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Later:
    """The steward sends it again; `counted` tells whether this was a try."""

    counted: bool


def decide(error: Exception, tries: int, max_attempts: int) -> Fail | Later:
    """What an error leads to. `tries` counts this one; an outage or a crippled worker never counts."""
    if isinstance(error, TransientError | WorldError):
        return Later(counted=False)
    if isinstance(error, PermanentError):
        return Fail(Failure(error="permanent", reason=error.reason, detail=error.detail, attempts=max(tries, 1)))
    if tries < max_attempts:
        return Later(counted=True)
    if isinstance(error, PipelineError):
        return Fail(Failure(error="resource", reason=error.reason, detail=error.detail, attempts=tries))
    return Fail(Failure(error="internal", reason=f"reelmill failed on it: {error}", detail=repr(error), attempts=tries))


def quarantined(tries: int) -> Failure:
    """The verdict on work that was begun too often and never ended, not even with an error."""
    reason = f"its worker died or hung {tries} times while working on it"
    return Failure(error="quarantined", reason=reason, attempts=tries)


def attempt(work: Work, ports: Ports, run: Callable[[int], None], *, count: bool = True) -> None:
    """Try a piece of work once. `run` is given the number of earlier tries that never ended.

    `count` False: whoever runs the work counts the try itself, at the moment it becomes dangerous.
    Whatever goes wrong with the work ends in a Failure or is left to the steward. Raises TransientError only when
    not even that could be written down; then too the steward finds the work again.
    """
    tries = ports.ledger.start(work, count=count)
    if isinstance(tries, str):
        if tries == ENDED:  # perhaps by somebody who died before they could tell
            advance(work.job, ports)
        return  # should whoever works on it die, the steward sends it again
    is_done = False
    try:
        if tries >= ports.max_attempts:
            fail(work, quarantined(tries), ports)
        else:
            run(tries)
        is_done = True
    except Exception as error:
        is_done = _settle(work, _known(error), ports, tries)
    finally:
        (ports.ledger.end if is_done else ports.ledger.release)(work)


def _known(error: Exception) -> Exception:
    if isinstance(error, MemoryError):
        return ResourceError("it needs more memory than a worker has", repr(error))
    return error


def _settle(work: Work, error: Exception, ports: Ports, tries: int) -> bool:
    """Do what an error leads to; whether the work is done with it."""
    match decide(error, tries + 1, ports.max_attempts):
        case Fail(failure):
            log.info("%s failed: %s", work.name, failure.reason)
            fail(work, failure, ports)
            return True
        case Later(counted=True):
            if ports.ledger.tries(work) <= tries:
                ports.ledger.begin([work])  # it failed before whoever counts had counted it
            log.warning("%s did not succeed this time, it is tried again: %r", work.name, error)
        case Later():
            ports.ledger.restore(work, tries)
            seconds = ports.ledger.postpone(work)
            log.warning("%s met an outage, it is sent again in %.0f s: %s", work.name, seconds, error)
    return False


def fail(work: Work, failure: Failure, ports: Ports) -> None:
    """Store a Failure where the output would have been, and go on with the job."""
    if work.stage == "finish":
        close_failed(work.job, failure, ports)
        return
    if work.stage == "infer" and work.window is None:
        conclude_failed(work.job, failure, ports)
        return
    ports.store.create(keys.outcome(work), failure.to_bytes())
    if is_segment(work):
        ports.ledger.answered(work, 0.0)
    advance(work.job, ports)
