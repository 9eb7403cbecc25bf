"""Commands that look before the work: plan (a dry run) and doctor (is this machine fit?)."""

import math
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline import __version__, engines, tasks
from pipeline.cli import ALL_DONE, BROKEN_WORLD, SOME_FAILED, show
from pipeline.cli.connect import local_mode
from pipeline.cli.options import DataDir, Json, Paths, TaskName, load
from pipeline.cli.submitting import chosen_files
from pipeline.errors import PipelineError, ReelmillError
from pipeline.job import Kind, MediaInfo, Options, SegmentLimits
from pipeline.settings import Settings

#: Share of a clip that packed speech fills on average; an estimate for planning only.
MEAN_CLIP_FILL = 0.85


def add_to(app: typer.Typer) -> None:
    app.command()(plan)
    app.command()(doctor)


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


def doctor(json: Json = False, data_dir: DataDir = None) -> None:
    """Check everything the mill stands on, and say how to mend what is missing."""
    settings = load(data_dir)
    checks: dict[str, Callable[[Settings], str]] = {
        "ffmpeg": _ffmpeg,
        "engine": _engine,
        "services": _services,
    }
    rows = [{"check": "reelmill", "ok": True, "found": __version__}]
    for name, check in checks.items():
        try:
            rows.append({"check": name, "ok": True, "found": check(settings)})
        except ReelmillError as error:
            rows.append({"check": name, "ok": False, "found": str(error)})
    for row in rows:
        if json:
            show.print_json(row)
        else:
            print("ok  " if row["ok"] else "BAD ", f"{row['check']:<10}", row["found"])
    raise typer.Exit(ALL_DONE if all(row["ok"] for row in rows) else BROKEN_WORLD)


def _ffmpeg(settings: Settings) -> str:
    from pipeline.media.ffmpeg import Ffmpeg

    ffmpeg = Ffmpeg.locate(settings)
    facts = ffmpeg.self_test()
    return f"{ffmpeg.ffmpeg}; " + ", ".join(f"{name} {value}" for name, value in facts.items())


def _engine(settings: Settings) -> str:
    engine = engines.create(settings.engine)
    origin = engine.load()
    remarks = "".join(f"; {remark}" for remark in engine.remarks)
    engine.close()
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    return f"{origin.engine}, model {origin.model}, revision {origin.revision[:12]}, {versions}{remarks}"


def _services(settings: Settings) -> str:
    from pipeline.broker import Queues
    from pipeline.store import open_store

    if settings.s3.endpoint:
        open_store(settings.s3).self_test()
        waiting = len(Queues(settings).waiting())
        return f"object store {settings.s3.endpoint}, queue reached, {waiting} messages waiting"
    local = local_mode()
    reached = local.reach(settings)
    if reached is not None:
        return _services(reached)
    with local.LocalMill(settings, roles=()):
        return f"embedded Valkey and SeaweedFS start in {settings.data_dir.absolute()}"
