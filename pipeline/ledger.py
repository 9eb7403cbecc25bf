"""Live state that may be lost at any second: leases, tries, progress. Correctness never rests on it.

One contract, two ledgers: Redis for the fleet, memory for one process.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, cast
from uuid import uuid4

import redis

from pipeline.errors import TransientError
from pipeline.job import Work
from pipeline.settings import Settings

#: Seconds after which the ledger forgets a job nobody touches.
FORGET_SECONDS = 14 * 24 * 3600
#: First and longest wait before work that met an outage is sent again, seconds; doubled each time.
BACKOFF_SECONDS = (2, 120)


class Ledger(Protocol):
    """Raises TransientError when the ledger is away."""

    def hold(self, work: Work) -> bool:
        """Take the lease on a piece of work. False: somebody alive has it."""

    def release(self, work: Work) -> None: ...

    def held(self, works: Iterable[Work]) -> frozenset[str]:
        """Names of those with a live lease."""

    def busy_jobs(self) -> frozenset[str]:
        """Jobs of which some work has a live lease."""

    def tries(self, work: Work) -> int:
        """How often it was begun without being ended."""

    def begin(self, works: Iterable[Work]) -> None:
        """Count a try, before the work starts."""

    def restore(self, work: Work, tries: int) -> None:
        """Set the count back: an outage stopped the work, which is no try."""

    def end(self, work: Work) -> None:
        """Forget the tries: the work is done."""

    def postpone(self, work: Work) -> float:
        """Let the steward leave it alone for a while, longer each time; returns the seconds."""

    def postponed(self, works: Iterable[Work]) -> frozenset[str]: ...

    def announce(self, work: Work) -> bool:
        """Whether work is news, so that a stage sends it; the steward sends what was announced and then lost."""

    def admit(self, job: str, most: int) -> bool:
        """Let a job in if fewer than `most` are in flight (or it is already in)."""

    def add(self, job: str, **amounts: float) -> None:
        """Add to a job's live figures."""

    def figures(self, job: str) -> dict[str, float]: ...

    def close_job(self, job: str) -> None:
        """Drop everything about a job that ended."""


class MemoryLedger:
    """The ledger of a mill that runs in one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leases: set[str] = set()
        self._tries: dict[str, int] = defaultdict(int)
        self._in_flight: set[str] = set()
        self._announced: dict[str, set[str]] = defaultdict(set)
        self._figures: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def hold(self, work: Work) -> bool:
        with self._lock:
            if work.name in self._leases:
                return False
            self._leases.add(work.name)
            return True

    def release(self, work: Work) -> None:
        with self._lock:
            self._leases.discard(work.name)

    def held(self, works: Iterable[Work]) -> frozenset[str]:
        with self._lock:
            return frozenset(work.name for work in works) & self._leases

    def busy_jobs(self) -> frozenset[str]:
        with self._lock:
            return frozenset(job_of(name) for name in self._leases)

    def tries(self, work: Work) -> int:
        return self._tries.get(work.name, 0)

    def begin(self, works: Iterable[Work]) -> None:
        with self._lock:
            for work in works:
                self._tries[work.name] += 1

    def restore(self, work: Work, tries: int) -> None:
        with self._lock:
            self._tries[work.name] = tries

    def end(self, work: Work) -> None:
        with self._lock:
            self._tries.pop(work.name, None)

    def postpone(self, work: Work) -> float:
        del work
        return 0.0

    def postponed(self, works: Iterable[Work]) -> frozenset[str]:
        del works
        return frozenset()

    def announce(self, work: Work) -> bool:
        with self._lock:
            if work.name in self._announced[work.job]:
                return False
            self._announced[work.job].add(work.name)
            return True

    def admit(self, job: str, most: int) -> bool:
        with self._lock:
            if job in self._in_flight or len(self._in_flight) < most:
                self._in_flight.add(job)
                return True
            return False

    def add(self, job: str, **amounts: float) -> None:
        with self._lock:
            for name, amount in amounts.items():
                self._figures[job][name] += amount

    def figures(self, job: str) -> dict[str, float]:
        with self._lock:
            return dict(self._figures.get(job, {}))

    def close_job(self, job: str) -> None:
        with self._lock:
            self._in_flight.discard(job)
            self._announced.pop(job, None)
            for name in [name for name in self._tries if job_of(name) == job]:
                del self._tries[name]


def job_of(name: str) -> str:
    """The job in a work's name."""
    return name.split(".")[1]


_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_ADMIT = """
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 1 end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SADD', KEYS[1], ARGV[1])
return 1
"""


class RedisLedger:
    """The ledger of a fleet. Leases are renewed by a thread while this process lives."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = f"{settings.redis.namespace}:ledger:"
        self._lease_ms = int(settings.steward.lease_seconds * 1000)
        self._redis: redis.Redis = redis.Redis.from_url(
            settings.redis.url.get_secret_value(), socket_timeout=10, socket_connect_timeout=5, decode_responses=True
        )
        self._mine: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._renewer: threading.Thread | None = None

    def hold(self, work: Work) -> bool:
        token = uuid4().hex
        key = self._lease(work.name)
        with _away():
            won = bool(self._redis.set(key, token, nx=True, px=self._lease_ms))
        if won:
            with self._lock:
                self._mine[key] = token
                if self._renewer is None:
                    self._renewer = threading.Thread(target=self._renew_all, name="leases", daemon=True)
                    self._renewer.start()
        return won

    def release(self, work: Work) -> None:
        key = self._lease(work.name)
        with self._lock:
            token = self._mine.pop(key, "")
        # A lease that cannot be given back runs out by itself.
        with suppress(redis.RedisError):
            self._redis.eval(_RELEASE, 1, key, token)

    def held(self, works: Iterable[Work]) -> frozenset[str]:
        return self._present(self._lease, works)

    def busy_jobs(self) -> frozenset[str]:
        prefix = self._lease("")
        with _away():
            keys = list(self._redis.scan_iter(match=f"{prefix}*", count=1000))
        return frozenset(job_of(key.removeprefix(prefix)) for key in keys)

    def tries(self, work: Work) -> int:
        with _away():
            return int(cast("str | None", self._redis.hget(self._tries(work.job), work.name)) or 0)

    def begin(self, works: Iterable[Work]) -> None:
        with _away(), self._redis.pipeline(transaction=False) as pipe:
            for work in works:
                pipe.hincrby(self._tries(work.job), work.name, 1)
                pipe.expire(self._tries(work.job), FORGET_SECONDS)
            pipe.execute()

    def restore(self, work: Work, tries: int) -> None:
        with _away():
            self._redis.hset(self._tries(work.job), work.name, str(tries))

    def end(self, work: Work) -> None:
        with _away():
            self._redis.hdel(self._tries(work.job), work.name)

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

    def announce(self, work: Work) -> bool:
        key = self._announced(work.job)
        with _away(), self._redis.pipeline(transaction=False) as pipe:
            pipe.sadd(key, work.name)
            pipe.expire(key, FORGET_SECONDS)
            return bool(pipe.execute()[0])

    def admit(self, job: str, most: int) -> bool:
        with _away():
            return bool(self._redis.eval(_ADMIT, 1, f"{self._prefix}in-flight", job, str(most)))

    def add(self, job: str, **amounts: float) -> None:
        key = f"{self._prefix}figures:{job}"
        with _away(), self._redis.pipeline(transaction=False) as pipe:
            for name, amount in amounts.items():
                pipe.hincrbyfloat(key, name, amount)
            pipe.expire(key, FORGET_SECONDS)
            pipe.execute()

    def figures(self, job: str) -> dict[str, float]:
        with _away():
            found = cast("dict[str, str]", self._redis.hgetall(f"{self._prefix}figures:{job}"))
        return {name: float(amount) for name, amount in found.items()}

    def close_job(self, job: str) -> None:
        with _away(), self._redis.pipeline(transaction=False) as pipe:
            pipe.srem(f"{self._prefix}in-flight", job)
            pipe.delete(self._tries(job), self._announced(job), f"{self._prefix}figures:{job}")
            pipe.execute()

    def close(self) -> None:
        self._stopping.set()
        self._redis.close()

    def _lease(self, name: str) -> str:
        return f"{self._prefix}lease:{name}"

    def _later(self, name: str) -> str:
        return f"{self._prefix}later:{name}"

    def _announced(self, job: str) -> str:
        return f"{self._prefix}announced:{job}"

    def _tries(self, job: str) -> str:
        return f"{self._prefix}tries:{job}"

    def _present(self, key_of: Callable[[str], str], works: Iterable[Work]) -> frozenset[str]:
        names = [work.name for work in works]
        if not names:
            return frozenset()
        with _away():
            values = cast("list[str | None]", self._redis.mget([key_of(name) for name in names]))
        return frozenset(name for name, value in zip(names, values, strict=True) if value is not None)

    def _renew_all(self) -> None:
        while not self._stopping.wait(self._lease_ms / 3000):
            with self._lock:
                mine = list(self._mine.items())
            if not mine:
                continue
            # A lease that cannot be renewed only means that the work may be done twice.
            with suppress(redis.RedisError), self._redis.pipeline(transaction=False) as pipe:
                for key, token in mine:
                    pipe.eval(_RENEW, 1, key, token, str(self._lease_ms))
                pipe.execute()


@contextmanager
def _away() -> Iterator[None]:
    """Turn any Redis error into a TransientError."""
    try:
        yield
    except redis.RedisError as error:
        raise TransientError("Redis cannot be reached", str(error)) from error
