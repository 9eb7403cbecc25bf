"""`run`: files in, text out, with a mill of its own. `up`: a mill that stays."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from pipeline.cli import ALL_DONE, SOME_FAILED, show
from pipeline.cli.connect import local_mode, opened
from pipeline.cli.learning import Learning
from pipeline.cli.options import Adapter, DataDir, Json, Paths, load, with_order
from pipeline.cli.saving import called, save
from pipeline.cli.submitting import Order, accepted, chosen_files, submit_each
from pipeline.cli.waiting import wait
from pipeline.finding import Found, Unusable
from pipeline.job import Result
from pipeline.planning.look import Seen
from pipeline.producer import Producer, refuse_task
from pipeline.settings import Settings
from pipeline.stewarding.progress import ENGINE_MS


def add_to(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(up)


@with_order
def run(
    paths: Paths,
    order: Order,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Folder for the transcripts. Default: DATA_DIR/transcripts"),
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="One process, a folder as the bucket: no Redis, S3 or workers.")
    ] = False,
    adapter: Adapter = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Start a mill, turn files into text through it (--task), print the text, stop it."""
    settings = load(data_dir, adapter)
    refuse_task(order.task, order.options, settings.engine)
    files = chosen_files(paths)
    folder = output or settings.data_dir / "transcripts"
    console = Console()
    started = time.monotonic()
    if in_process:
        from pipeline.cli.oneprocess import run_here

        submitted, producer, took, busy = run_here(settings, files, order, json=json)
        delivery = _Delivery(producer, submitted.names, folder, console, json=json)
        learning = Learning(settings, submitted.fresh)
        for job in submitted.names:
            learning.ended(delivery.ended(job))
        learning.keep(took, busy)
        results, num_refused = delivery.results, submitted.num_refused
    else:
        results, num_refused = _run_fleet(settings, files, order, folder, console, json=json)
    if not json:
        _summary(results, time.monotonic() - started, folder, settings, console, in_process=in_process)
    fine = not num_refused and all(result.status == "done" for result in results)
    raise typer.Exit(ALL_DONE if fine else SOME_FAILED)


def up(json: Json = False, data_dir: DataDir = None) -> None:
    """Start a mill (Valkey, SeaweedFS, workers) and keep it up until Ctrl-C."""
    settings = load(data_dir)
    console = Console(stderr=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    local = local_mode()
    with local.LocalMill(settings) as mill:
        where = settings.data_dir.absolute()
        facts = {
            "data_dir": str(where),
            "engine": settings.engine.name,
            "objects": f"s3://{mill.settings.s3.bucket} at {mill.settings.s3.endpoint}",
            "credentials": str(where / local.CONNECTION),
            "logs": str(where / "logs"),
        }
        if json:
            show.print_json(facts)
        else:
            console.print("The mill is up. Submit with `reelmill submit FILE...` elsewhere. Ctrl-C stops it.")
            for name, fact in facts.items():
                console.print(f"  {name:<12} {fact}", soft_wrap=True, highlight=False)
        while not stop.wait(0.5):
            mill.raise_if_broken()
        console.print("stopping: work in hand goes back to the queue, what is stored stays")


def _run_fleet(
    settings: Settings,
    files: list[Found | Unusable],
    order: Order,
    folder: Path,
    console: Console,
    *,
    json: bool,
) -> tuple[list[Result], int]:
    with _mill(settings) as (reached, check):
        mill = opened(reached)
        producer, counts = mill.producer, mill.ports.ledger.counts
        busy_before = counts().get(ENGINE_MS, 0)
        submitted = accepted(producer, submit_each(producer, files, order), json=json)
        delivery = _Delivery(producer, submitted.names, folder, console, json=json)
        learning = Learning(reached, submitted.fresh)
        wait(
            producer,
            list(submitted.names),
            on_end=lambda job: learning.ended(delivery.ended(job)),
            check=check,
            quiet=json or not sys.stderr.isatty(),
        )
        learning.keep(engine_seconds=(counts().get(ENGINE_MS, 0) - busy_before) / 1000)
        return delivery.results, submitted.num_refused


@contextmanager
def _mill(settings: Settings) -> Iterator[tuple[Settings, Callable[[], None]]]:
    """A mill for one run: the configured services, the one that is up in the data directory, or a new one.

    Gives its settings, and a check that raises WorldError when it cannot be kept up.
    """
    if settings.s3.endpoint:
        yield settings, lambda: None
        return
    local = local_mode()
    reached = local.reach(settings)
    if reached is not None:
        local.refuse_other_engine(settings.engine, reached.engine)
        yield reached, lambda: None
        return
    with local.LocalMill(settings) as mill:
        yield mill.settings, mill.raise_if_broken


class _Delivery:
    """Saves and tells results as their jobs end: one for each name, though the same bytes are one job."""

    def __init__(
        self, producer: Producer, names: Mapping[str, Sequence[str]], folder: Path, console: Console, *, json: bool
    ) -> None:
        self._producer = producer
        self._names = names
        self._folder = folder
        self._console = console
        self._json = json
        self._taken = Seen()
        self.results: list[Result] = []

    def ended(self, job: str) -> Result:
        stored = self._producer.result(job)
        for name in self._names[job]:
            result = called(stored, name)
            outputs = save(self._producer, result, self._folder, taken=self._taken)
            if self._json:
                show.print_json(show.document(result, outputs))
            else:
                show.print_result(result, outputs, self._console)
            self.results.append(result)
        return stored


def _summary(
    results: list[Result], seconds: float, folder: Path, settings: Settings, console: Console, *, in_process: bool
) -> None:
    durations = {result.job: result.media.duration or 0.0 for result in results}  # the same bytes are one job
    media = sum(durations.values())
    counts = {status: sum(result.status == status for result in results) for status in ("done", "partial", "failed")}
    told = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    if media:
        told = f"{told}. {show.clock(media)} of media in {seconds:.1f} s: real-time factor {seconds / media:.3f}"
    elif counts["done"] or counts["partial"]:  # texts and pictures
        told = f"{told}, in {seconds:.1f} s."
    else:
        told = f"{told}. No media could be read."
    console.print(told)
    console.print(f"transcripts  {folder.absolute()}{os.sep}", soft_wrap=True)
    where = settings.data_dir.absolute()
    objects = f"s3://{settings.s3.bucket}/jobs/ ({settings.s3.endpoint or f'in {where}'})"
    console.print(f"objects      {where / 'bucket' if in_process else objects}", soft_wrap=True)
