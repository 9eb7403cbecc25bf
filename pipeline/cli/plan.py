"""plan: a dry run. What media holds, how much work it is, and what would be refused and why."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline import engines
from pipeline.cli import ALL_DONE, SOME_FAILED, show
from pipeline.cli.asked import Asking
from pipeline.cli.options import DataDir, Json, load, with_order
from pipeline.cli.plan_report import Progress, print_forecast, print_row, print_totals
from pipeline.cli.submitting import Order
from pipeline.engines.gemma3n import facts_of
from pipeline.engines.gemma3n.facts import Facts
from pipeline.errors import UsageError
from pipeline.forecast import remembered
from pipeline.planning.estimate import Sizes
from pipeline.planning.experience import recall, remaining
from pipeline.planning.look import Asked, Looker, Seen
from pipeline.planning.tally import Totals
from pipeline.producer import refuse_task
from pipeline.settings import Settings, asked_engine


def add_to(app: typer.Typer) -> None:
    app.command()(plan)


@partial(with_order, without=("force",))
def plan(
    order: Order,
    paths: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads the annotation at run time
        typer.Argument(
            help="Files, folders (taken whole), globs, or s3://bucket/prefix (s3:///prefix: the configured bucket).",
            show_default=False,
        ),
    ] = None,
    manifest: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--manifest", help="A list of media: JSON Lines or CSV with path, and task and options if wanted."
        ),
    ] = None,
    price: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--price", min=0, help="Of an hour of one engine. Default: REELMILL_PRICE_PER_HOUR."),
    ] = None,
    totals_only: Annotated[bool, typer.Option("--totals", help="Only the totals, no line for each file.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """A dry run: what media holds, segments, frames and tokens (estimated), and what would be refused and why.

    How long it takes, and what of, is told by the speed of earlier runs of this engine (`run` measures it).
    """
    from pipeline.media.ffmpeg import Ffmpeg

    settings = load(data_dir)
    refuse_task(order.task, order.options, settings.engine)
    if not paths and manifest is None:
        raise UsageError("name files, folders or a bucket, or give a --manifest")
    asking = Asking(settings, order)
    looker = Looker(Ffmpeg.locate(settings), sizes_of(settings), settings.workers.cache_dir)
    totals = Totals()
    progress = Progress(totals, quiet=not (totals_only or json))
    for row in looker.rows(_once(_all(asking, paths, manifest), totals), threads=2 * _cores()):
        totals.add(row)
        if json and not totals_only:
            show.print_json(row.document())
        elif not totals_only:
            print_row(row)
        progress.tell()
    if not totals.files:
        raise UsageError("there are no files in what was named")
    engine = asked_engine(settings.engine)
    rates = recall(settings.data_dir, engine)
    promise = remembered(rates, remaining(totals), settings.price_per_hour if price is None else price)
    if json:
        forecast = None if promise is None else promise.document()
        show.print_json({"total": totals.document(settings.limits.model_dump()) | {"forecast": forecast}})
    else:
        print_totals(totals, settings.limits)
        print_forecast(promise, engine)
    raise typer.Exit(SOME_FAILED if totals.refused else ALL_DONE)


def sizes_of(settings: Settings) -> Sizes:
    """How media is cut for the engine of these settings, and what a segment costs."""
    limits = engines.create(settings.engine).capabilities.limits
    images = min(limits.images, settings.video.frames_per_segment)
    return Sizes(
        limits=limits.model_copy(update={"images": images}),
        video=settings.video,
        facts=facts_of(settings.engine) if settings.engine.name == "gemma3n" else Facts(),
    )


def _all(asking: Asking, paths: list[str] | None, manifest: Path | None) -> Iterator[Asked]:
    yield from asking.named(paths or ())
    if manifest is not None:
        yield from asking.listed(manifest)


def _once(asked: Iterable[Asked], totals: Totals) -> Iterator[Asked]:
    """What is named for the first time."""
    seen = Seen()
    for one in asked:
        if seen.is_new(one.identity):
            yield one
        else:
            totals.named_again += 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
