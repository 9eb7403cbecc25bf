"""Commands that look at jobs and collections: status, wait, results, report."""

import sys
import time
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from pipeline.cli import ALL_DONE, SOME_FAILED, show, show_collections
from pipeline.cli.connect import Mill, mill
from pipeline.cli.named import named
from pipeline.cli.options import DataDir, Json, Names, load
from pipeline.cli.saving import called, check_formats, save
from pipeline.cli.waiting import wait as wait_for
from pipeline.cli.waiting import wait_for_collections
from pipeline.job import Result
from pipeline.operating.outcomes import outcomes
from pipeline.operating.report import report as report_of
from pipeline.operating.single import single_jobs
from pipeline.operating.standing import collections, standing
from pipeline.planning.look import Seen
from pipeline.producer import Producer


def add_to(app: typer.Typer) -> None:
    for command in (status, wait, results, report):
        app.command()(command)


def status(names: Names = None, json: Json = False, data_dir: DataDir = None) -> None:
    """How collections and jobs stand: what is done and failed, what is in flight, when it will be done.

    Without names: all collections, what the mill mended, and the jobs that came with no collection (of an archive,
    those that are open).
    """
    with mill(load(data_dir), only_look=True) as reached:
        if names:
            chosen, jobs = named(reached, names)
        else:
            chosen = list(collections(reached.ports.store))
        seen = [standing(reached.ports, collection) for collection in chosen]
        show_collections.print_standings(seen, json=json)
        if not names:
            show_collections.print_repairs(reached.ports.ledger.counts(), json=json)
            jobs = single_jobs(reached.ports, reached.producer, seen)
        show.print_standings([reached.producer.standing(job) for job in jobs], json=json)


def wait(
    names: Names = None,
    timeout: Annotated[Optional[float], typer.Option(help="Give up after so many seconds (exit status 1).")] = None,  # noqa: UP045
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Wait until jobs and collections have ended (all open ones when none is named)."""
    quiet = json or not sys.stderr.isatty()
    deadline = None if timeout is None else time.monotonic() + timeout
    with mill(load(data_dir)) as reached:
        if names:
            chosen, jobs = named(reached, names)
        else:
            every = (standing(reached.ports, one) for one in collections(reached.ports.store))
            chosen = [one.collection.id for one in every if one.ended_at is None]
            jobs = sorted(reached.producer.open_jobs())
        seen = wait_for_collections(reached.ports, chosen, quiet=quiet, deadline=deadline) if chosen else []
        late = wait_for(reached.producer, jobs, quiet=quiet, deadline=deadline)
        found = [reached.producer.standing(job) for job in jobs]
    show_collections.print_standings(seen, json=json)
    show.print_standings(found, json=json)
    states = [*(one.state for one in seen), *(one.state for one in found)]
    fine = not late and all(state == "done" for state in states)
    raise typer.Exit(ALL_DONE if fine else SOME_FAILED)


def results(
    names: Names = None,
    format: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--format", "-f", help="txt, srt, vtt or json; may be given again. Default: all, with -o."),
    ] = None,
    output: Annotated[Optional[Path], typer.Option("--output", "-o", help="Write the formats to this folder.")] = None,  # noqa: UP045
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Print the results of ended jobs, or write them to a folder. Exit status 1 when some are not done.

    Of a collection: a line for each of its lines, in their order, with the custom_id and what became of it.
    """
    check_formats(format or ())
    with mill(load(data_dir), only_look=True) as reached:
        chosen, jobs = named(reached, names) if names else ([], _ended(reached.producer))
        delivery = _Delivery(reached, tuple(format or ()), output, json=json)
        fine = [delivery.collection(collection) for collection in chosen]
        fine += [delivery.job(reached.producer.result(job)) for job in jobs]
    raise typer.Exit(ALL_DONE if all(fine) else SOME_FAILED)


def report(
    collection: Annotated[str, typer.Argument(help="A collection's id or name.")],
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Look back upon a collection: promised and actual finish, throughput, and why lines failed."""
    with mill(load(data_dir), only_look=True) as reached:
        (chosen,), _ = named(reached, [collection], only_collections=True)
        show_collections.print_report(report_of(reached.ports, chosen), json=json)


class _Delivery:
    """Prints results, or writes them to a folder."""

    def __init__(self, reached: Mill, formats: tuple[str, ...], folder: Path | None, *, json: bool) -> None:
        self._producer = reached.producer
        self._store = reached.ports.store
        self._formats = formats
        self._folder = folder
        self._json = json
        self._taken = Seen()

    def collection(self, collection: str) -> bool:
        """Whether all of its lines are done."""
        fine = True
        for outcome in outcomes(self._store, collection):
            fine = fine and outcome.state == "done"
            result = None if outcome.result is None else called(outcome.result, outcome.line.media.name)
            outputs = {} if result is None else self._outputs(result)
            if result is not None and self._prints_text:
                self._print_text(result)
            else:
                show_collections.print_outcome(outcome, outputs, json=self._json)
        return fine

    def job(self, result: Result) -> bool:
        """Whether it is done."""
        outputs = self._outputs(result)
        if self._json:
            show.print_json(show.document(result, outputs))
        elif self._prints_text:
            self._print_text(result)
        else:
            show.print_result(result, outputs, Console())
        return result.status == "done"

    @property
    def _prints_text(self) -> bool:
        return not self._json and self._folder is None and bool(self._formats)

    def _outputs(self, result: Result) -> dict[str, str]:
        if self._folder is not None:
            return save(self._producer, result, self._folder, self._formats, self._taken)
        wanted = self._formats or tuple(result.outputs)
        return {name: self._producer.address(key) for name, key in result.outputs.items() if name in wanted}

    def _print_text(self, result: Result) -> None:
        for name in self._formats:
            if name in result.outputs:
                print(self._producer.read(result.outputs[name]).decode(), end="")
            else:
                why = f": {result.error}" if result.error else ""
                print(f"reelmill: {show.printable(result.media.name)} has no {name}{why}", file=sys.stderr)


def _ended(producer: Producer) -> list[str]:
    still_open = producer.open_jobs()
    return [job for job in producer.jobs() if job not in still_open]
