"""What every Celery worker of the mill has in common: the app, the base task, the ports of a process."""

from typing import Any

from celery import Celery, Task

from pipeline.broker import Queues, create_app
from pipeline.errors import ResourceError
from pipeline.job import Stage, Work
from pipeline.ledger import RedisLedger
from pipeline.settings import Settings
from pipeline.stages import Ports
from pipeline.store import open_store


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


def worker_app(settings: Settings) -> Celery:
    app = create_app(settings)
    app.Task = StageTask
    return app


def open_ports(settings: Settings) -> Ports:
    """This process's own connections. Call it after a fork, never before."""
    return Ports(
        store=open_store(settings.s3),
        ledger=RedisLedger(settings),
        send=Queues(settings).send,
        windows_ahead=settings.cutting.windows_ahead,
        max_attempts=settings.steward.max_attempts,
    )


def work_of(stage: Stage, job: str, window: int | None = None, index: int | None = None) -> Work:
    """Validate a message: refuses anything but ids and numbers."""
    return Work(stage=stage, job=job, window=window, index=index)
