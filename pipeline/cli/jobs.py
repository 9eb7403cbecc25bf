"""Commands about jobs: submit, status, wait, results, cancel, retry, quarantine."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from pipeline.cli import ALL_DONE, SOME_FAILED, show
from pipeline.cli.connect import producer as connected
from pipeline.cli.options import DataDir, JobIds, Json, Paths, load, with_order
from pipeline.cli.saving import save
from pipeline.cli.submitting import Order, Refused, chosen_files, submit_each
from pipeline.cli.waiting import wait as wait_for
from pipeline.errors import UsageError
from pipeline.job import Result
from pipeline.producer import Producer


def add_to(app: typer.Typer) -> None:
    for command in (submit, status, wait, results, cancel, retry):
        app.command()(command)
    quarantine = typer.Typer(help="What cannot succeed, and why.", no_args_is_help=True)
    quarantine.command("list")(quarantine_list)
    quarantine.command("show")(quarantine_show)
    quarantine.command("redrive")(quarantine_redrive)
    app.add_typer(quarantine, name="quarantine")


@with_order
def submit(
    paths: Paths,
    order: Order,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Hand files to a mill and return: prints a job id for each."""
    files = chosen_files(paths)
    with connected(load(data_dir), new_work=True) as producer:
        num_refused = 0
        for submitted in submit_each(producer, files, order):
            if isinstance(submitted, Refused):
                num_refused += 1
                show.print_refused(submitted.name, submitted.reason, json=json)
            elif json:
                show.print_json({"job": submitted.id, "name": submitted.media.name, "sha256": submitted.media.sha256})
            else:
                print(submitted.id, submitted.media.name, sep="\t", flush=True)
    raise typer.Exit(SOME_FAILED if num_refused else ALL_DONE)


def status(jobs: JobIds = None, json: Json = False, data_dir: DataDir = None) -> None:
    """How jobs stand: media done / total, segments, and why those failed that failed."""
    with connected(load(data_dir), only_look=True) as producer:
        standings = [producer.standing(job) for job in jobs or producer.jobs()]
    if json:
        for standing in standings:
            show.print_json(show.standing_document(standing))
    else:
        Console().print(show.standings_table(standings))


def wait(
    jobs: JobIds = None,
    timeout: Annotated[Optional[float], typer.Option(help="Give up after so many seconds (exit status 1).")] = None,  # noqa: UP045
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Wait until jobs have ended (all open ones when none is named)."""
    with connected(load(data_dir)) as producer:
        chosen = _known(producer, jobs) if jobs else sorted(producer.open_jobs())
        late = wait_for(producer, chosen, quiet=json or not sys.stderr.isatty(), timeout=timeout)
        standings = [producer.standing(job) for job in chosen]
    if json:
        for standing in standings:
            show.print_json(show.standing_document(standing))
    else:
        Console().print(show.standings_table(standings))
    fine = not late and all(standing.state == "done" for standing in standings)
    raise typer.Exit(ALL_DONE if fine else SOME_FAILED)


def results(
    jobs: JobIds = None,
    format: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--format", "-f", help="txt, srt, vtt or json; may be given again. Default: all, with -o."),
    ] = None,
    output: Annotated[Optional[Path], typer.Option("--output", "-o", help="Write the formats to this folder.")] = None,  # noqa: UP045
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Print the results of ended jobs, or write them to a folder. Exit status 1 when some are not done."""
    with connected(load(data_dir), only_look=True) as producer:
        still_open = producer.open_jobs()
        chosen = _known(producer, jobs) if jobs else [job for job in producer.jobs() if job not in still_open]
        found = [producer.result(job) for job in chosen]
        for result in found:
            _print_result(result, producer, tuple(format or ()), output, json=json)
    raise typer.Exit(ALL_DONE if all(result.status == "done" for result in found) else SOME_FAILED)


def _print_result(
    result: Result, producer: Producer, names: tuple[str, ...], output: Path | None, *, json: bool
) -> None:
    if output is not None:
        outputs = save(producer, result, output, names)
    else:
        outputs = {name: producer.address(key) for name, key in result.outputs.items() if not names or name in names}
    if json:
        show.print_json(show.document(result, outputs))
    elif output is None and names:
        for name in names:
            if name in result.outputs:
                print(producer.read(result.outputs[name]).decode(), end="")
            else:
                print(f"reelmill: {result.media.name} has no {name}: {result.error}", file=sys.stderr)
    else:
        show.print_result(result, outputs, Console())


def cancel(
    jobs: Annotated[list[str], typer.Argument(help="Job ids.")], json: Json = False, data_dir: DataDir = None
) -> None:
    """End jobs early. What they already have is kept in their results."""
    with connected(load(data_dir)) as producer:
        for job in jobs:
            producer.cancel(job)
            _told(job, "cancelled", json=json)


def retry(
    jobs: Annotated[Optional[list[str]], typer.Argument(help="Job ids.")] = None,  # noqa: UP045
    failed: Annotated[bool, typer.Option("--failed", help="All jobs that are failed, partial or cancelled.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Try again what failed in jobs; answers they have are kept."""
    if bool(jobs) == failed:
        raise UsageError("name jobs, or give --failed")
    with connected(load(data_dir)) as producer:
        for job in jobs or _not_done(producer):
            producer.retry(job)
            _told(job, "opened again", json=json)


def quarantine_list(json: Json = False, data_dir: DataDir = None) -> None:
    """Jobs that hold something which cannot succeed."""
    with connected(load(data_dir), only_look=True) as producer:
        for result in producer.quarantined():
            if json:
                show.print_json({"job": result.job, "name": result.media.name, "reason": result.error})
            else:
                print(result.job, result.media.name, result.error, sep="\t")


def quarantine_show(
    job: Annotated[str, typer.Argument(help="Job id.")], json: Json = False, data_dir: DataDir = None
) -> None:
    """Why a job is there, with the technical evidence."""
    with connected(load(data_dir), only_look=True) as producer:
        result = next((found for found in producer.quarantined() if found.job == job), None)
    if result is None:
        raise UsageError(f"job {job} is not in quarantine")
    if json:
        show.print_json(
            {"job": job, "name": result.media.name, "failures": [failure.model_dump() for failure in result.failures]}
        )
        return
    print(f"{job}  {result.media.name}  sha256 {result.media.sha256}")
    print(show.failure_lines(result.failures))
    for failure in result.failures:
        if failure.detail:
            print(f"\n{failure.detail}")
    print(f"\nTo try again: reelmill quarantine redrive {job}")


def quarantine_redrive(
    jobs: Annotated[Optional[list[str]], typer.Argument(help="Job ids. None: all.")] = None,  # noqa: UP045
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Take jobs out of quarantine and try them again."""
    with connected(load(data_dir)) as producer:
        for job in jobs or [result.job for result in producer.quarantined()]:
            producer.retry(job)
            _told(job, "opened again", json=json)


def _known(producer: Producer, jobs: list[str]) -> list[str]:
    return [producer.job(job).id for job in dict.fromkeys(jobs)]


def _not_done(producer: Producer) -> list[str]:
    still_open = producer.open_jobs()
    ended = [job for job in producer.jobs() if job not in still_open]
    return [job for job in ended if producer.result(job).status != "done"]


def _told(job: str, what: str, *, json: bool) -> None:
    if json:
        show.print_json({"job": job, "status": what})
    else:
        print(job, what, sep="\t")
