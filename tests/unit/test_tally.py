"""The sums of a dry run."""

from pipeline.job import AudioStream, MediaInfo, VideoStream
from pipeline.planning.estimate import UNKNOWN, Work
from pipeline.planning.tally import EXAMPLES, MOST_GROUPS, Row, Totals, group

SOUND = AudioStream(index=0, codec="aac", sample_rate=44_100, channels=2)
TALK = MediaInfo(kind="sound", duration=60.0, audio=SOUND)
FILM = MediaInfo(
    kind="video", duration=100.0, audio=SOUND, video=VideoStream(index=0, codec="h264", width=64, height=48)
)
TEXT = MediaInfo(kind="text", characters=10)


def refused(name: str, reason: str, setting: str | None = None, info: MediaInfo | None = None) -> Row:
    return Row(name=name, task="ask", refused=reason, setting=setting, info=info)


def test_sums_go_by_kind_and_by_task() -> None:
    totals = Totals()
    for row in (
        Row(name="a", task="transcribe", info=TALK, work=Work(3, 0, 564)),
        Row(name="b", task="transcribe", info=FILM, work=Work(4, 0, 752)),
        Row(name="c", task="caption", info=FILM, work=Work(13, 100, 25_600)),
        Row(name="d", task="caption", info=FILM.model_copy(update={"duration": None}), work=UNKNOWN),
        refused("e", "there is nothing to transcribe: the file has no sound", info=TEXT),
    ):
        totals.add(row)
    document = totals.document({})
    assert document["kinds"] == {"sound": 1, "text": 1, "video": 3}, "what is refused is there, too"
    assert (document["files"], document["refused"], document["of_unknown_length"]) == (5, 1, 1)
    assert (document["seconds"], document["sound_seconds"], document["video_seconds"]) == (260, 260, 200)
    assert (document["segments"], document["frames"], document["tokens"]) == (20, 100, 26_916)
    assert document["tasks"]["caption"] == {"segments": 13, "frames": 100, "tokens": 25_600}


def test_refusals_for_one_reason_are_one_group_whatever_the_figures() -> None:
    totals = Totals()
    for number in range(1, 8):
        reason = f"the file is beyond a limit: pixels {number},000,000, allowed 500,000 (REELMILL_LIMITS__PIXELS)"
        totals.add(refused(f"{number}.png", reason, "pixels"))
    totals.add(refused("x", "the file is empty"))
    assert [name for name, _ in totals.worst] == [
        "the file is beyond a limit: pixels N, allowed N (REELMILL_LIMITS__PIXELS)",
        "the file is empty",
    ]
    worst = totals.document({"pixels": 500_000, "pages": 9})["refusals"][0]
    assert (worst["files"], worst["setting"]) == (7, "REELMILL_LIMITS__PIXELS")
    assert [example["name"] for example in worst["examples"]] == ["1.png", "2.png", "3.png"][:EXAMPLES]
    assert "pixels 1,000,000" in worst["examples"][0]["reason"], "the examples keep their figures"


def test_only_the_limits_that_refused_something_are_told() -> None:
    totals = Totals()
    totals.add(refused("a", "too many pages", "pages"))
    assert totals.document({"pixels": 500_000, "pages": 9})["limits"] == {"REELMILL_LIMITS__PAGES": 9}


def test_reasons_without_end_do_not_fill_the_memory() -> None:
    totals = Totals()
    words = [f"{chr(97 + number // 26 % 26)}{chr(97 + number % 26)}{'z' * (number // 676)}" for number in range(1000)]
    for word in words:
        totals.add(refused(word, f"it says {word}"))
    assert len(totals.refusals) <= MOST_GROUPS + 1
    assert sum(found.count for found in totals.refusals.values()) == 1000


def test_a_group_leaves_out_figures_of_every_form() -> None:
    assert group("duration 90,000 s, allowed 86,400 s") == group("duration 1.5 s, allowed 7 s")
    assert group("the bytes from number 5 on") != group("the bits from number 5 on")
