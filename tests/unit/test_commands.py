"""What commands say, and how they end."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rich.console import Console

from pipeline import cli
from pipeline.cli import INTERRUPTED, Stopped, jobs
from pipeline.cli.run import _summary
from pipeline.cli.saving import check_formats
from pipeline.cli.show_collections import print_accepted, print_outcome
from pipeline.collecting.record import Line
from pipeline.errors import UsageError
from pipeline.job import Media
from pipeline.operating.outcomes import Outcome
from pipeline.settings import Settings
from pipeline.submitting.intake import Accepted
from tests.unit.test_collections import ARCHIVE


def told_at_the_end(raised: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    def command(**_: Any) -> None:
        raise raised

    monkeypatch.setattr(cli, "build", lambda: command)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == INTERRUPTED
    return capsys.readouterr().err


def test_ctrl_c_says_what_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for raised in (KeyboardInterrupt(), typer.Abort(), SystemExit(INTERRUPTED)):
        assert "the same command goes on where it was" in told_at_the_end(raised, monkeypatch, capsys)
    said = told_at_the_end(Stopped("stopped; add --collection c1"), monkeypatch, capsys)
    assert said == "reelmill: stopped; add --collection c1\n"


def test_what_a_submitter_calls_a_line_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    line = Line(media=Media(name="a.wav", key="k"), custom_id="one\ttwo\n\x1b[31mthree")
    print_outcome(Outcome(line, "j1", "waiting"), {}, json=False)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert said.count("\t") == 3
    assert "\x1b" not in said


def test_what_of_a_submission_did_not_count_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    accepted = Accepted(ARCHIVE, 5, 0, 5, 0, 0, not_anew=5, same_ids=2, keeps_deadline=True)
    print_accepted(accepted, json=False)
    said = capsys.readouterr().err
    for told in ("5 are in it with --force already", "2 have a custom_id", "its deadline stays none"):
        assert told in said


def test_a_format_that_there_is_not_is_wrong_usage() -> None:
    check_formats(("txt", "json"))
    with pytest.raises(UsageError, match="there is no format docx"):
        jobs.results(format=["docx"])


def test_collections_and_jobs_are_waited_for_until_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float | None] = []

    @contextmanager
    def reached(settings: Settings) -> Iterator[Any]:
        del settings
        yield SimpleNamespace(ports=None, producer=None)

    def waits(*_: Any, deadline: float | None, **__: Any) -> list[str]:
        given.append(deadline)
        return []

    monkeypatch.setattr(jobs, "mill", reached)
    monkeypatch.setattr(jobs, "named", lambda mill, names: (["c1"], []))
    monkeypatch.setattr(jobs, "wait_for", waits)
    monkeypatch.setattr(jobs, "wait_for_collections", waits)
    with pytest.raises(typer.Exit):
        jobs.wait(["c1"], timeout=3.0)
    assert len(given) == 2
    assert given[0] == given[1] is not None


@pytest.mark.parametrize(
    ("status", "seconds", "told"),
    [
        ("done", 8.0, "1 done. 0:00:08 of media in 4.0 s: real-time factor 0.500"),
        ("done", None, "1 done, in 4.0 s."),
        ("failed", None, "1 failed. No media could be read."),
    ],
)
def test_a_run_ends_with_what_came_of_it(status: str, seconds: float | None, told: str) -> None:
    console = Console(file=StringIO(), width=200)
    result: Any = SimpleNamespace(job="j1", status=status, media=SimpleNamespace(duration=seconds))
    _summary([result], 4.0, Path("out"), Settings(), console, in_process=True)
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue().splitlines()[0] == told
