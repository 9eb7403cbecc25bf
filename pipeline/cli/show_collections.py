"""What a person or a program sees of collections."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli import show
from pipeline.forecast import sentence
from pipeline.job import Status
from pipeline.operating.outcomes import Outcome
from pipeline.operating.report import Report
from pipeline.operating.standing import Standing
from pipeline.stewarding.progress import ENGINE_MS
from pipeline.submitting.intake import Accepted

SHOWN_REASONS = 10
STATUSES: tuple[Status, ...] = ("done", "partial", "failed", "cancelled")


def print_accepted(accepted: Accepted, *, json: bool) -> None:
    """The id alone on standard output; what it holds beside it."""
    collection = accepted.collection
    if json:
        show.print_json(
            {
                "collection": collection.id if accepted.lines else None,
                "name": collection.name,
                "lines": accepted.lines,
                "new": accepted.new,
                "known": accepted.known,
                "not_named_again": accepted.gone,
                "refused": accepted.refused,
                "not_anew": accepted.not_anew,
                "same_custom_id": accepted.same_ids,
                "deadline": _iso(accepted.collection.deadline),
            }
        )
        return
    if accepted.lines:
        print(collection.id, flush=True)
    told = [f"{accepted.lines:,} lines, {accepted.new:,} of them new", f"{accepted.refused:,} refused"]
    if accepted.gone:
        told.append(f"{accepted.gone:,} that are in it from before were not named this time, and stay")
    if accepted.not_anew:
        told.append(f"{accepted.not_anew:,} are in it with --force already and are not done once more: name another")
    if accepted.same_ids:
        told.append(f"{accepted.same_ids:,} have a custom_id that one before them has")
    if accepted.keeps_deadline:
        deadline = accepted.collection.deadline
        told.append(f"its deadline stays {f'{deadline.astimezone():%Y-%m-%d %H:%M}' if deadline else 'none'}")
    print(f"reelmill: {'; '.join(told)}", file=sys.stderr)


def print_standings(standings: Sequence[Standing], *, json: bool) -> None:
    if json:
        for standing in standings:
            show.print_json(document(standing))
    elif standings:
        Console().print(_table(standings))


def document(standing: Standing) -> dict[str, Any]:
    collection, tally, between = standing.collection, standing.tally, standing.between
    return {
        "collection": collection.id,
        "name": collection.name,
        "tenant": collection.tenant,
        "priority": collection.priority,
        "deadline": _iso(collection.deadline),
        "engine": collection.engine,
        "status": standing.state,
        "lines": standing.lines,
        "ended": tally.lines,
        **{status: tally.statuses.get(status, 0) for status in STATUSES},
        "refused": standing.refused,
        "in_flight": standing.in_flight,
        "engine_runs": standing.is_served,
        "media_seconds": round(tally.seconds, 3),
        "done_between": None if between is None else [_iso(moment) for moment in between],
        "still": None if standing.promise is None or standing.is_silent else standing.promise.document(),
        "submitted_at": _iso(collection.submitted_at),
        "ended_at": _iso(standing.ended_at),
    }


def print_report(report: Report, *, json: bool) -> None:
    if json:
        show.print_json(document(report.standing) | report.document())
        return
    console = Console()
    console.print(_table([report.standing]))
    for line in _sentences(report):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if report.failing:
        table = Table("lines", "not done because", "for example", box=None, pad_edge=False)
        for reason, found in report.worst[:SHOWN_REASONS]:
            example = found.examples[0]
            shown = example["reason"] if found.lines == 1 else reason
            table.add_row(f"{found.lines:,}", Text(shown or ""), Text(show.printable(example["name"] or "")))
        console.print()
        console.print(table)
        hidden = len(report.failing) - SHOWN_REASONS
        if hidden > 0:
            console.print(f"and {hidden:,} more reasons (--json has them all)")


def print_repairs(counts: Mapping[str, int], *, json: bool) -> None:
    """What the mill mended since its ledger was born."""
    repairs = {what: number for what, number in sorted(counts.items()) if what != ENGINE_MS and number}
    if not repairs:
        return
    if json:
        show.print_json({"repairs": repairs})
    else:
        told = ", ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in repairs.items())
        Console().print(f"repairs  {told}", highlight=False)


def outcome_document(outcome: Outcome, outputs: Mapping[str, str]) -> dict[str, Any]:
    """One line of a collection, whether it has ended or not."""
    return {
        "custom_id": outcome.line.custom_id,
        "name": outcome.line.media.name,
        "job": outcome.job,
        "status": outcome.state,
        "error": None if outcome.result is None else outcome.result.error,
        "outputs": dict(outputs),
    }


def print_outcome(outcome: Outcome, outputs: Mapping[str, str], *, json: bool) -> None:
    if json:
        show.print_json(outcome_document(outcome, outputs))
        return
    why = "" if outcome.result is None else outcome.result.error or ""
    name = show.printable(outcome.line.media.name)
    told = [outcome.state, outcome.job, show.printable(outcome.line.custom_id or "-"), name, show.printable(why)]
    print(*(part for part in told if part), sep="\t", flush=True)


def _table(standings: Sequence[Standing]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("collection", no_wrap=True, min_width=25)
    for heading in ("name", "status", "lines", "media", "finish"):
        table.add_column(heading, overflow="fold")
    for standing in standings:
        table.add_row(
            standing.collection.id,
            Text(show.printable(standing.collection.name)),
            Text(standing.state, style=show.STYLES.get(standing.state, "cyan")),
            _lines(standing),
            show.clock(standing.tally.seconds),
            _finish(standing),
        )
    return table


def _lines(standing: Standing) -> str:
    """Such as `7 done, 1 failed of 10, 2 in flight`."""
    counts = standing.tally.statuses
    ended = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if counts.get(status))
    told = [f"{ended or 'none done'} of {'?' if standing.lines is None else f'{standing.lines:,}'}"]
    if standing.in_flight:
        told.append(f"{standing.in_flight:,} in flight")
    if standing.refused:
        told.append(f"{standing.refused:,} refused")
    return ", ".join(told)


def _finish(standing: Standing) -> str:
    if standing.ended_at is not None:
        return f"{standing.ended_at.astimezone():%Y-%m-%d %H:%M}"
    if standing.state in ("submitting", "cancelled"):
        return "still being submitted" if standing.state == "submitting" else "as soon as what is open has ended"
    if not standing.is_served:
        return f"not before an infer worker runs {standing.collection.engine}"
    if standing.at is not None and standing.is_silent:
        return f"not known: its steward has told nothing since {standing.at.astimezone():%Y-%m-%d %H:%M}"
    return sentence(standing.promise, (standing.at or datetime.now()).astimezone())


def _sentences(report: Report) -> list[str]:
    told = []
    if report.promise is None or report.promised_at is None:
        told.append("promised    nothing: there was nothing to tell by")
    else:
        told.append(f"promised    {sentence(report.promise, report.promised_at.astimezone())}")
    if report.miss is not None:
        told.append(f"actual      {report.miss.sentence()}")
    if report.pace is not None and report.seconds is not None:
        told.append(
            f"throughput  {report.pace:,.1f} s of media in a second, {report.lines_per_hour:,.0f} lines an hour; "
            f"{show.clock(report.seconds)} from its submission to its end"
        )
    return told


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
