"""From what a user named to single jobs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.cli import show
from pipeline.errors import PermanentError, UsageError
from pipeline.finding import Found, Unusable, find_all
from pipeline.identity import NORMAL, Asked
from pipeline.job import Job, Options
from pipeline.producer import Producer
from pipeline.submitting.intake import Refused


def chosen_files(paths: Sequence[str]) -> list[Found | Unusable]:
    """What a user named. Raises UsageError that tells what was not found."""
    files = find_all(paths)
    if not files:
        raise UsageError("there are no files in what was named")
    return files


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done with the files that a user named."""

    task: str
    options: Options
    force: bool = False


def submit_each(
    producer: Producer, files: Iterable[Found | Unusable], order: Order, who: Asked = NORMAL
) -> Iterator[Job | Refused]:
    """Submit files one by one; one that cannot be read stops no other."""
    for file in files:
        if isinstance(file, Unusable):
            yield Refused(file.name, file.reason)
            continue
        try:
            yield producer.submit(file.path, file.name, order.options, task=order.task, force=order.force, asked=who)
        except PermanentError as error:
            yield Refused(file.name, error.reason)


@dataclass(frozen=True, slots=True)
class Submitted:
    """The jobs of one run."""

    names: dict[str, list[str]]  #: of their files, by job: the same bytes are one job
    fresh: frozenset[str]  #: jobs that were not done before
    num_refused: int


def accepted(producer: Producer, submitted: Iterable[Job | Refused], *, json: bool) -> Submitted:
    """Take note of what is submitted; what was refused is shown."""
    names: dict[str, list[str]] = {}
    fresh = set()
    num_refused = 0
    for item in submitted:
        if isinstance(item, Refused):
            num_refused += 1
            show.print_refused(item.name, item.reason, json=json)
        else:
            if item.id not in names and producer.is_open(item.id):
                fresh.add(item.id)
            names.setdefault(item.id, []).append(item.media.name)
    return Submitted(names, frozenset(fresh), num_refused)
