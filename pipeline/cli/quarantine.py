"""quarantine: what cannot succeed, and why."""

from typing import Annotated, Optional

import typer

from pipeline.cli import show
from pipeline.cli.connect import producer as connected
from pipeline.cli.options import DataDir, Json, load
from pipeline.errors import UsageError


def add_to(app: typer.Typer) -> None:
    quarantine = typer.Typer(help="What cannot succeed, and why.", no_args_is_help=True)
    quarantine.command("list")(quarantine_list)
    quarantine.command("show")(quarantine_show)
    quarantine.command("redrive")(quarantine_redrive)
    app.add_typer(quarantine, name="quarantine")


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
            show.print_told(job, "opened again", json=json)
