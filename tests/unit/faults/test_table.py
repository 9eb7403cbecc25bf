"""The table of the experiments: a complaint, or a control that does not fail, makes the run fail."""

import json
from pathlib import Path

from tests.faults.table import Row, is_good, json_line, load, markdown, save

KEPT = Row(number=7, name="FLUSHALL", submitted=40, done=40, redis_mb=2.1, rss_mb=97, recover_seconds=24, run="full")
CONTROL = Row(number=7, name="FLUSHALL, no steward", submitted=40, done=3, lost=37, must_find="lost")
LOST = Row(number=6, name="restart", submitted=40, done=39, lost=1, complaints=("1 lost: j1",))
SKIPPED = Row(number=17, name="disk full", skipped="needs root: sudo make faults")
DEAD_CONTROL = Row(number=7, name="FLUSHALL, no steward", must_find="lost", complaints=("found nothing",))


def test_what_controls_lose_is_no_loss() -> None:
    assert is_good([KEPT, CONTROL, SKIPPED])
    figures = json.loads(json_line([KEPT, CONTROL, SKIPPED]))["figures"]
    assert (figures["experiments"], figures["submitted"], figures["lost"]) == (1, 40, 0)
    assert (figures["controls"], figures["controls_that_failed_as_they_must"]) == (1, 1)


def test_a_loss_makes_the_run_fail() -> None:
    assert not is_good([KEPT, LOST])
    assert json.loads(json_line([KEPT, LOST]))["figures"]["lost"] == 1


def test_a_control_that_finds_nothing_makes_the_run_fail() -> None:
    assert not is_good([KEPT, DEAD_CONTROL])
    assert json.loads(json_line([DEAD_CONTROL]))["figures"]["controls_that_failed_as_they_must"] == 0


def test_the_table_tells_what_did_not_run_and_why() -> None:
    told = markdown([KEPT, CONTROL, SKIPPED, LOST])
    assert "| 7 FLUSHALL | 40 | 40 | 0 | 0 | 0 | 0 | 0.0 | 2.1 | 97 | 24 | full |" in told
    assert "- 17 disk full: needs root: sudo make faults" in told
    assert "- 6 restart: 1 lost: j1" in told


def test_rows_come_back_as_they_were_saved(tmp_path: Path) -> None:
    rows = [KEPT, CONTROL, SKIPPED, LOST]
    save(rows, tmp_path / "TABLE.jsonl")
    assert load(tmp_path / "TABLE.jsonl") == rows
    assert (tmp_path / "TABLE.md").read_text() == markdown(rows)
    assert load(tmp_path / "none.jsonl") == []
