"""What a person sees of a dry run."""

import os

import pytest

from pipeline.cli.plan_report import INTERVAL, SHOWN_GROUPS, Progress, print_row, print_totals
from pipeline.cli.show import print_json, printable
from pipeline.job import AudioStream, MediaInfo
from pipeline.planning.estimate import Work
from pipeline.planning.tally import Row, Totals
from pipeline.settings import Limits

TALK = MediaInfo(kind="sound", duration=3723.0, audio=AudioStream(index=0, codec="aac", sample_rate=44_100, channels=2))


def test_long_work_tells_how_far_it_is_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    totals = Totals()
    progress = Progress(totals, quiet=False, clock=lambda: now)
    for number in range(1000):
        now += INTERVAL / 320
        totals.add(Row(name=str(number), task="ask", refused="it is empty" if number % 2 else None))
        progress.tell()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "reelmill: 320 files looked at (64 a second), 160 refused",
        "reelmill: 640 files looked at (64 a second), 320 refused",
        "reelmill: 960 files looked at (64 a second), 480 refused",
    ]


def test_it_keeps_quiet_where_each_file_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    progress = Progress(Totals(), quiet=True, clock=lambda: now)
    now = 100.0
    progress.tell()
    assert capsys.readouterr().err == ""


def test_a_file_is_one_line_whatever_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    name = f"a\nb{os.fsdecode(bytes([255]))}[red].mp3"
    print_row(Row(name=name, task="ask", info=TALK, work=Work(147, 0, 27_636)))
    print_row(Row(name=name, task="ask", refused="it is empty"))
    assert capsys.readouterr().out == (
        "sound      1:02:03  a\ufffdb\ufffd[red].mp3  (about 147 segments, 27,636 tokens)\n"
        "refused             a\ufffdb\ufffd[red].mp3: it is empty\n"
    )
    print_json({"name": name})
    assert capsys.readouterr().out == '{"name": "a\\nb\\udcff[red].mp3"}\n'
    assert printable("plain") == "plain"


def test_of_many_reasons_the_commonest_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    totals = Totals()
    for number in range(SHOWN_GROUPS + 5):
        for _ in range(number + 1):
            reason = f"it says [{chr(97 + number)}]"
            totals.add(Row(name=f"[b]{number}", task="ask", refused=reason, setting="pixels"))
    print_totals(totals, Limits())
    out = capsys.readouterr().out
    assert "it says [o]" in out
    assert "it says [a]" not in out
    assert "[b]14" in out
    assert "and 5 more reasons" in out
    assert "REELMILL_LIMITS__PIXELS is 200,000,000" in out
