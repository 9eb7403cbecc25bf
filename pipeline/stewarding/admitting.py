"""Letting jobs in: the lines of open collections and single jobs that wait, while there is room in the window."""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline import keys
from pipeline.admission import Admission, Rules
from pipeline.collecting.record import Ended
from pipeline.collecting.shards import read_collection
from pipeline.errors import MissingObjectError, TransientError, UsageError, WorldError
from pipeline.job import Job, Media, Result
from pipeline.ledger import Ending
from pipeline.objects import split_address
from pipeline.producer import Producer, start, start_new
from pipeline.stages import Ports
from pipeline.stages.completion import read_job
from pipeline.stages.finish import ending
from pipeline.stewarding.following import Followed, Next
from pipeline.waiting import Head
from pipeline.webhooks.debts import Debt, Debts

log = logging.getLogger(__name__)

#: Requests to the object store at once.
THREADS = 8


@dataclass(frozen=True, slots=True)
class _Pick:
    job: Job
    followed: Followed | None = None  #: None: it is a single job, which waits under `open/`
    line: Next | None = None


class Admitter:
    """One steward owns it, and calls it from one thread."""

    def __init__(self, ports: Ports, producer: Producer, places: int) -> None:
        self._ports = ports
        self._store = ports.store
        self._producer = producer
        self._debts = Debts(ports.store)
        self._doubles: list[_Pick] = []  #: of whose lines is to be told that a job ended which is out for another line
        self._places = places
        self._admission = Admission(Rules.of(places))
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="admit")
        self.followed: dict[str, Followed] = {}
        self._waiting: dict[str, Job] = {}
        self._out: dict[str, _Pick] = {}

    def refresh(self, is_open: frozenset[str], in_flight: frozenset[str]) -> None:
        """Look at what is open: collections that are new or gone, jobs that wait, jobs that ended without a word."""
        ids = {key.removeprefix(keys.OPEN_COLLECTIONS) for key in self._store.list(keys.OPEN_COLLECTIONS)}
        for gone in self.followed.keys() - ids:
            self._drop(gone)
        for name in sorted(ids - self.followed.keys()):
            self._follow(name)
        for name, followed in list(self.followed.items()):
            was_cancelled = followed.cancelled
            if not followed.refresh():
                self._drop(name)
                self._follow(name)
                continue
            if followed.cancelled and not was_cancelled:
                self._cancel(followed)
            self._offer(followed)
        self._look_at_jobs(is_open, in_flight)
        self.ended(self._unseen(is_open))

    def ended(self, endings: Iterable[Ending]) -> None:
        """Jobs that have ended; collections of which they are the last end as well."""
        told = list(endings)
        while self._doubles:  # before their shard may count as ended
            self._owe(self._doubles[-1])
            self._doubles.pop()
        for job, status, seconds in told:
            self._admission.ended(job, seconds)
            self._out.pop(job, None)
            for followed in self.followed.values():
                followed.ended(job, status, seconds)
        for followed in [one for one in self.followed.values() if one.is_done]:
            self._close(followed)

    def admit(self) -> int:
        """Let in as many as there is room for; returns how many took a place."""
        in_flight = self._ports.ledger.in_flight()
        self._admission.keep(in_flight)
        free = self._places - len(in_flight)
        picks: list[_Pick] = []
        while free > len(picks) and (head := self._admission.next(free=free - len(picks), now=time.time())) is not None:
            pick = self._pick(head)
            if pick is not None:
                picks.append(pick)
        endings = list(self._pool.map(self._let_in, picks))
        self.ended(ending for ending in endings if ending is not None)
        return endings.count(None)

    @property
    def has_waiting(self) -> bool:
        """Whether anything waits for a place, or for lines that are still to come."""
        return bool(self._waiting) or bool(self.followed)

    def close(self) -> None:
        self._pool.shutdown()

    def _follow(self, name: str) -> None:
        try:
            followed = Followed(self._store, read_collection(self._store, name))
            followed.refresh()
        except (ValueError, UsageError, WorldError):  # the others must not wait for whoever mends it
            log.exception("collection %s cannot be read", name)
            return
        self.followed[name] = followed
        self._offer(followed)

    def _cancel(self, followed: Followed) -> None:
        for job in followed.out:
            with suppress(UsageError):  # it has ended meanwhile
                self._producer.cancel(job)

    def _look_at_jobs(self, is_open: frozenset[str], in_flight: frozenset[str]) -> None:
        for name in sorted(in_flight - self._admission.in_flight):
            job = read_job(self._ports, name)
            if job is not None:
                self._admission.running(name, job.tenant, job.priority)
        for name in self._waiting.keys() - (is_open - in_flight):
            del self._waiting[name]
            self._admission.withdraw(name)
        for name in sorted(is_open - in_flight - self._waiting.keys()):
            job = read_job(self._ports, name)
            if job is not None:
                self._waiting[name] = job
                since, deadline = _clock(job.submitted_at) or 0.0, _clock(job.deadline)
                self._admission.offer(
                    Head(source=name, tenant=job.tenant, priority=job.priority, since=since, deadline=deadline)
                )

    def _unseen(self, is_open: frozenset[str]) -> Iterable[Ending]:
        """Jobs of collections that ended without a word, by their results; what came to nothing is let in again."""
        for name in sorted(self._out.keys() - is_open):
            try:
                found = ending(Result.from_bytes(self._store.get(keys.result(name))))
                self._owe(self._out[name])  # perhaps again: whoever let it in may have been interrupted
                yield found
            except MissingObjectError:
                if read_job(self._ports, name) is None:
                    log.info("job %s did not come in, it is let in again", name)
                    self._open(self._out[name])

    def _offer(self, followed: Followed) -> None:
        collection = followed.collection
        if followed.head() is None:
            self._admission.withdraw(collection.id)
            return
        self._admission.offer(
            Head(
                source=collection.id,
                tenant=collection.tenant,
                priority=collection.priority,
                since=collection.submitted_at.timestamp(),
                seconds=followed.mean_seconds,
                deadline=_clock(collection.deadline),
            )
        )

    def _pick(self, head: Head) -> _Pick | None:
        """What a head stands for; None when it needs no place, because its job is out already."""
        waiting = self._waiting.pop(head.source, None)
        if waiting is not None:
            self._admission.admit(head.source, waiting.id)
            return _Pick(waiting)
        followed = self.followed[head.source]
        line = followed.take()
        media = self._resolved(line.line.media)
        job = line.line.model_copy(update={"media": media}).job(followed.collection)
        self._admission.admit(head.source, job.id)
        self._offer(followed)
        pick = _Pick(job, followed, line)
        if not followed.let_in(job.id, line.shard):
            self._doubles.append(pick)
            return None
        self._out[job.id] = pick
        return pick

    def _resolved(self, media: Media) -> Media:
        """Media that lies elsewhere, with its store's mark of the bytes that are there now."""
        address = split_address(media.key)
        if address is None or media.etag is not None:
            return media
        try:
            etag, size = self._store.mark(*address)
        except (MissingObjectError, WorldError):
            return media  # whoever prepares the job will tell what is wrong with it
        return media.model_copy(update={"etag": etag, "size": size})

    def _let_in(self, pick: _Pick) -> Ending | None:
        """Open a job and send its first work; or how it ended before."""
        try:
            if pick.followed is not None and pick.line is not None:
                found = self._ended_before(pick.job.id, pick.followed, pick.line)
                if found is not None:
                    self._owe(pick)
                    return found
            self._open(pick)
        except TransientError:
            raise
        except Exception:
            # What is stored of this job cannot be read. The others must not wait for whoever mends it.
            log.exception("job %s cannot be let in", pick.job.id)
        return None

    def _open(self, pick: _Pick) -> None:
        self._owe(pick)  # first: a job that is open is ended by others, whatever becomes of this process
        self._store.create(keys.open_job(pick.job.id), pick.job.to_bytes())
        self._ports.ledger.admit(pick.job.id)
        if pick.line is not None and not pick.line.begun:
            start_new(pick.job, self._ports)
        else:
            start(pick.job, self._ports)

    def _owe(self, pick: _Pick) -> None:
        """Who asked is told of the end of a line's job. Whoever submitted a single job has seen to it."""
        if pick.followed is None or pick.line is None:
            return
        collection = pick.followed.collection
        if collection.webhook is None or not collection.webhook_each:
            return
        debt = Debt(
            url=collection.webhook,
            job=pick.job.id,
            collection=collection.id,
            custom_id=pick.line.line.custom_id,
            since=datetime.now(UTC),
        )
        try:
            self._debts.owe(debt)
        except ValueError:  # of an address that is none; the job must not wait for whoever mends it
            log.exception("nobody can be told of job %s", pick.job.id)

    def _ended_before(self, job: str, followed: Followed, line: Next) -> Ending | None:
        """The ending that does for a line. What failed in another collection, or must be done anew, is taken back."""
        if line.line.is_new and not line.begun and not line.line.force:
            return None
        try:
            result = Result.from_bytes(self._store.get(keys.result(job)))
        except MissingObjectError:
            return None
        again = result.status != "done" and not line.begun and job not in followed.failed
        if line.line.force or again:
            self._producer.retry(job, everything=line.line.force)
            return None
        return ending(result)

    def _close(self, followed: Followed) -> None:
        name = followed.collection.id
        ended = Ended(tally=followed.tally, ended_at=datetime.now(UTC))
        self._store.create(keys.ended_collection(name), ended.to_bytes())
        self._store.delete([keys.open_collection(name)])
        if not followed.refresh():  # somebody opened it again just now, before or after that
            self._store.delete([keys.ended_collection(name)])
            self._store.create(keys.open_collection(name), b"")
        self._drop(name)

    def _drop(self, collection: str) -> None:
        self._admission.withdraw(collection)
        self.followed.pop(collection)


def _clock(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
