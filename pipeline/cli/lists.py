"""Commands that list what exists: tasks and engines."""

from importlib import import_module

import typer

from pipeline import engines, tasks
from pipeline.cli import show
from pipeline.cli.options import Json


def add_to(app: typer.Typer) -> None:
    app.command("tasks")(list_tasks)
    app.command("engines")(list_engines)


def list_tasks(json: Json = False) -> None:
    """What can be done with media (--task)."""
    _print({name: tasks.named(name).line for name in tasks.names()}, json=json)


def list_engines(json: Json = False) -> None:
    """What turns segments into text (REELMILL_ENGINE__NAME)."""
    _print({name: _first_line(name) for name in engines.names()}, json=json)


def _first_line(engine: str) -> str:
    """The first line of an engine's own description, without its name in front."""
    description = import_module(f"pipeline.engines.{engine}").__doc__ or ""
    return description.splitlines()[0].split(": ", 1)[-1]


def _print(lines: dict[str, str], *, json: bool) -> None:
    for name, line in lines.items():
        if json:
            show.print_json({"name": name, "line": line})
        else:
            print(f"{name:<12}{line}")
