"""The queue: the Celery app with every setting and its reason, queue names, sending, and looking into the queues.

The only Celery in `pipeline/`. A message is a hint that a piece of work is due; it carries ids only. Losing one or
getting one twice is harmless, because the steward sends again what the bucket lacks, and writes are create-only.
"""

import base64
import json
from collections.abc import Iterable
from typing import Any, cast

import redis
from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError
from kombu.utils.scheduling import priority_cycle

from pipeline.errors import TransientError
from pipeline.job import Stage, Work
from pipeline.settings import Settings

STAGES: tuple[Stage, ...] = ("finish", "cut", "prepare", "infer")
_URGENT = "-urgent"  #: ends the name of a queue whose work goes first
_WHOLE = "infer-whole"  #: of jobs that are one segment


def queues_of(stage: Stage) -> tuple[str, ...]:
    """The queues of a stage, that of urgent work first."""
    return (f"{stage}{_URGENT}", *([_WHOLE] if stage == "infer" else ()), stage)


def queue_of(work: Work) -> str:
    """The queue of a piece of work."""
    if work.urgent:
        return f"{work.stage}{_URGENT}"
    return _WHOLE if work.stage == "infer" and work.window is None else work.stage


#: Consumed in this order by the prepare worker: what is urgent, then what ends a job, which bounds temporary objects.
PREPARE_QUEUES = tuple(queues_of(stage)[number] for number in (0, 1) for stage in STAGES[:3])
INFER_QUEUES = queues_of("infer")
QUEUES = PREPARE_QUEUES + INFER_QUEUES
#: Of each pair, that goes first which was not served last: a short job waits for one window of a long file, and for one
#: parcel of it, not for all that are begun; and they for one job. How much is begun is bounded elsewhere.
TURNS = (*(set(pair) for pair in zip(queues_of("cut"), queues_of("prepare"), strict=True)), {_WHOLE, "infer"})

#: Wall seconds after which the pool ends a prepare process. The soft limit raises in the task first.
SOFT_LIMIT_SECONDS = 1_860
HARD_LIMIT_SECONDS = 1_920
#: Three hard limits, so that no message is given out again while its first copy can still run.
VISIBILITY_SECONDS = 3 * HARD_LIMIT_SECONDS


class TakingTurns(priority_cycle):  # type: ignore[misc]
    """The order in which a worker looks into its queues: as it was given them, but those of `TURNS` take turns."""

    def rotate(self, last_used: str) -> None:
        """The one that was served goes behind the one that it takes turns with."""
        for pair in TURNS:
            if last_used in pair and pair <= set(self.items):
                first, second = sorted(self.items.index(queue) for queue in pair)
                self.items[first], self.items[second] = (pair - {last_used}).pop(), last_used


def create_app(settings: Settings) -> Celery:
    """The Celery app that producers send with and workers run."""
    app = Celery("reelmill", broker=settings.redis.url.get_secret_value(), set_as_current=False)
    app.conf.update(
        # JSON only: a pickled message would be code execution.
        task_serializer="json",
        accept_content=["json"],
        # The old, smaller envelope: ids only, nothing about argument texts or origins. Messages stay under 1 kB.
        task_protocol=1,
        # No result backend, chords or groups: whether a job is complete is read from the bucket.
        result_backend=None,
        task_ignore_result=True,
        # A typing error in a queue name fails at once instead of filling a queue nobody reads.
        task_create_missing_queues=False,
        task_queues=[Queue(name, routing_key=name) for name in QUEUES],
        task_default_queue="prepare",
        task_routes={stage: {"queue": stage} for stage in STAGES},
        # A message is acknowledged after its work; a lost process gives it back. The attempt counter, which is
        # written before the work, ends the loop that a message which kills its process would otherwise make.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # Hold only what is being worked on: held messages are what a crash delays.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # The steward does retries; nothing uses ETA messages, which would wait in a worker's memory.
        worker_eta_task_limit=100,
        # SIGTERM stops consuming and waits for work in hand, which `workers/leaving.py` ends in time. Celery's own soft
        # shutdown sleeps its whole time even if all has ended, and acknowledges nothing meanwhile.
        worker_soft_shutdown_timeout=0,
        # Never give up on a broker that is away.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A producer waits seconds, not for ever: the bucket already has the job.
        task_publish_retry_policy={"max_retries": 3, "interval_max": 2},
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        # Work goes on while its worker connects again: its lease keeps the second copy of its message from doing
        # anything. Ended with each lost connection, it would start over each time, and use up its tries.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_soft_time_limit=SOFT_LIMIT_SECONDS,
        task_time_limit=HARD_LIMIT_SECONDS,
        worker_max_tasks_per_child=200,
        # The default of 4 s kills children that import slowly on a busy machine, for ever.
        worker_proc_alive_timeout=120,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            # Sweep for expired messages every few seconds; the defaults make it minutes.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            # Without a timeout, one lost reply freezes a worker for ever.
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "queue_order_strategy": TakingTurns,
            # One list per queue: no priority levels.
            "priority_steps": [0],
            "global_keyprefix": f"{settings.redis.namespace}:",
        },
    )
    return app


class Queues:
    """Sends work and tells what is waiting."""

    def __init__(self, settings: Settings) -> None:
        self._app = create_app(settings)
        self._prefix = f"{settings.redis.namespace}:"
        self._client: redis.Redis = redis.Redis.from_url(
            settings.redis.url.get_secret_value(), socket_timeout=10, socket_connect_timeout=5
        )

    def send(self, work: Work) -> None:
        """Put one message on its stage's queue. Raises TransientError when the broker is away."""
        try:
            self._app.send_task(
                work.stage, kwargs=arguments(work), task_id=work.name, queue=queue_of(work), reply_to=""
            )
        except OperationalError as error:
            raise TransientError("the queue cannot be reached", str(error)) from error
        except AttributeError as error:
            # kombu 5.7 may publish on a channel that it closed when it lost its connection, and then has no `client`.
            if error.name != "client" or error.obj is not None:
                raise
            raise TransientError("the queue cannot be reached", "its connection was just lost") from error

    def waiting(self, stages: Iterable[Stage] = STAGES) -> frozenset[str]:
        """Names of all work on the queues (not what workers already hold)."""
        names: set[str] = set()
        try:
            for queue in (queue for stage in stages for queue in queues_of(stage)):
                for raw in cast("list[bytes]", self._client.lrange(self._prefix + queue, 0, -1)):
                    names.add(message_name(raw))
        except redis.RedisError as error:
            raise TransientError("the queue cannot be read", str(error)) from error
        return frozenset(names)

    def depth(self, stage: Stage) -> int:
        """How much work of a stage waits: one command for each of its queues, whatever their length."""
        try:
            return sum(self._client.llen(self._prefix + queue) for queue in queues_of(stage))
        except redis.RedisError as error:
            raise TransientError("the queue cannot be read", str(error)) from error

    def close(self) -> None:
        self._client.close()
        self._app.close()


def arguments(work: Work) -> dict[str, Any]:
    """The keyword arguments of a message: ids and numbers."""
    return work.model_dump(exclude={"stage"}, exclude_defaults=True)


def message_name(raw: bytes) -> str:
    """The work's name inside a message as it lies in Redis."""
    body: dict[str, Any] = json.loads(base64.b64decode(json.loads(raw)["body"]))
    return str(body["id"])
