"""What a command line and a manifest ask for together, and what makes an engine the one that was asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.asked import Gathering
from pipeline.cli.options import order_of
from pipeline.job import Options
from pipeline.planning.look import Asked
from pipeline.settings import Engine, Settings, asked_engine


def gathered(folder: Path, *lines: dict[str, Any], **order: Any) -> list[Asked]:
    (folder / "a.txt").write_text("words")
    manifest = folder / "list.jsonl"
    manifest.write_text("".join(json.dumps({"path": "a.txt"} | line) + "\n" for line in lines))
    settings = Settings(engine=Engine(name="gemma3n", model="tiny"))
    return list(Gathering(settings, order_of(**order)).listed(manifest))


def test_the_size_of_the_model_is_for_lines_with_a_task_of_their_own_too(tmp_path: Path) -> None:
    lines: tuple[dict[str, Any], ...] = ({}, {"task": "summarize"}, {"task": "summarize", "variant": "half"})
    first, second, third = gathered(tmp_path, *lines, task="translate", to="de", variant="e2b")
    assert (first.task, first.options) == ("translate", Options(to="de", variant="e2b"))
    assert (second.task, second.options) == ("summarize", Options(variant="e2b"))
    assert (third.task, third.options) == ("summarize", Options(variant="half"))


def test_frames_of_a_line_are_checked(tmp_path: Path) -> None:
    wrong, right = gathered(tmp_path, {"frames": "bogus"}, {"frames": "fps=2"}, task="caption")
    assert wrong.refused is not None
    assert "does not say which frames" in wrong.refused
    assert right.refused is None


def test_the_same_model_name_on_another_server_is_another_engine() -> None:
    def asked(url: str, **more: Any) -> str:
        return asked_engine(Engine(name="openai", model="m", url=url, **more))

    here = asked("http://a:8000/v1")
    assert here != asked("http://b:8000/v1")
    assert here != asked("http://a:8000/v2")
    for same in ("http://a:8000/v1/", "http://A:8000/v1", "http://me:secret@a:8000/v1", "http://a:8000/v1?key=secret"):
        assert asked(same) == here
    assert asked("http://a:8000/v1", api_key="secret") == here
    assert here.startswith("openai:m:")


@pytest.mark.parametrize(
    ("engine", "asked"),
    [
        (Engine(name="whisper", model="small"), "whisper:small"),
        (Engine(name="gemma3n", model="m", revision="r", adapter="lora"), "gemma3n:m@r:lora"),
        (Engine(name="whisper", model="small", url="http://a/v1"), "whisper:small"),
    ],
)
def test_engines_without_a_server_are_called_as_ever(engine: Engine, asked: str) -> None:
    assert asked_engine(engine) == asked
