"""doctor: is this machine fit for the work?"""

from collections.abc import Callable
from typing import Any

import typer

from pipeline import __version__, engines
from pipeline.cli import ALL_DONE, BROKEN_WORLD, show
from pipeline.cli.connect import local_mode
from pipeline.cli.options import DataDir, Json, load
from pipeline.errors import ReelmillError, WorldError
from pipeline.settings import Settings


class _Doubtful(str):
    """What was found where the work can be done, but not as safely as it should be."""

    __slots__ = ()


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(json: Json = False, data_dir: DataDir = None) -> None:
    """Check everything the mill stands on, and say how to mend what is missing."""
    settings = load(data_dir)
    checks: dict[str, Callable[[Settings], str]] = {
        "sandbox": _sandbox,
        "ffmpeg": _ffmpeg,
        "engine": _engine,
        "services": _services,
    }
    rows: list[dict[str, Any]] = [{"check": "reelmill", "ok": True, "found": __version__}]
    for name, check in checks.items():
        try:
            found = check(settings)
            rows.append({"check": name, "ok": True, "warning": isinstance(found, _Doubtful), "found": str(found)})
        except ReelmillError as error:
            rows.append({"check": name, "ok": False, "found": str(error)})
    for row in rows:
        if json:
            show.print_json(row)
        else:
            mark = "BAD " if not row["ok"] else "WARN" if row.get("warning") else "ok  "
            print(mark, f"{row['check']:<10}", row["found"])
    raise typer.Exit(ALL_DONE if all(row["ok"] for row in rows) else BROKEN_WORLD)


def _sandbox(settings: Settings) -> str:
    from pipeline.media.sandbox import isolation

    if settings.sandbox.mode == "off":
        return _Doubtful("off, as set: media is decoded by programs that could reach everything this user can")
    try:
        sandbox = isolation.locate(settings.sandbox)
        isolation.prove(sandbox)
    except WorldError as error:
        if settings.sandbox.mode == "required" or settings.s3.endpoint:
            raise
        return _Doubtful(f"none, so that only your own media should be decoded here: {error}")
    return f"{sandbox.bwrap}; a program inside tried to get out and could not"


def _ffmpeg(settings: Settings) -> str:
    from pipeline.media import versions
    from pipeline.media.ffmpeg import Ffmpeg

    ffmpeg = Ffmpeg.locate(settings)
    facts = ffmpeg.self_test()
    is_sandboxed = ffmpeg.sandbox is not None
    remarks = [versions.remark(name, facts[name], is_sandboxed=is_sandboxed) for name in ("ffmpeg", "ffprobe")]
    told = f"{ffmpeg.ffmpeg}; " + ", ".join(f"{name} {value}" for name, value in facts.items())
    return "; ".join([told, *(remark for remark in remarks if remark)])


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
