"""Commands that change what jobs and collections become: cancel, retry, redo, recover."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from pipeline import keys
from pipeline.cli import show
from pipeline.cli.connect import Mill, mill
from pipeline.cli.named import named
from pipeline.cli.options import DataDir, Json, Names, Webhook, checked_webhook, load
from pipeline.errors import UsageError
from pipeline.operating import mending
from pipeline.operating import redo as redoing
from pipeline.operating.outcomes import jobs_of
from pipeline.operating.standing import collections, standing
from pipeline.operating.where import parse
from pipeline.producer import Producer
from pipeline.settings import asked_engine
from pipeline.stewarding.recovery import recover as recover_ledger


def add_to(app: typer.Typer) -> None:
    for command in (cancel, retry, redo, recover):
        app.command()(command)


def cancel(
    names: Annotated[list[str], typer.Argument(help="Ids of jobs, ids or names of collections.")],
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """End jobs early, or let no more lines of a collection in. What they already have is kept in their results."""
    with mill(load(data_dir)) as reached:
        chosen, jobs = named(reached, names)
        for collection in chosen:
            number = mending.cancel(reached.ports.store, reached.producer, collection)
            told = f"cancelled, and {number:,} open jobs with it"
            show.print_told(collection, "cancelled" if json else told, json=json, kind="collection")
        for job in jobs:
            reached.producer.cancel(job)
            show.print_told(job, "cancelled", json=json)


def retry(
    names: Names = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Without names: everything that is failed, partial or cancelled.")
    ] = False,
    webhook: Webhook = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Try again what failed in jobs or collections; answers they have are kept."""
    if not names and not failed:
        raise UsageError("name jobs or collections, or give --failed")
    settings = load(data_dir)
    url = checked_webhook(webhook, settings)
    with mill(settings) as reached:
        chosen, jobs = named(reached, names) if names else (_with_failures(reached), [])
        if chosen and url is not None:
            raise UsageError("whoever is told of a collection was named when it was submitted: leave out --webhook")
        for collection in chosen:
            for job in mending.retry(reached.ports.store, reached.producer, collection):
                show.print_told(job, "opened again", json=json)
        for job in jobs if names else _not_done(reached.producer):
            reached.producer.retry(job)
            if url is not None:
                reached.producer.tell(job, url)
            show.print_told(job, "opened again", json=json)


def redo(
    where: Annotated[
        str,
        typer.Option(
            "--where",
            help="Which results: FIELD=VALUE, !=, <, <=, >, >=, joined by `and`. Fields: model, revision, variant, "
            "adapter, precision, prompt, engine, reelmill, task, status, flag, language, tenant.",
            show_default=False,
        ),
    ],
    names: Names = None,
    engine: Annotated[
        Literal["same", "current"],
        typer.Option(
            "--engine",
            help="same: only results of jobs that asked for the present engine, done anew in their place. current: "
            "what another engine was asked for is asked of the present one, too, as new jobs; the old results stay.",
        ),
    ] = "same",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be done.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Do again what would come out differently, such as --where 'model!=google/gemma-3n-E4B-it' or 'flag=suspect'."""
    wanted = parse(where)
    with mill(load(data_dir), only_look=dry_run) as reached:
        present = asked_engine(reached.settings.engine)
        counts: dict[redoing.How, int] = {"same": 0, "moved": 0, "known": 0, "other": 0, "gone": 0}
        for result in redoing.matching(reached.ports.store, wanted, _jobs(reached, names)):
            done = redoing.redo(reached.producer, result, present, move=engine == "current", dry=dry_run)
            counts[done.how] += 1
            if done.job is not None:
                show.print_told(done.job, "opened again", json=json)
    if json:
        told = {"again": counts["same"], "as_new_jobs": counts["moved"], "known": counts["known"]}
        show.print_json({"dry_run": dry_run, **told, "left": counts["other"], "media_gone": counts["gone"]})
        return
    would = "would be done" if dry_run else "are done"
    print(f"{counts['same']:,} {would} again in their place, {counts['moved']:,} by {present} as new jobs")
    if counts["known"]:
        print(f"{counts['known']:,} were made by another engine, and {present} has done them before")
    if counts["gone"]:
        print(f"{counts['gone']:,} stay as they are: their media is gone")
    if counts["other"]:
        print(f"{counts['other']:,} were made by another engine and are left as they are (--engine current)")


def recover(json: Json = False, data_dir: DataDir = None) -> None:
    """Rebuild what Redis lost from the bucket. A steward does so by itself; this works while none runs, too."""
    with mill(load(data_dir), only_look=True) as reached:
        found = recover_ledger(reached.ports)
        webhooks = sum(1 for _ in reached.ports.store.list(keys.WEBHOOKS_OWED))
    if json:
        show.print_json(asdict(found) | {"webhooks": webhooks})
    else:
        print(
            f"{found.jobs:,} jobs and {found.collections:,} collections are open; {found.tries:,} pieces of work had "
            f"been begun before, which is known again. {webhooks:,} webhooks are owed. "
            "The steward sends what they lack."
        )


def _jobs(reached: Mill, names: list[str] | None) -> Iterator[str]:
    if not names:
        yield from reached.producer.jobs()
        return
    chosen, jobs = named(reached, names)
    seen = set(jobs)
    yield from jobs
    for collection in chosen:
        for job in jobs_of(reached.ports.store, collection):
            if job not in seen:
                seen.add(job)
                yield job


def _with_failures(reached: Mill) -> list[str]:
    """Collections of which something that has ended is not done, or that were cancelled."""
    every = [standing(reached.ports, one) for one in collections(reached.ports.store)]
    whole = [one for one in every if one.state != "submitting"]
    return [
        one.collection.id
        for one in whole
        if one.state == "cancelled" or one.tally.statuses.get("done", 0) < one.tally.lines
    ]


def _not_done(producer: Producer) -> list[str]:
    still_open = producer.open_jobs()
    ended = [job for job in producer.jobs() if job not in still_open]
    return [job for job in ended if producer.result(job).status != "done"]
