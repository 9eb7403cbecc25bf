"""What a person or a program sees of jobs."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.job import Failure, Result, TextSegment
from pipeline.producer import Standing

STYLES = {"done": "green", "partial": "yellow", "failed": "red", "cancelled": "yellow", "running": "cyan"}


def clock(seconds: float | None) -> str:
    """Seconds as h:mm:ss, or `?`."""
    if seconds is None:
        return "?"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def printable(name: str) -> str:
    """The name of a file, which may hold any bytes, as text on one line."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in name)


def print_json(document: dict[str, Any]) -> None:
    """One line of JSON on standard output. Bytes of a name that are no text stand in it as `\\udcXX`."""
    text = json.dumps(document, ensure_ascii=False)
    print(text.encode("utf-8", "backslashreplace").decode(), flush=True)


def document(result: Result, outputs: dict[str, str]) -> dict[str, Any]:
    """The JSON document of a finished job. `outputs`: where each format lies, a path or an address."""
    return {
        "job": result.job,
        "name": result.media.name,
        "status": result.status,
        "error": result.error,
        "text": result.text,
        "language": result.language,
        "media_seconds": result.media.duration,
        "segments": [segment.model_dump(exclude_none=True) for segment in result.segments],
        "failures": [failure.model_dump() for failure in result.failures],
        "outputs": outputs,
        "provenance": result.provenance.model_dump(),
    }


def print_refused(name: str, reason: str, *, json: bool) -> None:
    """A file that did not become a job."""
    if json:
        print_json(
            {"job": None, "name": name, "status": "failed", "error": reason, "text": "", "segments": [], "outputs": {}}
        )
    else:
        Console().print(Text(printable(name), style="bold"), Text("failed", style="red"), Text(reason), sep="  ")


def print_result(result: Result, outputs: dict[str, str], console: Console) -> None:
    """A finished job for reading: what it is, its text with gaps marked, where it lies."""
    head = Text(result.status, style=STYLES[result.status])
    console.print(Text(printable(result.media.name), style="bold"), head, f"({clock(result.media.duration)})", sep="  ")
    if result.error:
        console.print(f"  {result.error}", style="red", markup=False, highlight=False)
    for paragraph in _paragraphs(result.segments):
        console.print(paragraph, markup=False, highlight=False)
    for name, place in outputs.items():
        console.print(f"  {name:<4} {place}", style="dim", markup=False, highlight=False, soft_wrap=True)
    console.print()


def _paragraphs(segments: tuple[TextSegment, ...]) -> list[str]:
    lines: list[list[str]] = [[]]
    speaker: str | None = None
    for segment in segments:
        if segment.speaker != speaker and segment.text:  # who is named once for all that they say in one go
            speaker = segment.speaker
            lines.append([f"{speaker}:"] if speaker else [])
        if segment.reason:
            who = f"{segment.speaker}: " if segment.speaker else ""
            lines += [[f"{who}[missing {clock(segment.start)} - {clock(segment.end)}: {segment.reason}]"], []]
        elif segment.text:
            lines[-1].append(segment.text)
    return [" ".join(line) for line in lines if line]


def standing_document(standing: Standing) -> dict[str, Any]:
    return {
        "job": standing.job,
        "name": standing.name,
        "status": standing.state,
        "error": standing.error,
        "done_seconds": round(standing.done_seconds, 3),
        "total_seconds": standing.total_seconds,
        "segments": standing.num_segments,
        "answers": standing.num_answers,
        "engine_runs": standing.lacks_engine is None,
    }


def standings_table(standings: list[Standing]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("job", no_wrap=True, min_width=25)
    for heading in ("name", "status", "media done / total", "segments", "why"):
        table.add_column(heading, overflow="fold")
    for standing in standings:
        table.add_row(
            standing.job,
            Text(printable(standing.name)),
            Text(standing.state, style=STYLES.get(standing.state, "")),
            f"{clock(standing.done_seconds)} / {clock(standing.total_seconds)}",
            f"{standing.num_answers} / {standing.num_segments}" if standing.num_segments else "",
            Text(standing.error or _waits_for(standing)),
        )
    return table


def _waits_for(standing: Standing) -> str:
    return f"no infer worker runs {standing.lacks_engine}" if standing.lacks_engine else ""


def print_standings(standings: list[Standing], *, json: bool) -> None:
    if json:
        for standing in standings:
            print_json(standing_document(standing))
    elif standings:
        Console().print(standings_table(standings))


def print_told(what: str, became: str, *, json: bool, kind: str = "job") -> None:
    """What was done to one job or collection."""
    if json:
        print_json({kind: what, "status": became})
    else:
        print(what, became, sep="\t", flush=True)


def failure_lines(failures: tuple[Failure, ...]) -> str:
    """Failures in plain words, one a line."""
    return "\n".join(
        f"- {failure.reason} ({failure.error}, {failure.attempts} {'try' if failure.attempts == 1 else 'tries'})"
        for failure in failures
    )
