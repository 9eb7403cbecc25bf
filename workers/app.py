"""What every Celery worker of the mill has in common: the app, the base task, the reading of messages."""

import logging
from collections.abc import Callable
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


class LateAcknowledgements(bootsteps.StartStopStep):  # type: ignore[misc]
    """Lets an acknowledgement fail alone when the connection that its message came by is gone.

    Those that wait while Redis is away are made when the worker's loop runs again, with a channel that has no
    connection any more; the AttributeError of that ends the loop, and the worker with it (kombu 5.7).
    """

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        soon = consumer.call_soon_ack

        def call_soon_ack(acknowledge: Callable[..., object], *args: Any, **kwargs: Any) -> object:
            def acknowledge_if_possible(*late: Any, **more: Any) -> None:
                try:
                    acknowledge(*late, **more)
                except Exception as error:
                    log.warning("a message cannot be acknowledged, it may come again: %r", error)

            return soon(acknowledge_if_possible, *args, **kwargs)

        consumer.call_soon_ack = call_soon_ack


def worker_app(settings: Settings) -> Celery:
    app = create_app(settings)
    app.Task = StageTask
    app.steps["consumer"].add(LateAcknowledgements)
    return app


def work_of(
    stage: Stage, job: str, window: int | None = None, index: int | None = None, *, urgent: bool = False
) -> Work:
    """Validate a message: refuses anything but ids and numbers."""
    return Work(stage=stage, job=job, window=window, index=index, urgent=urgent)
