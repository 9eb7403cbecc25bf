"""What every Celery worker of the mill has in common: the app, the base task, the reading of messages."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery, Task, bootsteps

from pipeline.broker import create_app
from pipeline.errors import ResourceError
from pipeline.job import Stage, Work
from pipeline.settings import Settings

log = logging.getLogger(__name__)


class StageTask(Task):  # type: ignore[misc]
    """Base of all tasks.

    Celery lets a MemoryError end the whole worker (prefork) or loses the slot for good (threads); an ordinary
    exception does neither.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except MemoryError as error:
            raise ResourceError("out of memory", repr(error)) from None


class DeadConnections(bootsteps.StartStopStep):  # type: ignore[misc]
    """Lets what fails about a connection that is gone fail alone, so that the worker connects again.

    While Redis is away, kombu 5.7 closes a channel that has messages in hand, or acknowledges one, after its connection
    has forgotten where the server is. The AttributeError of that is no connection error to Celery, and ends the worker.
    """

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        soon, close = consumer.call_soon_ack, consumer.on_connection_error_after_connected

        def call_soon_ack(acknowledge: Callable[..., object], *args: Any, **kwargs: Any) -> object:
            return soon(_alone, acknowledge, *args, **kwargs)

        consumer.call_soon_ack = call_soon_ack
        consumer.on_connection_error_after_connected = partial(_alone, close)


def _alone(call: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    try:
        call(*args, **kwargs)
    except Exception as error:
        log.warning("messages of a connection that is gone cannot be given back, they may come again: %r", error)


def worker_app(settings: Settings) -> Celery:
    app = create_app(settings)
    app.Task = StageTask
    app.steps["consumer"].add(DeadConnections)
    return app


def work_of(
    stage: Stage,
    job: str,
    window: int | None = None,
    index: int | None = None,
    last: int | None = None,
    *,
    urgent: bool = False,
) -> Work:
    """Validate a message: refuses anything but ids and numbers."""
    return Work(stage=stage, job=job, window=window, index=index, last=last, urgent=urgent)
