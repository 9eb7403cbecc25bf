"""The ledger of a fleet, in Redis. What is known of one job is one hash, which goes when the job ends.

A hash holds for each piece of work how often it was begun, or `ended`; for each window how many answers it lacks; and
the live figures. What must be seen and changed at once is a script, which also makes it one command.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast
from uuid import uuid4

import redis

from pipeline import redis_scripts as scripts
from pipeline.errors import TransientError, WorldError
from pipeline.job import Status, Work
from pipeline.ledger import ENDED, HELD, Ending, Taken, is_segment, job_of
from pipeline.settings import Settings

#: Seconds after which the ledger forgets a job nobody touches.
FORGET_SECONDS = 14 * 24 * 3600
#: And after which it forgets one that it knows only because somebody tried its work.
TRYING_SECONDS = 3600
#: First and longest wait before work that met an outage is sent again, seconds; doubled each time.
BACKOFF_SECONDS = (2, 30)
_FIGURE = "figure:"
#: Endings kept for a steward who is away; it finds the others in the bucket.
MAX_ENDINGS = 20_000


class Suspect(int):
    """How often work was begun, where it was in the hands of a process that died before it counted that.

    Perhaps because of this work, perhaps because of another that the process held: nothing to blame it for, but reason
    for care. A ledger in memory dies with its process, and suspects nobody.
    """


class RedisLedger:
    """See `Ledger`. Leases are renewed by a thread while this process lives."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = f"{settings.redis.namespace}:ledger:"
        self._lease_ms = int(settings.steward.lease_seconds * 1000)
        self._redis: redis.Redis = redis.Redis.from_url(
            settings.redis.url.get_secret_value(), socket_timeout=10, socket_connect_timeout=5, decode_responses=True
        )
        self._scripts: dict[str, Callable[..., Any]] = {}
        self._mine: dict[str, str] = {}
        self._owed: deque[Callable[[], object]] = deque()  #: what Redis must still be told
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._renewer: threading.Thread | None = None

    def start(self, work: Work, *, count: bool) -> int | Taken:
        token, lease = uuid4().hex, self._lease(work.name)
        places = [self._job(work.job), lease]
        try:
            found = self._run(scripts.START, places, [_field(work), token, self._lease_ms, int(count), TRYING_SECONDS])
        except TransientError:
            self._owe(lambda: self._run(scripts.UNDO_START, places, [_field(work), token, int(count)]))
            raise
        if found in (ENDED, HELD):
            return cast("Taken", found)
        with self._lock:
            self._mine[lease] = token
        self._start_renewing()
        tries, was_in_hand = cast("list[int]", found)
        return Suspect(tries) if was_in_hand and not count else tries

    def end(self, work: Work) -> None:
        lease = self._lease(work.name)
        self._run(scripts.END, [self._job(work.job), lease], [_field(work), self._dropped(lease), TRYING_SECONDS])

    def release(self, work: Work) -> None:
        lease = self._lease(work.name)
        # A lease that cannot be given back runs out by itself.
        with suppress(TransientError):
            self._run(scripts.LET_GO, [self._job(work.job), lease], [_field(work), self._dropped(lease)])

    def held(self, works: Iterable[Work]) -> frozenset[str]:
        return self._present(self._lease, works)

    def busy_jobs(self) -> frozenset[str]:
        prefix = self._lease("")
        with _away():
            keys = list(self._redis.scan_iter(match=f"{prefix}*", count=1000))
        return frozenset(job_of(key.removeprefix(prefix)) for key in keys)

    def tries(self, work: Work) -> int:
        with _away():
            found = cast("str | None", self._redis.hget(self._job(work.job), _field(work)))
        return 0 if found in (None, ENDED) else int(found or 0)

    def tried(self, works: Sequence[Work]) -> bool:
        with _away():
            found = cast("list[str | None]", self._redis.hmget(self._job(works[0].job), list(map(_field, works))))
        return any(state not in (None, ENDED, "0") for state in found)

    def begin(self, works: Iterable[Work]) -> None:
        begun = list(works)
        with _away(), self._redis.pipeline(transaction=False) as pipe:
            for work in begun:
                pipe.hincrby(self._job(work.job), _field(work), 1)
            for job in {work.job for work in begun}:
                pipe.expire(self._job(job), FORGET_SECONDS)
            pipe.execute()

    def restore(self, work: Work, tries: int) -> None:
        try:
            self._restore(work, tries)
        except TransientError:
            self._owe(lambda: self._restore(work, tries))

    def _restore(self, work: Work, tries: int) -> None:
        self._run(scripts.RESTORE, [self._job(work.job)], [_field(work), tries, FORGET_SECONDS])

    def postpone(self, work: Work) -> float:
        first, longest = BACKOFF_SECONDS
        key = f"{self._prefix}outages:{work.name}"
        with _away():
            count = self._redis.incr(key)
            seconds = min(first * 2.0 ** (count - 1), longest)
            self._redis.expire(key, longest * 10)
            self._redis.set(self._later(work.name), "1", px=int(seconds * 1000))
        return seconds

    def postponed(self, works: Iterable[Work]) -> frozenset[str]:
        return self._present(self._later, works)

    def announce(self, works: Sequence[Work]) -> Sequence[Work]:
        if not works:
            return []
        news = cast(
            "list[int]", self._run(scripts.ANNOUNCE, [self._job(works[0].job)], [FORGET_SECONDS, *_listed(works)])
        )
        return [works[number] for number in news]

    def expect(self, works: Sequence[Work]) -> None:
        if works:
            self._run(scripts.EXPECT, [self._job(works[0].job)], [FORGET_SECONDS, *_listed(works)])

    def answered(self, work: Work, seconds: float, left: int = 0) -> bool:
        arguments = [_field(work), _lack(work), seconds, left - 1]
        return bool(self._run(scripts.ANSWERED, [self._job(work.job)], arguments))

    def admit(self, job: str, most: int | None = None) -> bool:
        return bool(self._run(scripts.ADMIT, [self._in_flight], [job, "" if most is None else most]))

    def in_flight(self) -> frozenset[str]:
        with _away():
            return frozenset(cast("set[str]", self._redis.smembers(self._in_flight)))

    def dismiss(self, jobs: Iterable[str]) -> None:
        ended = list(jobs)
        if ended:
            with _away():
                self._redis.srem(self._in_flight, *ended)

    def add(self, job: str, **amounts: float) -> None:
        key = self._job(job)
        with _away(), self._redis.pipeline(transaction=False) as pipe:
            for name, amount in amounts.items():
                pipe.hincrbyfloat(key, f"{_FIGURE}{name}", amount)
            pipe.expire(key, FORGET_SECONDS)
            pipe.execute()

    def figures(self, job: str) -> dict[str, float]:
        with _away():
            found = cast("dict[str, str]", self._redis.hgetall(self._job(job)))
        return {name.removeprefix(_FIGURE): float(amount) for name, amount in found.items() if name.startswith(_FIGURE)}

    def close_job(self, job: str, ending: Ending | None = None) -> None:
        with _away(), self._redis.pipeline(transaction=False) as pipe:
            pipe.srem(self._in_flight, job)
            pipe.delete(self._job(job))
            if ending is not None:
                pipe.rpush(self._ended, f"{ending.job} {ending.status} {ending.seconds:.3f} {ending.round}")
                pipe.ltrim(self._ended, -MAX_ENDINGS, -1)
            pipe.execute()

    def endings(self) -> Sequence[Ending]:
        with _away():
            found = cast("list[str] | None", self._redis.lpop(self._ended, MAX_ENDINGS))
        parts = (text.split(" ") for text in found or ())
        return [
            Ending(job, cast("Status", status), float(seconds), int(round)) for job, status, seconds, round in parts
        ]

    def note(self, name: str, text: str) -> None:
        with _away():
            self._redis.set(f"{self._prefix}note:{name}", text, ex=FORGET_SECONDS)

    def noted(self, name: str) -> str | None:
        with _away():
            return cast("str | None", self._redis.get(f"{self._prefix}note:{name}"))

    def count(self, what: str, number: int = 1) -> None:
        with _away():
            self._redis.hincrby(f"{self._prefix}counts", what, number)

    def counts(self) -> dict[str, int]:
        with _away():
            found = cast("dict[str, str]", self._redis.hgetall(f"{self._prefix}counts"))
        return {name: int(number) for name, number in found.items()}

    def lead(self, office: str, who: str, seconds: float) -> bool:
        return bool(self._run(scripts.LEAD, [self._office(office)], [who, int(seconds * 1000)]))

    def is_led(self, office: str) -> bool:
        with _away():
            return bool(self._redis.exists(self._office(office)))

    def resign(self, office: str, who: str) -> None:
        self._run(scripts.RELEASE, [self._office(office)], [who])

    def is_blank(self) -> bool:
        with _away():
            return bool(self._redis.set(f"{self._prefix}born", "1", nx=True))

    def self_test(self) -> None:
        """Raises TransientError when Redis is away, WorldError when it does not let us in."""
        try:
            self._redis.ping()
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise WorldError(f"Redis does not let us in: {error}") from error
        except redis.RedisError as error:
            raise TransientError("Redis cannot be reached", str(error)) from error

    def close(self) -> None:
        self._stopping.set()
        self._redis.close()

    @property
    def _ended(self) -> str:
        return f"{self._prefix}ended"

    @property
    def _in_flight(self) -> str:
        return f"{self._prefix}in-flight"

    def _office(self, name: str) -> str:
        return f"{self._prefix}office:{name}"

    def _job(self, job: str) -> str:
        return f"{self._prefix}job:{job}"

    def _lease(self, name: str) -> str:
        return f"{self._prefix}lease:{name}"

    def _later(self, name: str) -> str:
        return f"{self._prefix}later:{name}"

    def _dropped(self, lease: str) -> str:
        with self._lock:
            return self._mine.pop(lease, "")

    def _run(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        if script not in self._scripts:
            self._scripts[script] = self._redis.register_script(script)
        with _away():
            return self._scripts[script](keys=keys, args=arguments)

    def _present(self, key_of: Callable[[str], str], works: Iterable[Work]) -> frozenset[str]:
        names = [work.name for work in works]
        if not names:
            return frozenset()
        with _away():
            values = cast("list[str | None]", self._redis.mget([key_of(name) for name in names]))
        return frozenset(name for name, value in zip(names, values, strict=True) if value is not None)

    def _owe(self, tell: Callable[[], object]) -> None:
        """Tell it when Redis is back."""
        self._owed.append(tell)
        self._start_renewing()

    def _pay(self) -> None:
        while self._owed:
            tell = self._owed.popleft()
            try:
                tell()
            except TransientError:
                self._owed.appendleft(tell)
                return

    def _start_renewing(self) -> None:
        with self._lock:
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew_all, name="leases", daemon=True)
                self._renewer.start()

    def _renew_all(self) -> None:
        while not self._stopping.wait(self._lease_ms / 3000):
            self._pay()
            with self._lock:
                mine = list(self._mine.items())
            # A lease that cannot be renewed only means that the work may be done twice.
            for lease, token in mine:
                with suppress(TransientError):
                    self._run(scripts.RENEW, [lease], [token, self._lease_ms])
                with self._lock:
                    is_mine = lease in self._mine
                if not is_mine:  # given back meanwhile
                    with suppress(TransientError):
                        self._run(scripts.RELEASE, [lease], [token])


def _field(work: Work) -> str:
    """A work's name without that of its job."""
    return work.name.replace(f".{work.job}", "", 1)


def _lack(work: Work) -> str:
    return f"lack:{work.window}" if is_segment(work) else ""


def _listed(works: Sequence[Work]) -> list[str]:
    return [text for work in works for text in (_field(work), _lack(work))]


@contextmanager
def _away() -> Iterator[None]:
    """Turn any Redis error into a TransientError."""
    try:
        yield
    except redis.RedisError as error:
        raise TransientError("Redis cannot be reached", str(error)) from error
