"""From what a user named to jobs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli import show
from pipeline.errors import PermanentError, UsageError
from pipeline.job import Job, Options
from pipeline.producer import Producer, gather


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that did not become a job."""

    name: str
    reason: str


def chosen_files(paths: Iterable[str]) -> list[tuple[Path, str]]:
    """The files that a user named. Raises UsageError that tells what was not found."""
    missing: list[str] = []
    files = list(gather(paths, missing.append))
    if missing:
        raise UsageError(f"no such file or folder: {', '.join(missing)}")
    if not files:
        raise UsageError("there are no files in what was named")
    return files


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done with the files that a user named."""

    task: str
    options: Options
    force: bool = False


def submit_each(producer: Producer, files: Iterable[tuple[Path, str]], order: Order) -> Iterator[Job | Refused]:
    """Submit files one by one; one that cannot be read stops no other."""
    for path, name in files:
        try:
            yield producer.submit(path, name, order.options, task=order.task, force=order.force)
        except PermanentError as error:
            yield Refused(name, error.reason)


def accepted(submitted: Iterable[Job | Refused], *, json: bool) -> tuple[list[str], int]:
    """Ids of the jobs, once each, and how many files were refused; those are shown."""
    jobs: dict[str, None] = {}
    num_refused = 0
    for item in submitted:
        if isinstance(item, Refused):
            num_refused += 1
            show.print_refused(item.name, item.reason, json=json)
        else:
            jobs[item.id] = None
    return list(jobs), num_refused
