"""What every Celery worker of the mill has in common: the app, the base task, the reading of messages."""

from typing import Any

from celery import Celery, Task

from pipeline.broker import create_app
from pipeline.errors import ResourceError
from pipeline.job import Stage, Work
from pipeline.settings import Settings


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


def work_of(
    stage: Stage, job: str, window: int | None = None, index: int | None = None, *, urgent: bool = False
) -> Work:
    """Validate a message: refuses anything but ids and numbers."""
    return Work(stage=stage, job=job, window=window, index=index, urgent=urgent)
