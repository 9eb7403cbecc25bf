"""What a person sees of a dry run: a line for each file as it comes, then the totals; how far it is, meanwhile."""

import sys
import time
from collections.abc import Callable
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.cli import show
from pipeline.forecast import Forecast, sentence
from pipeline.limits import variable
from pipeline.planning.estimate import Work
from pipeline.planning.tally import Row, Totals
from pipeline.settings import Limits

SHOWN_GROUPS = 10  # of refusals, the largest
INTERVAL = 5.0  # seconds between two lines about progress


class Progress:
    """A line on standard error every few seconds, for work of which nothing else is seen."""

    def __init__(self, totals: Totals, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._totals = totals
        self._quiet = quiet
        self._clock = clock
        self._started = self._told = clock()

    def tell(self) -> None:
        now = self._clock()
        if self._quiet or now - self._told < INTERVAL:
            return
        self._told = now
        rate = self._totals.files / (now - self._started)
        told = f"{self._totals.files:,} files looked at ({rate:.0f} a second), {self._totals.refused:,} refused"
        print(f"reelmill: {told}", file=sys.stderr, flush=True)


def print_row(row: Row) -> None:
    """One file on one line."""
    name = show.printable(row.name)
    if row.refused is not None:
        print(f"{'refused':<9}{'':>9}  {name}: {row.refused}")
        return
    assert row.info is not None
    length = show.clock(row.info.duration) if row.info.is_timed else ""
    print(f"{row.info.kind:<9}{length:>9}  {name}{_work(row.work)}")


def print_totals(totals: Totals, limits: Limits) -> None:
    console = Console()
    table = Table("task", "segments", "frames", "tokens", box=None, pad_edge=False)
    for name, asked in sorted(totals.tasks.items()):
        table.add_row(name, f"{asked.segments:,}", f"{asked.frames:,}", f"{asked.tokens:,}")
    if totals.tasks:
        console.print()
        console.print(table)
    console.print(f"\n{_headline(totals)}", highlight=False)
    if totals.refusals:
        _print_refusals(totals, limits, console)


def print_forecast(promise: Forecast | None, engine: str) -> None:
    """How long it takes, if it began now."""
    if promise is None:
        told = (
            f"How long it takes is not known: not all of it was measured with {engine} here yet (`reelmill run` does)"
        )
    else:
        told = f"If it began now: {sentence(promise, datetime.now().astimezone())}, by earlier runs of {engine}"
    Console().print(f"{told}.", highlight=False, soft_wrap=True)


def _headline(totals: Totals) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(totals.kinds.items())) or "none of a known kind"
    parts = [
        f"{totals.files:,} files: {kinds}; {totals.refused:,} refused",
        f"{show.clock(totals.sound_seconds)} of sound, {show.clock(totals.video_seconds)} of video",
    ]
    if totals.named_again:
        parts.append(f"Named more than once, but counted once: {totals.named_again:,}")
    if totals.of_unknown_length:
        parts.append(f"Of a length that is not known, and not in these figures: {totals.of_unknown_length:,}")
    return ".\n".join([*parts, "Segments and tokens are about right, not exact"]) + "."


def _print_refusals(totals: Totals, limits: Limits, console: Console) -> None:
    table = Table("refused", "because", "for example", box=None, pad_edge=False)
    for reason, found in totals.worst[:SHOWN_GROUPS]:
        example = found.examples[0]
        shown = example["reason"] if found.count == 1 else reason
        table.add_row(f"{found.count:,}", escape(shown), escape(show.printable(example["name"])))
    console.print()
    console.print(table)
    hidden = len(totals.refusals) - SHOWN_GROUPS
    if hidden > 0:
        console.print(f"and {hidden:,} more reasons (--json has them all)")
    for setting in sorted({found.setting for found in totals.refusals.values() if found.setting}):
        console.print(f"{variable(setting)} is {getattr(limits, setting):,.0f}", highlight=False)


def _work(asked: Work | None) -> str:
    if asked is None or asked.segments is None:
        return ""
    frames = f", {asked.frames:,} frames" if asked.frames else ""
    segments = "1 segment" if asked.segments == 1 else f"about {asked.segments:,} segments"
    return f"  ({segments}{frames}, {asked.tokens:,} tokens)"
