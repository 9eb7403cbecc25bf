"""Letting jobs in: the lines of open collections and single jobs that wait, while there is room in the window."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice

from pipeline import keys
from pipeline.admission import Admission, Rules
from pipeline.collecting.record import Ended
from pipeline.collecting.shards import read_collection
from pipeline.errors import MissingObjectError, TransientError, UsageError, WorldError
from pipeline.job import Job, Media
from pipeline.ledger import Ending
from pipeline.objects import split_address
from pipeline.producer import Producer
from pipeline.served import Served
from pipeline.stages import Ports
from pipeline.stages.completion import read_job
from pipeline.stewarding.entering import Asking, Entered, Entrance, Pick
from pipeline.stewarding.following import Followed
from pipeline.stewarding.lengths import Lengths, guess
from pipeline.stewarding.requests import MOST_OUTAGES, Requests
from pipeline.stewarding.troubles import Troubles
from pipeline.waiting import Head

log = logging.getLogger(__name__)

#: Jobs that wait and were never looked at: so many of them are read before the next are let in.
READ_AT_ONCE = 512
#: Lines that have a result already free their places at once: so often in one turn, others are let in instead.
MOST_ROUNDS = 8
#: So many jobs are remembered of those that have ended, though no line with new bytes asked for them.
MAX_HEARD = 100_000
#: A line that was submitted so short a time before a steward began to listen is taken for one that it has heard all of.
HEARS_BACK = timedelta(seconds=60)


class Admitter:
    """One steward owns it, and calls it from one thread."""

    def __init__(
        self, ports: Ports, producer: Producer, places: int, *, go_on: Callable[[], None] = lambda: None
    ) -> None:
        """`go_on` is called now and then in what may take long; it may raise."""
        self._ports = ports
        self._store = ports.store
        self._producer = producer
        self._go_on = go_on
        self._places = places
        self._rules = Rules.of(places)
        self._admission = Admission(self._rules)
        self._lengths = Lengths(ports.ledger, self._admission)
        self._troubles = Troubles(ports.ledger)
        self._entrance = Entrance(ports, producer, self._troubles, datetime.now(UTC) - HEARS_BACK)
        self._requests = Requests()
        self.followed: dict[str, Followed] = {}
        self._served = Served()
        self._unread: dict[str, None] = {}  #: single jobs that nobody has looked at, in order
        self._waiting: dict[str, int] = {}  #: single jobs that were offered, and the sizes of their media
        self._entering: dict[str, Pick] = {}  #: have a place, but are perhaps not in yet
        self._put_off: frozenset[str] = frozenset()  #: of those, until the next look
        self._out: dict[str, Asking] = {}  #: are in, because a line asked for them, and not known to have ended
        self._rounds: dict[str, int] = {}  #: of those that are in: the ends of earlier ones are not theirs
        self._doubles: list[Asking] = []  #: lines whose job is out for another one
        self._heard: dict[str, None] = {}  #: jobs that have ended for others than lines with new bytes

    def refresh(self, is_open: frozenset[str], in_flight: frozenset[str]) -> None:
        """Look at what is open: collections that are new or gone, jobs that wait, jobs that ended without a word."""
        ids = {key.removeprefix(keys.OPEN_COLLECTIONS) for key in self._store.list(keys.OPEN_COLLECTIONS)}
        for gone in self.followed.keys() - ids:
            self._drop(gone)
        outages = 0
        for name in sorted(ids):
            self._go_on()
            outages += not self._look_at_collection(name)
            if outages == MOST_OUTAGES:
                raise TransientError(f"{outages} collections cannot be looked at")
        self._put_off = frozenset()
        self._rounds = {job: round for job, round in self._rounds.items() if job in self._out or job in self._entering}
        self._look_at_flights(in_flight)
        self._look_at_waiting(is_open - in_flight - self._entering.keys())
        self._admission.serve(self._served.among(self._admission.engines, self._ports.ledger))
        self.ended(self._unseen(is_open))
        self._close_done()

    def ended(self, endings: Iterable[Ending]) -> None:
        """Jobs that have ended; collections of which they are the last end as well."""
        told = [one for one in endings if one.round >= self._rounds.get(one.job, 0)]
        untold = self._owe_doubles()
        for one in told:
            self._admission.ended(one.job, one.seconds)
            self._hear(one.job)
        for name, followed in self.followed.items():
            try:
                for one in told if name not in untold else ():
                    followed.ended(one.job, one.status, one.seconds)
            except TransientError as error:  # the others are told; this one by the results, at the next look
                log.warning("collection %s cannot be told who has ended: %s (%s)", name, error, error.detail)
        for one in told:
            if not any(followed.has_out(one.job) for followed in self.followed.values()):
                self._out.pop(one.job, None)
                self._rounds.pop(one.job, None)
        if told:
            self._close_done()

    def admit(self) -> int:
        """Let in as many as there is room for; returns how many came in."""
        self._read_some()
        number = 0
        for _ in range(MOST_ROUNDS):
            self._go_on()
            self._give_places()
            came, ended = self._enter()
            number += came
            if not ended:
                break
        return number

    @property
    def has_waiting(self) -> bool:
        """Whether anything waits for a place, or for lines that are still to come."""
        return bool(self._waiting or self._unread or self._entering or self.followed)

    def close(self) -> None:
        self._requests.close()

    def _look_at_collection(self, name: str) -> bool:
        """False: an outage is in the way. Whatever is wrong with one of them, the others must not wait for it."""
        try:
            followed = self.followed.get(name)
            if followed is not None and not followed.refresh():
                self._drop(name)
                followed = None
            if followed is None:
                followed = Followed(self._store, read_collection(self._store, name), self._troubles)
                followed.refresh()
                self.followed[name] = followed
            if followed.cancelled:
                self._call_back(followed)
            self._offer(followed)
        except TransientError as error:
            log.warning("cannot look at collection %s now: %s (%s)", name, error, error.detail)
            return False
        except (ValueError, UsageError, WorldError):
            self._troubles.tell(f"collection {name}")
        return True

    def _call_back(self, followed: Followed) -> None:
        """End what came with a cancelled collection, but for what others wait for."""
        for job in followed.out:
            if job in followed.called_back or job in self._entering or self._is_wanted(job):
                continue
            try:
                if self._producer.job(job).collection is not None:  # else somebody submitted it by itself
                    self._producer.cancel(job)
            except UsageError:
                pass  # it has ended meanwhile
            except ValueError:
                self._troubles.tell(f"job {job}")
            followed.called_back.add(job)

    def _is_wanted(self, job: str) -> bool:
        return any(one.has_out(job) and not one.cancelled for one in self.followed.values())

    def _look_at_flights(self, in_flight: frozenset[str]) -> None:
        """Those that others let in; and how long they are."""
        for job in self._read(sorted(in_flight - self._admission.in_flight)):
            self._admission.running(job.id, job.tenant, job.priority, guess(job.media), job.engine)
            self._lengths.expect(job.id, job.media.size)
        self._lengths.look(in_flight)

    def _look_at_waiting(self, names: frozenset[str]) -> None:
        for gone in self._waiting.keys() - names:
            del self._waiting[gone]
            self._admission.withdraw(gone)
        known = [name for name in self._unread if name in names]
        self._unread = dict.fromkeys([*known, *sorted(names - self._waiting.keys() - self._unread.keys())])

    def _read_some(self) -> None:
        """Offer some of those that nobody has looked at; the others while these are worked on."""
        names = list(islice(self._unread, READ_AT_ONCE))
        for name in names:  # one that cannot be read now comes back with the next look
            del self._unread[name]
        for job in self._read(names):
            self._waiting[job.id] = job.media.size
            since, deadline = _clock(job.submitted_at) or 0.0, _clock(job.deadline)
            self._admission.offer(
                Head(
                    source=job.id,
                    tenant=job.tenant,
                    priority=job.priority,
                    engine=job.engine,
                    since=since,
                    seconds=guess(job.media),
                    deadline=deadline,
                )
            )

    def _read(self, names: Iterable[str]) -> list[Job]:
        """Those of them that are open and can be read."""
        return [job for _, job in self._requests.each(self._read_one, names) if isinstance(job, Job)]

    def _read_one(self, name: str) -> Job | None:
        try:
            return read_job(self._ports, name)
        except ValueError:
            self._troubles.tell(f"job {name}")
            return None

    def _unseen(self, is_open: frozenset[str]) -> list[Ending]:
        """Jobs of lines that ended without a word, by their results; what came to nothing is let in again."""
        endings: list[Ending] = []
        silent = [self._out[name] for name in sorted(self._out.keys() - is_open - self._entering.keys())]
        for asking, found in self._requests.each(self._ended_or_gone, silent):
            if isinstance(found, Ending):
                endings.append(found)
            elif isinstance(found, Job):
                log.info("job %s did not come in, it is let in again", found.id)
                self._entering[found.id] = Pick(found.id, asking.doubted)
        return endings

    def _ended_or_gone(self, asking: Asking) -> Ending | Job | None:
        """How a job ended; the job itself when nothing is there of it."""
        name = asking.job.id
        try:
            found = self._entrance.ended(name)
            if found is not None:
                self._entrance.owe(asking)  # perhaps again: whoever let it in may have been interrupted
                return found
            return asking.job if read_job(self._ports, name) is None else None
        except ValueError:
            self._troubles.tell(f"how job {name} ended")
            return None

    def _offer(self, followed: Followed) -> None:
        collection = followed.collection
        line = followed.head()
        if line is None:
            self._admission.withdraw(collection.id)
            return
        seconds = followed.mean_seconds if followed.mean_seconds is not None else guess(line.line.media)
        behind = max(0, followed.num_left - 1) * (self._rules.unknown if seconds is None else seconds)
        self._admission.offer(
            Head(
                source=collection.id,
                tenant=collection.tenant,
                priority=collection.priority,
                engine=collection.engine,
                since=collection.submitted_at.timestamp(),
                seconds=seconds,
                behind=behind,
                deadline=_clock(collection.deadline),
            )
        )

    def _give_places(self) -> None:
        in_flight = self._ports.ledger.in_flight()
        self._admission.keep(in_flight | self._entering.keys())
        places = self._places + self._admission.num_stranded  # what nobody can work on takes none
        while (free := places - len(in_flight | self._entering.keys())) > 0:
            head = self._admission.next(free=free, now=time.time())
            if head is None:
                break
            if head.source in self._waiting:
                self._lengths.expect(head.source, self._waiting.pop(head.source))
                self._admission.admit(head.source, head.source)
                self._entering.setdefault(head.source, Pick(head.source))
            else:
                self._give_line_a_place(self.followed[head.source])

    def _give_line_a_place(self, followed: Followed) -> None:
        """Unless its job is coming in or out already, for another line: then both wait for that."""
        name = followed.collection.id
        asking = self._asking(followed)
        coming = None if asking is None else self._entering.get(asking.job.id)
        if asking is None or (coming is not None and asking.line.line.force):  # that one may do with what is there
            self._admission.withdraw(name)  # until the next look
            return
        job = asking.job.id
        self._admission.admit(name, job)
        if followed.let_in(job) and coming is None:
            self._entering[job] = Pick(job, asking)
            self._lengths.expect(job, asking.job.media.size)
        else:
            self._doubles.append(asking)
            self._out.setdefault(job, asking)
        self._offer(followed)

    def _asking(self, followed: Followed) -> Asking | None:
        """The next line of a collection, with the job that it becomes; None when it cannot be told now."""
        line = followed.head()
        if line is None:
            return None
        try:
            media = self._resolved(line.line.media)
        except TransientError as error:  # of one store of many, perhaps: the others must not wait for it
            log.warning("%s cannot be asked for now: %s (%s)", line.line.media.key, error, error.detail)
            return None
        job = line.line.model_copy(update={"media": media}).job(followed.collection)
        return Asking(job, followed, line, has_been=job.id in self._heard)

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

    def _enter(self) -> tuple[int, int]:
        """Let in who has a place; how many came in, and how many had ended.

        Who meets an outage is let in later. It is raised when the others have had their turn.
        """
        endings: list[Ending] = []
        number, outage = 0, None
        coming = [pick for name, pick in self._entering.items() if name not in self._put_off]
        self._entering |= {pick.id: pick.doubted for pick in coming}  # who meets an outage may have come in
        for pick, found in self._requests.each(self._entrance.let_in, coming):
            if isinstance(found, TransientError):
                outage = found
                continue
            if found is not None:
                self._rounds[pick.id] = found.round
            if isinstance(found, Entered) and not found.is_in:
                continue
            del self._entering[pick.id]
            if pick.asking is not None:
                self._out[pick.id] = pick.asking
            if isinstance(found, Ending):
                endings.append(found)
            elif found is not None:
                number += 1
        self._put_off = frozenset(self._entering)
        self.ended(endings)
        if outage is not None:
            raise outage
        return number, len(endings)

    def _owe_doubles(self) -> frozenset[str]:
        """Before their shard may count as ended; gives the collections of which that could not be written."""
        while self._doubles:
            try:
                self._entrance.owe(self._doubles[-1])
            except TransientError as error:
                log.warning("left for later: %s (%s)", error, error.detail)
                break
            self._doubles.pop()
        return frozenset(asking.followed.collection.id for asking in self._doubles)

    def _hear(self, job: str) -> None:
        """Remember who ended though no line with new bytes had asked: for one that waits, it is done already."""
        asking = self._out.get(job)
        if asking is None or not asking.line.line.is_new:
            self._heard[job] = None
            if len(self._heard) > MAX_HEARD:
                del self._heard[next(iter(self._heard))]

    def _close_done(self) -> None:
        for name, followed in list(self.followed.items()):
            try:
                if followed.is_done:
                    self._close(followed)
            except TransientError as error:
                log.warning("collection %s cannot be closed now: %s (%s)", name, error, error.detail)

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
