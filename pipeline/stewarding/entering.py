"""Letting one job in: what that does to the bucket, the ledger and the queue. It may be stopped, and done again."""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipeline import keys
from pipeline.errors import MissingObjectError, TransientError
from pipeline.job import Job, Result
from pipeline.ledger import Ending
from pipeline.producer import Producer, start, start_new
from pipeline.stages import Ports
from pipeline.stages.completion import due, hand_on, read_job, survey
from pipeline.stages.finish import ending
from pipeline.stewarding.following import Followed, Next
from pipeline.stewarding.troubles import Troubles
from pipeline.webhooks.debts import Debt, Debts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asking:
    """The line of a collection that asks for a job."""

    job: Job
    followed: Followed
    line: Next
    has_been: bool  #: it may have ended since the line was submitted, as far as this steward knows

    @property
    def doubted(self) -> "Asking":
        """The same, when it may have been let in."""
        return replace(self, has_been=True)


@dataclass(frozen=True, slots=True)
class Pick:
    """A job that was given a place."""

    id: str
    asking: Asking | None = None  #: None: it is a single job, which waits under `open/`

    @property
    def doubted(self) -> "Pick":
        """The same, when it may have been let in."""
        return self if self.asking is None else Pick(self.id, self.asking.doubted)


@dataclass(frozen=True, slots=True)
class Entered:
    """A job that is in, or will be."""

    round: int  #: whoever ended an earlier one did not end this
    is_in: bool = True  #: else somebody is just ending it early, and it can be opened again after that


class Entrance:
    """Safe for threads."""

    def __init__(self, ports: Ports, producer: Producer, troubles: Troubles, listening_since: datetime) -> None:
        """`listening_since`: what has ended before that, nobody here heard of."""
        self._ports = ports
        self._store = ports.store
        self._producer = producer
        self._troubles = troubles
        self._listening_since = listening_since
        self._debts = Debts(ports.store)

    def let_in(self, pick: Pick) -> Entered | Ending | None:
        """Open a job and send its first work; or how it ended before. None: of one that is gone or cannot be read."""
        try:
            return self._let_in_waiting(pick.id) if pick.asking is None else self._let_in_line(pick.asking)
        except TransientError:
            raise
        except Exception:
            self._troubles.tell(f"what is stored of job {pick.id}")
            return None

    def owe(self, asking: Asking) -> None:
        """Who asked is told of the end of a line's job. Whoever submitted a single job has seen to it."""
        collection = asking.followed.collection
        if collection.webhook is None or not collection.webhook_each:
            return
        debt = Debt(
            url=collection.webhook,
            job=asking.job.id,
            collection=collection.id,
            custom_id=asking.line.line.custom_id,
            since=datetime.now(UTC),
        )
        try:
            self._debts.owe(debt)
        except ValueError:  # of an address that is none; the job must not wait for whoever mends it
            log.exception("nobody can be told of job %s", asking.job.id)

    def ended(self, job: str) -> Ending | None:
        """How a job ended; None when it has no result. Raises ValueError when that cannot be read."""
        stored = self._result(job)
        return None if stored is None else ending(stored)

    def _let_in_waiting(self, name: str) -> Entered | None:
        job = read_job(self._ports, name)
        if job is None:
            return None
        self._ports.ledger.admit(name)
        start(job, self._ports)
        return Entered(job.round)

    def _let_in_line(self, asking: Asking) -> Entered | Ending:
        job, ports = asking.job, self._ports
        if not self._may_be_there(asking):
            self._open(asking)
            start_new(job, ports)
            return Entered(0)
        seen = survey(ports.store, job.id)
        if seen.cancelled and not seen.finished:
            return Entered(seen.round + 1, is_in=False)
        if not seen.finished and not seen.round:
            self._open(asking)
            hand_on(due(seen, ports.windows_ahead), ports, urgent=job.is_urgent)
            return Entered(0)
        stored = self._result(job.id)
        round = seen.round  # without a result it is open in that one, or about to be
        if stored is not None and self._is_to_be_redone(stored, asking):
            round += seen.finished
            self._producer.retry(job.id, everything=asking.line.line.force)
        elif stored is not None:
            self.owe(asking)
            return ending(stored)
        self.owe(asking)  # not before: of what is not open, the old result would be told
        ports.ledger.admit(job.id)
        start(job, ports)
        return Entered(round)

    def _open(self, asking: Asking) -> None:
        self.owe(asking)  # first: a job that is open is ended by others, whatever becomes of this process
        self._store.create(keys.open_job(asking.job.id), asking.job.to_bytes())
        self._ports.ledger.admit(asking.job.id)

    def _may_be_there(self, asking: Asking) -> bool:
        """Whether something may be stored of a job. Else a request is spared, of the few that a short job takes.

        Nobody had bytes that were new; but they may have been submitted again while the line waited. Who does that
        and ends meanwhile is heard, unless it was before this steward began to listen.
        """
        line = asking.line
        is_fresh = line.line.is_new and not line.line.force and not line.begun
        return not is_fresh or asking.has_been or line.since < self._listening_since

    def _result(self, job: str) -> Result | None:
        try:
            return Result.from_bytes(self._store.get(keys.result(job)))
        except MissingObjectError:
            return None

    def _is_to_be_redone(self, stored: Result, asking: Asking) -> bool:
        """Whether a result does not do for a line: it failed elsewhere, or the line wants it made anew.

        What was made since the line was submitted was made for it, perhaps by an earlier steward.
        """
        line = asking.line
        if line.line.force:
            return self._is_older(asking)
        if stored.status == "done" or asking.followed.has_failed(asking.job.id):
            return False
        return not line.begun or self._is_older(asking)

    def _is_older(self, asking: Asking) -> bool:
        """Both times are those of the store's own clock; in one second they may be equal, and it is made once more."""
        try:
            return self._store.written(keys.result(asking.job.id)) <= asking.line.since
        except MissingObjectError:  # somebody opened it again just now
            return False
