"""What is broken inside a worker process, as the environment says. Read by `tests.fault_workers` only.

FAULTS_CRASH_DIR: a directory of armed crash points. A process that comes by one disarms it and is gone.
FAULTS_WITHOUT: protections that are taken away, for the negative controls.
FAULTS_VISIBILITY, FAULTS_LIMITS: seconds after which the queue gives a message out again; soft and hard time limit.
"""

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kombu.transport.redis import QoS

from pipeline import broker, fleet, redis_ledger, store
from pipeline.errors import ResourceError
from pipeline.job import Job, Windows, Work
from pipeline.settings import Settings
from pipeline.stages import Ports, attempt, completion
from pipeline.stages.source import MediaSource
from pipeline.stewarding import entering
from pipeline.webhooks.debts import Debt, Debts

ARMED, FIRED = ".armed", ".fired"
CRASHED = 137
SLOW_SECONDS = 8
JOB = re.compile("j[a-z2-7]{24}")


def arrange() -> None:
    """Break what is to be broken, before the worker starts."""
    without = set(os.environ.get("FAULTS_WITHOUT", "").split(",")) - {""}
    for name in without:
        PROTECTIONS[name]()
    if seconds := os.environ.get("FAULTS_VISIBILITY"):
        broker.VISIBILITY_SECONDS = int(seconds)
    if limits := os.environ.get("FAULTS_LIMITS"):
        broker.SOFT_LIMIT_SECONDS, broker.HARD_LIMIT_SECONDS = map(int, limits.split(","))
    MediaSource.prepare = _obeying(MediaSource.prepare)  # type: ignore[assignment, method-assign]
    if folder := os.environ.get("FAULTS_CRASH_DIR"):
        arm(Path(folder))


# Crash points


def arm(folder: Path) -> None:
    """Let this process crash at the armed points of a directory: its ports and the queue's receipts."""

    def crash_at(point: str) -> None:
        try:
            (folder / f"{point}{ARMED}").rename(folder / f"{point}{FIRED}")
        except FileNotFoundError:
            return
        os._exit(CRASHED)

    open_ports = fleet.open_ports

    def crashing_ports(settings: Settings) -> Ports:
        ports = open_ports(settings)
        watched: dict[str, Any] = {
            name: Watched(name, getattr(ports, name), crash_at) for name in ("store", "ledger", "send")
        }
        return replace(ports, **watched)

    fleet.open_ports = crashing_ports
    role = sys.argv[1]
    QoS.append = _around(QoS.append, f"{role}.receive", crash_at)
    QoS.ack = _around(QoS.ack, f"{role}.acknowledge", crash_at)


class Watched:
    """A port whose calls are places where the process may end: before them and after them."""

    def __init__(self, name: str, target: Any, crash_at: Callable[[str], None]) -> None:
        self._name = name
        self._target = target
        self._crash_at = crash_at

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._target, method)
        return _Call(f"{self._name}.{method}", found, self._crash_at) if callable(found) else found

    def __call__(self, *arguments: Any) -> Any:
        return _Call(self._name, self._target, self._crash_at)(*arguments)


class _Call:
    def __init__(self, name: str, function: Callable[..., Any], crash_at: Callable[[str], None]) -> None:
        self._name = name
        self._function = function
        self._crash_at = crash_at

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        fixed = [list(argument) if isinstance(argument, Iterator) else argument for argument in arguments]
        place = f"{self._name}.{subject(fixed[0])}" if fixed else self._name
        self._crash_at(f"before.{place}")
        result = self._function(*fixed, **named)
        self._crash_at(f"after.{place}")
        return result


def subject(argument: Any) -> str:
    """What a call is about: the stage of a piece of work, the kind of an object."""
    if isinstance(argument, Work):
        return argument.stage
    if isinstance(argument, list | tuple):
        return subject(argument[0]) if argument else "nothing"
    top, *rest = str(argument).split("/")
    if not rest and JOB.fullmatch(top):
        return "job"
    return rest[1].split(".")[0] if top == "jobs" and len(rest) > 1 else top


def _around(method: Callable[..., Any], name: str, crash_at: Callable[[str], None]) -> Callable[..., Any]:
    def crashing(*arguments: Any, **named: Any) -> Any:
        crash_at(f"before.{name}")
        result = method(*arguments, **named)
        crash_at(f"after.{name}")
        return result

    return crashing


# Media whose name tells the preparing process what to do


def _obeying(prepare: Callable[[MediaSource, Job], Windows]) -> Callable[[MediaSource, Job], Windows]:
    def obeying(source: MediaSource, job: Job) -> Windows:
        match job.media.name.split(".")[0]:
            case "!crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "!memory":
                raise MemoryError
            case "!slow":
                time.sleep(SLOW_SECONDS)
            case "!endless":
                time.sleep(3600)
            case "!deaf":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # the soft limit does not reach it
                time.sleep(3600)
        return prepare(source, job)

    return obeying


# Protections that a negative control takes away


def _without_counting() -> None:
    """Tries are not counted, so that what kills its worker does so for ever."""
    redis_ledger.RedisLedger.begin = lambda self, works: None  # type: ignore[method-assign]
    start = redis_ledger.RedisLedger.start
    redis_ledger.RedisLedger.start = lambda self, work, *, count: start(self, work, count=False)  # type: ignore[method-assign]


def _without_leases() -> None:
    """Nobody is kept from work that another does or did: only the create-only writes are left."""
    redis_ledger.RedisLedger.start = lambda self, work, *, count: self.tries(work)  # type: ignore[method-assign]


def _without_patience() -> None:
    """An outage counts as a try."""
    decide = attempt.decide

    def harsh(error: Exception, tries: int, max_attempts: int) -> attempt.Fail | attempt.Later:
        return decide(ResourceError(f"an outage: {error}"), tries, max_attempts)

    attempt.decide = harsh


def _without_deadlines() -> None:
    """Sockets to the queue wait for ever."""
    create_app = broker.create_app

    def patient(settings: Settings) -> Any:
        app = create_app(settings)
        for name in ("socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval"):
            del app.conf.broker_transport_options[name]
        return app

    broker.create_app = patient


def _without_self_test() -> None:
    """A store that ignores conditions is not noticed."""
    store.S3Store.self_test = lambda self: None  # type: ignore[method-assign]


def _without_debts() -> None:
    """What is owed is crossed out before it is told."""
    take = Debts.take

    def forgetful(self: Debts, key: str) -> Debt:
        debt = take(self, key)
        self.settle(debt.own_key)
        return debt

    Debts.take = forgetful  # type: ignore[method-assign]


def _without_office() -> None:
    """Every steward takes itself for the one that leads."""
    redis_ledger.RedisLedger.lead = lambda self, office, who, seconds: True  # type: ignore[method-assign]


def _without_memory() -> None:
    """A steward that lets a line in does not look what there is of its job."""
    entering.survey = lambda store, job: completion.Survey(job=job)


PROTECTIONS: dict[str, Callable[[], None]] = {
    "counting": _without_counting,
    "leases": _without_leases,
    "patience": _without_patience,
    "deadlines": _without_deadlines,
    "self-test": _without_self_test,
    "debts": _without_debts,
    "office": _without_office,
    "memory": _without_memory,
}
