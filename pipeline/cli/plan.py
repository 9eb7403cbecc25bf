"""plan: a dry run. What files hold, how much work they are, and what would be refused and why."""

import math
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline import engines, tasks
from pipeline.cli import ALL_DONE, SOME_FAILED, show
from pipeline.cli.options import DataDir, Json, Paths, TaskName, load
from pipeline.cli.submitting import chosen_files
from pipeline.errors import PipelineError
from pipeline.job import Kind, MediaInfo, Options, SegmentLimits
from pipeline.settings import Settings

#: Share of a clip that packed speech fills on average; an estimate for planning only.
MEAN_CLIP_FILL = 0.85


def add_to(app: typer.Typer) -> None:
    app.command()(plan)


def plan(paths: Paths, task: TaskName = "transcribe", json: Json = False, data_dir: DataDir = None) -> None:
    """A dry run: files, seconds of media, segments (estimated), and what would be refused and why."""
    from pipeline.media.ffmpeg import Ffmpeg
    from pipeline.media.probe import probe

    settings = load(data_dir)
    ffmpeg = Ffmpeg.locate(settings)
    limits = engines.create(settings.engine).capabilities.limits
    chosen = tasks.named(task)
    rows: list[dict[str, Any]] = []
    for path, name in chosen_files(paths):
        try:
            info = probe(path, ffmpeg)
            counts = [_num_segments(kind, info, limits, settings) for kind in chosen.kinds(info, Options())]
            segments = None if None in counts else sum(count or 0 for count in counts)
            rows.append({"name": name, "seconds": info.duration, "segments": segments, "refused": None})
        except PipelineError as error:
            rows.append({"name": name, "seconds": None, "segments": None, "refused": error.reason})
    _print_plan(rows, json=json)
    raise typer.Exit(SOME_FAILED if any(row["refused"] for row in rows) else ALL_DONE)


def _num_segments(kind: Kind, info: MediaInfo, limits: SegmentLimits, settings: Settings) -> int | None:
    """About how many segments media is cut into; None when its length is not known."""
    if kind == "picture":
        return 1
    if kind == "text":
        return max(1, math.ceil((info.characters or 0) / limits.text_characters))
    if info.duration is None:
        return None
    images = min(limits.images, settings.video.frames_per_segment)
    seconds = limits.clip_seconds * MEAN_CLIP_FILL
    if kind != "sound":
        seconds = images / settings.video.frames_per_second
    return max(1, math.ceil(info.duration / (min(seconds, limits.clip_seconds) if kind == "scene" else seconds)))


def _print_plan(rows: list[dict[str, Any]], *, json: bool) -> None:
    total = {
        "files": len(rows),
        "refused": sum(row["refused"] is not None for row in rows),
        "seconds": round(sum(row["seconds"] or 0 for row in rows), 3),
        "segments": sum(row["segments"] or 0 for row in rows),
    }
    if json:
        for row in rows:
            show.print_json(row)
        show.print_json({"total": total})
        return
    table = Table("file", "length", "segments (about)", "refused because", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row["name"], show.clock(row["seconds"]), str(row["segments"] or ""), row["refused"] or "")
    console = Console()
    console.print(table)
    console.print(
        f"{total['files']} files, {total['refused']} refused; {show.clock(total['seconds'])} of media, "
        f"about {total['segments']} segments"
    )
