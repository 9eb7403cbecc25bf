"""What a run teaches, and what a plan makes of it."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.forecast import remembered
from pipeline.job import AudioStream, MediaInfo
from pipeline.planning.estimate import NOTHING, UNKNOWN, Work
from pipeline.planning.experience import keep, learn, recall, remaining
from pipeline.planning.tally import Row, Totals
from pipeline.rates import Rates

TALK = Work(10, 0, 1880, seconds=300.0)
TALK_INFO = MediaInfo(audio=AudioStream(index=0, codec="pcm", sample_rate=16_000, channels=1))


def test_what_is_kept_is_recalled_by_engine(tmp_path: Path) -> None:
    assert recall(tmp_path, "echo:echo") == Rates(engine="echo:echo")
    learnt = learn(recall(tmp_path, "echo:echo"), TALK, seconds=100.0, engine_seconds=50.0)
    keep(tmp_path, learnt)
    keep(tmp_path, learn(learnt, TALK, seconds=100.0, engine_seconds=50.0))
    found = recall(tmp_path, "echo:echo").units["sound"]
    assert (found.count, found.per_second) == (2, pytest.approx(3.0))
    assert found.engine_seconds == pytest.approx(1 / 6)
    assert not recall(tmp_path, "other").units


def test_a_file_that_is_no_record_of_rates_is_told(tmp_path: Path) -> None:
    keep(tmp_path, Rates(engine="e"))
    (path,) = (tmp_path / "rates").iterdir()
    path.write_text("{}")
    with pytest.raises(UsageError, match="remove it"):
        recall(tmp_path, "e")


def test_a_run_of_several_kinds_of_media_is_divided_as_the_mill_charges_them() -> None:
    film = Work(8, 63, 0, seconds=500.0, pictures=3)  # 60 frames of 20 s, 3 pictures of 25 s, and its sound
    rates = learn(Rates(engine="e"), film, seconds=1775.0).units
    assert {unit: rate.per_second for unit, rate in rates.items()} == {
        "sound": pytest.approx(1.0),
        "pictures": pytest.approx(1 / 25),
        "frames": pytest.approx(1 / 20),
    }
    assert learn(Rates(engine="e"), NOTHING, seconds=10.0) == Rates(engine="e")


def totals(*works: Work) -> Totals:
    found = Totals()
    for number, one in enumerate(works):
        found.add(Row(name=str(number), task="transcribe", info=TALK_INFO, work=one))
    return found


def test_a_plan_is_told_by_what_was_learnt_and_nothing_is_told_where_nothing_was() -> None:
    rates = learn(Rates(engine="e"), TALK, seconds=100.0, engine_seconds=50.0)
    promise = remembered(rates, remaining(totals(TALK, TALK)), 3.6)
    assert promise is not None
    assert promise.low < 200.0 < promise.high
    assert promise.likely == pytest.approx(200.0)
    assert (promise.engine_seconds, promise.cost) == (pytest.approx(100.0), pytest.approx(0.1))
    assert remembered(rates, remaining(totals(TALK, Work(1, 1, 256, pictures=1)))) is None
    assert remembered(Rates(engine="e"), remaining(totals(TALK))) is None


def test_files_of_unknown_length_count_as_the_mean_of_the_others() -> None:
    rates = learn(Rates(engine="e"), TALK, seconds=100.0)
    promise = remembered(rates, remaining(totals(TALK, TALK, UNKNOWN)))
    assert promise is not None
    assert promise.likely == pytest.approx(300.0)
    assert remembered(rates, remaining(totals(UNKNOWN))) is None


def test_files_of_unknown_length_may_differ_as_much_as_the_others_do() -> None:
    rates = learn(Rates(engine="e"), TALK, seconds=100.0)
    short, long = (Work(1, 0, 188, seconds=seconds) for seconds in (10.0, 590.0))
    alike = remembered(rates, remaining(totals(TALK, TALK, UNKNOWN)))
    differing = remembered(rates, remaining(totals(short, long, UNKNOWN)))
    assert alike is not None
    assert differing is not None
    assert differing.likely == pytest.approx(alike.likely)
    assert differing.high > 1.5 * alike.high
