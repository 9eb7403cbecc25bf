"""Waiting for jobs and collections: progress as media done / total with the time left, on standard error."""

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.cli.show import clock
from pipeline.errors import TransientError
from pipeline.operating.standing import Standing as Collecting
from pipeline.operating.standing import standing
from pipeline.producer import Producer
from pipeline.stages import Ports

POLL_SECONDS = 0.4
COLLECTION_POLL_SECONDS = 1.0


def wait(
    producer: Producer,
    jobs: Sequence[str],
    *,
    on_end: Callable[[str], None] = lambda job: None,
    check: Callable[[], None] = lambda: None,
    quiet: bool = False,
    deadline: float | None = None,
) -> list[str]:
    """Wait until the jobs have ended; `on_end` is called for each as it ends. Returns those that have not in time.

    `check` is called at every look and may raise to give up. `deadline`: by the monotonic clock.
    """
    pending = dict.fromkeys(jobs)
    totals: dict[str, float] = {}
    done: dict[str, float] = {}
    with _progress(quiet) as progress:
        bar = progress.add_task("", total=None, jobs=f"0/{len(jobs)} jobs", media="")
        while pending:
            try:
                still_open = producer.open_jobs()
            except TransientError:
                check()  # it may know why
                raise
            for job in [job for job in pending if job not in still_open]:
                del pending[job]
                done[job] = totals.get(job, 0.0)
                on_end(job)
            for job in pending:
                figures = producer.figures(job)
                totals[job] = figures.get("seconds", totals.get(job, 0.0))
                done[job] = min(figures.get("done", 0.0), totals[job])
            total, completed = sum(totals.values()), sum(done.values())
            progress.update(
                bar,
                total=total or None,
                completed=completed,
                jobs=f"{len(jobs) - len(pending)}/{len(jobs)} jobs",
                media=f"{clock(completed)} / {clock(total)} of media",
            )
            check()
            if pending and deadline is not None and time.monotonic() > deadline:
                break
            if pending:
                time.sleep(POLL_SECONDS)
    return list(pending)


def wait_for_collections(
    ports: Ports, collections: Sequence[str], *, quiet: bool = False, deadline: float | None = None
) -> list[Collecting]:
    """Wait until collections have ended, or until a moment of the monotonic clock; returns how they stand then."""
    with _progress(quiet) as progress:
        bar = progress.add_task("", total=None, jobs="", media="")
        while True:
            seen = [standing(ports, collection) for collection in collections]
            ended = sum(one.tally.lines for one in seen)
            total = sum(one.lines or one.tally.lines for one in seen)
            media = clock(sum(one.tally.seconds for one in seen))
            progress.update(
                bar, total=total, completed=ended, jobs=f"{ended:,}/{total:,} lines", media=f"{media} of media"
            )
            late = deadline is not None and time.monotonic() >= deadline
            if late or all(one.ended_at is not None for one in seen):
                return seen
            time.sleep(COLLECTION_POLL_SECONDS)


def _progress(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.fields[jobs]}"),
        BarColumn(),
        TextColumn("{task.fields[media]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=quiet,
    )
