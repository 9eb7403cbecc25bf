"""submit: hand media to a mill and return. More than one file is a collection."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Optional
from uuid import uuid4

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipeline import keys
from pipeline import manifest as manifests
from pipeline.cli import ALL_DONE, SOME_FAILED, Stopped, show, show_collections
from pipeline.cli.asked import Gathering
from pipeline.cli.connect import Mill, mill
from pipeline.cli.options import DataDir, Json, Webhook, checked_webhook, load, with_order
from pipeline.cli.submitting import Order, submit_each
from pipeline.cli.waiting import wait, wait_for_collections
from pipeline.collecting.record import Collection, Line
from pipeline.errors import UsageError
from pipeline.finding import Found
from pipeline.identity import Asked as Who
from pipeline.job import REMOTE
from pipeline.planning.look import Asked
from pipeline.producer import refuse_task
from pipeline.settings import asked_engine
from pipeline.submitting import naming
from pipeline.submitting.intake import Accepted, Intake, Refused

_STDIN = "-"


def add_to(app: typer.Typer) -> None:
    app.command()(submit)


@with_order
def submit(
    order: Order,
    paths: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads the annotation at run time
        typer.Argument(
            help="Files, folders (taken whole), globs, s3://bucket/prefix or s3://bucket/glob* (not copied), or - for "
            "a manifest or paths on standard input.",
            show_default=False,
        ),
    ] = None,
    manifest: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--manifest",
            help="A list of media: JSON Lines or CSV with path, and custom_id, task and options if wanted.",
        ),
    ] = None,
    collection: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--collection",
            help="Its name. What is submitted under the name (or the id) of one that is there is added to it.",
        ),
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose it is; tenants share the mill alike.")] = "default",
    priority: Annotated[
        Optional[Literal["interactive", "normal", "bulk"]],  # noqa: UP045
        typer.Option("--priority", help="How soon it is wanted. Default: normal; of a collection that is there, its."),
    ] = None,
    deadline: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--deadline", help="When it should be done: 2026-11-30T18:00, or +6h from now."),
    ] = None,
    webhook: Webhook = None,
    at_end: Annotated[
        bool, typer.Option("--webhook-at-end", help="Of a collection: told once, when all of it has ended.")
    ] = False,
    wait_too: Annotated[bool, typer.Option("--wait", help="Return when it has ended.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each file, on standard error.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Hand media to a mill and return: prints the id of a job, or of a collection if it is more than one plain file.

    The same command again goes on where it was stopped, and adds what is new; files that were not written since are not
    read again. With --force, or from standard input, a collection without a name is a new one each time.
    """
    given = _checked(list(paths or ()), manifest)
    if at_end and webhook is None:
        raise UsageError("--webhook-at-end goes with --webhook")
    settings = load(data_dir)
    who = naming.who(
        tenant, priority or "normal", deadline, datetime.now().astimezone(), checked_webhook(webhook, settings)
    )
    with mill(settings, new_work=True) as reached:
        refuse_task(order.task, order.options, reached.settings.engine)
        if manifest is None and collection is None and len(given) == 1 and os.path.isfile(given[0]):
            fine = _one(reached, given[0], order, who, wait_too=wait_too, json=json)
        else:
            intake = _intake(reached, given, manifest, order, who, collection, each=not at_end)
            intake = replace(intake, has_priority=priority is not None)
            with _going_on(reached, intake):
                asking = Gathering(reached.settings, order)
                accepted = _accept(intake, partial(_all, asking, given, manifest), verbose=verbose)
            show_collections.print_accepted(accepted, json=json)
            fine = not accepted.refused and not accepted.not_anew
            if wait_too and accepted.lines:
                fine = _waited(reached, accepted.collection.id, json=json) and fine
    raise typer.Exit(ALL_DONE if fine else SOME_FAILED)


@contextmanager
def _going_on(reached: Mill, intake: Intake) -> Iterator[None]:
    """Who stops a collection that nobody could find again is told how. Raises Stopped."""
    try:
        yield
    except KeyboardInterrupt as error:
        name = intake.collection.id
        if intake.is_once and reached.ports.store.exists(keys.collection(name)):
            raise Stopped(f"stopped; to go on where it was, add --collection {name} to the same command") from error
        raise


def _waited(reached: Mill, collection: str, *, json: bool) -> bool:
    """Wait for a collection; whether all of it is done. Raises Stopped."""
    try:
        ended = wait_for_collections(reached.ports, [collection], quiet=json or not sys.stderr.isatty())
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped waiting; the mill goes on: reelmill wait {collection}") from error
    show_collections.print_standings(ended, json=json)
    return all(one.state == "done" for one in ended)


def _checked(given: list[str], manifest: Path | None) -> list[str]:
    if not given and manifest is None:
        raise UsageError("name files, folders or a bucket, or give a --manifest")
    if _STDIN in given and (len(given) > 1 or manifest is not None):
        raise UsageError("standard input (-) is submitted alone")
    if manifest is not None and not manifest.is_file():
        raise UsageError(f"the manifest {manifest} cannot be read: there is no such file")
    return given


def _one(reached: Mill, path: str, order: Order, who: Who, *, wait_too: bool, json: bool) -> bool:
    """A single job; whether it was accepted, and, if it is waited for, done."""
    (job,) = submit_each(reached.producer, [Found(path)], order, who)
    if isinstance(job, Refused):
        show.print_refused(job.name, job.reason, json=json)
        return False
    if json:
        show.print_json({"job": job.id, "name": job.media.name, "sha256": job.media.sha256})
    else:
        print(job.id, show.printable(job.media.name), sep="\t", flush=True)
    if not wait_too:
        return True
    wait(reached.producer, [job.id], quiet=json or not sys.stderr.isatty())
    standing = reached.producer.standing(job.id)
    show.print_standings([standing], json=json)
    return standing.state == "done"


def _intake(
    reached: Mill, given: list[str], manifest: Path | None, order: Order, who: Who, name: str | None, *, each: bool
) -> Intake:
    now = datetime.now(UTC)
    engine = asked_engine(reached.settings.engine)
    named = [path if path.startswith(REMOTE) or path == _STDIN else os.path.abspath(path) for path in given]
    named += [] if manifest is None else [f"manifest {os.path.abspath(manifest)}"]
    # Nobody knows what standard input will bring, and what is done anew is meant to be another.
    once = [uuid4().hex] if name is None and (order.force or _STDIN in given) else []
    if name is not None:
        is_there = naming.is_id(name) and reached.ports.store.exists(keys.collection(name))
        collection = name if is_there else naming.named_id(name, who.tenant)
    else:
        collection = naming.derived_id([*named, *once], order.task, order.options, engine, who.tenant)
    return Intake(
        store=reached.ports.store,
        upload=reached.producer.upload,
        collection=Collection(
            id=collection,
            name=name or naming.title([*given, *([] if manifest is None else [str(manifest)])]),
            tenant=who.tenant,
            priority=who.priority,
            deadline=who.deadline,
            engine=engine,
            submitted_at=now,
            webhook=who.webhook,
            webhook_each=each,
        ),
        force=order.force,
        has_own_name=name is not None,
        is_once=bool(once),
    )


def _all(asking: Gathering, given: list[str], manifest: Path | None) -> Iterator[Asked]:
    if given == [_STDIN]:
        yield from asking.lines(manifests.read_stream(sys.stdin.buffer), Path(_STDIN))
        return
    yield from asking.named(given)
    if manifest is not None:
        yield from asking.listed(manifest)


def _accept(intake: Intake, items: Callable[[], Iterator[Asked]], *, verbose: bool) -> Accepted:
    """What was refused is told as it comes, and how far it is on a terminal."""
    console = Console(stderr=True)
    num_lines = num_refused = num_bytes = 0
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=None, told="")

        def told(made: Line | Refused) -> None:
            nonlocal num_lines, num_refused, num_bytes
            if isinstance(made, Refused):
                num_refused += 1
                print(f"refused\t{show.printable(made.name)}: {made.reason}", file=sys.stderr, flush=True)
            else:
                num_lines += 1
                num_bytes += made.media.size
                if verbose:
                    print(f"accepted\t{show.printable(made.media.name)}", file=sys.stderr, flush=True)
            if num_lines % 100 == 0 or num_bytes:
                size = f", {num_bytes / 1e6:,.0f} MB" if num_bytes else ""
                progress.update(bar, told=f"{num_lines:,} lines{size}, {num_refused:,} refused")

        return intake.accept(items, told)
