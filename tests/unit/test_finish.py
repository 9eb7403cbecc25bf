"""The result as a function of what the bucket holds."""

from dataclasses import replace

import pytest

from pipeline import keys
from pipeline.job import (
    Answer,
    AudioStream,
    Failure,
    Kind,
    MediaInfo,
    PictureInfo,
    Plan,
    Result,
    Segment,
    Span,
    TextSegment,
    VideoStream,
    Window,
    Windows,
    Work,
)
from pipeline.ledger import MemoryLedger
from pipeline.settings import Limits
from pipeline.stages import Ports
from pipeline.stages.assembling import assemble
from pipeline.stages.attempt import attempt
from pipeline.stages.completion import Survey
from pipeline.stages.finish import finish
from tests.doubles import ORIGIN, MemoryStore, a_job

INFO = MediaInfo(
    demuxer="wav", duration=60.0, audio=AudioStream(index=0, codec="pcm_s16le", sample_rate=16_000, channels=1)
)
BROKEN = Failure(error="quarantined", reason="its worker died", attempts=3)


def windows(*ends: float | None) -> Windows:
    starts = [0.0, *(end for end in ends[:-1] if end is not None)]
    return Windows(
        media=INFO,
        windows=tuple(
            Window(index=number, start=start, end=end)
            for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        ),
    )


def plan(window: int, start: float, end: float, *bounds: tuple[float, float], **more: object) -> Plan:
    return Plan(
        window=window,
        start=start,
        end=end,
        segments=tuple(
            Segment(window=window, index=index, start=start, end=end) for index, (start, end) in enumerate(bounds)
        ),
        **more,  # type: ignore[arg-type]
    )


def answer(*words: tuple[float, float, str], **more: object) -> Answer:
    spans = tuple(Span(start=start, end=end, text=text) for start, end, text in words)
    return Answer(spans=spans, origin=ORIGIN, **more)  # type: ignore[arg-type]


def survey(prepared: Windows | Failure, *plans: Plan | Failure, **more: object) -> Survey:
    return Survey(job=a_job().id, prepared=prepared, planned=dict(enumerate(plans)), **more)  # type: ignore[arg-type]


def test_times_of_a_segment_are_put_on_the_timeline_of_the_media() -> None:
    seen = survey(windows(None), plan(0, 0, 40, (1.5, 20.0), (25.0, 40.0)))
    result = assemble(a_job(), seen, {(0, 0): answer((0.0, 2.0, "One.")), (0, 1): answer((1.0, 3.5, "Two."))})
    assert result.segments == (
        TextSegment(start=1.5, end=3.5, text="One."),
        TextSegment(start=26.0, end=28.5, text="Two."),
    )
    assert (result.status, result.text, result.error) == ("done", "One. Two.", None)
    assert result.media.duration == 40


def test_a_segment_about_which_the_model_says_nothing_is_marked() -> None:
    frames = Segment(window=0, index=1, kind="frames", start=20.0, end=40.0)
    spoken = plan(0, 0, 20, (0.0, 20.0))
    seen = survey(windows(None), spoken.model_copy(update={"segments": (*spoken.segments, frames)}))
    result = assemble(a_job(), seen, {(0, 0): answer(), (0, 1): answer()})
    assert [(one.kind, one.flags) for one in result.segments] == [("sound", ("no_speech",)), ("frames", ("empty",))]


def test_a_failed_segment_makes_the_job_partial_and_stands_in_its_place() -> None:
    seen = survey(windows(None), plan(0, 0, 60, (0.0, 20.0), (20.0, 40.0), (40.0, 60.0)))
    answers = {(0, 0): answer((0, 1, "a")), (0, 1): BROKEN, (0, 2): answer((0, 1, "c"))}
    result = assemble(a_job(), seen, answers)
    assert result.status == "partial"
    assert [segment.text for segment in result.segments] == ["a", "", "c"]
    assert result.segments[1] == TextSegment(
        start=20.0, end=40.0, text="", flags=("missing",), reason="its worker died"
    )
    assert result.failures == (BROKEN,)
    assert result.provenance.attempts == 3


def test_a_failed_window_is_a_gap_of_its_whole_length() -> None:
    seen = survey(windows(30.0, None), Failure(error="permanent", reason="cannot decode"), plan(1, 30, 60, (31, 40)))
    result = assemble(a_job(), seen, {(1, 0): answer((0, 1, "b"))})
    assert result.status == "partial"
    assert (result.segments[0].start, result.segments[0].end) == (0.0, 30.0)


def test_a_failed_last_window_reaches_to_the_promised_end() -> None:
    seen = survey(windows(30.0, None), plan(0, 0, 30, (1, 20)), Failure(error="permanent", reason="cannot decode"))
    result = assemble(a_job(), seen, {(0, 0): answer((0, 1, "a"))})
    assert (result.segments[-1].start, result.segments[-1].end) == (30.0, 60.0)


def test_a_cut_off_file_is_failed_but_keeps_the_text_of_what_could_be_read() -> None:
    missing = Failure(error="permanent", reason="the file is cut off")
    seen = survey(windows(None), plan(0, 0, 20, (0, 20), missing=missing, missing_until=60.0))
    result = assemble(a_job(), seen, {(0, 0): answer((0, 1, "a"))})
    assert (result.status, result.text, result.error) == ("failed", "a", "the file is cut off")
    assert (result.segments[-1].start, result.segments[-1].end) == (20.0, 60.0)


FILM = MediaInfo(kind="video", duration=3.0, video=VideoStream(index=0, codec="h264", width=64, height=48, promised=90))


def of_film(seen: Survey, *kinds: Kind) -> Survey:
    assert isinstance(seen.prepared, Windows)
    return replace(seen, prepared=seen.prepared.model_copy(update={"media": FILM, "kinds": kinds}))


def pictured(window: int, *bounds: tuple[float, float], kind: Kind = "frames") -> tuple[Segment, ...]:
    return tuple(
        Segment(window=window, index=index, kind=kind, start=start, end=end)
        for index, (start, end) in enumerate(bounds)
    )


def test_a_failed_window_is_a_gap_in_what_is_seen_and_parts_what_is_the_same() -> None:
    plans = (
        plan(0, 0, 30).model_copy(update={"segments": pictured(0, (0, 30))}),
        Failure(error="permanent", reason="cannot decode"),
        plan(2, 60, 70).model_copy(update={"segments": pictured(2, (60, 70))}),
        Failure(error="permanent", reason="cannot decode"),
    )
    seen = of_film(survey(windows(30.0, 60.0, 70.0, None), *plans), "frames", "sound")
    result = assemble(a_job(), seen, {(0, 0): answer((0, 0, "a dog")), (2, 0): answer((0, 0, "a dog"))})
    found = [(one.start, one.end, one.kind, one.text) for one in result.segments if "no_speech" not in one.flags]
    assert found == [
        (0, 30, "frames", "a dog"),
        (30, 60, "frames", ""),
        (60, 70, "frames", "a dog"),
        (70, 90, "frames", ""),
    ]


@pytest.mark.parametrize(("shown_until", "kind"), [(20.0, "frames"), (60.0, "sound")])
def test_what_could_not_be_read_is_missing_where_it_belongs(shown_until: float, kind: Kind) -> None:
    missing = Failure(error="permanent", reason="the file is cut off")
    planned = plan(0, 0, 20, missing=missing, missing_until=60.0)
    segments = (*pictured(0, (0, shown_until)), Segment(window=0, index=1, start=2, end=18))
    seen = of_film(survey(windows(None), planned.model_copy(update={"segments": segments})), "frames", "sound")
    result = assemble(a_job(), seen, {(0, 0): answer((0, 0, "a dog")), (0, 1): answer((0, 1, "Hi."))})
    assert [(one.start, one.end, one.kind) for one in result.segments if "missing" in one.flags] == [(20, 60, kind)]


def test_a_video_that_stands_still_over_windows_is_captioned_all_the_while() -> None:
    plans = (
        plan(0, 0, 30).model_copy(update={"segments": pictured(0, (0, 30))}),
        plan(1, 30, 60),
        plan(2, 60, 90).model_copy(update={"segments": pictured(2, (80, 90))}),
    )
    seen = of_film(survey(windows(30.0, 60.0, None), *plans), "frames")
    result = assemble(a_job(), seen, {(0, 0): answer((0, 0, "a dog")), (2, 0): answer((0, 0, "a cat"))})
    assert [(one.start, one.end, one.text) for one in result.segments] == [(0, 80, "a dog"), (80, 90, "a cat")]
    cancelled = assemble(a_job(), replace(seen, cancelled=True), {(2, 0): answer((0, 0, "a cat"))})
    assert [(one.start, one.end, one.text) for one in cancelled.segments] == [(80, 90, "a cat")]


def test_pages_that_could_not_be_read_are_missing_where_they_are() -> None:
    pages = MediaInfo(kind="picture", picture=PictureInfo(format="tiff", width=1, height=1, pages=4))
    missing = Failure(error="permanent", reason="the picture is broken")
    segments = pictured(0, (0, 0), (2, 2), kind="picture")
    seen = survey(windows(None), plan(0, 0, 3, missing=missing).model_copy(update={"segments": segments}))
    assert isinstance(seen.prepared, Windows)
    seen = replace(seen, prepared=seen.prepared.model_copy(update={"media": pages, "kinds": ("picture",)}))
    result = assemble(a_job(), seen, {(0, 0): answer((0, 0, "one")), (0, 1): answer((0, 0, "three"))})
    assert (result.status, result.error) == ("failed", "the picture is broken")
    assert [(one.start, one.end, one.kind, one.text) for one in result.segments] == [
        (0, 0, "picture", "one"),
        (1, 1, "picture", ""),
        (2, 2, "picture", "three"),
        (3, 3, "picture", ""),
    ]


def test_a_job_of_which_everything_failed_is_failed() -> None:
    seen = survey(windows(None), plan(0, 0, 20, (0, 20)))
    assert assemble(a_job(), seen, {(0, 0): BROKEN}).status == "failed"


def test_media_that_cannot_be_prepared_is_failed_with_the_reason() -> None:
    result = assemble(a_job(), survey(Failure(error="permanent", reason="the file is empty")), {})
    assert (result.status, result.error, result.segments) == ("failed", "the file is empty", ())


def test_silence_is_marked_and_gives_no_text() -> None:
    seen = survey(windows(None), plan(0, 0, 20, (0, 20)))
    result = assemble(a_job(), seen, {(0, 0): answer(flags=("no_speech",))})
    assert (result.status, result.text) == ("done", "")
    assert result.segments == (TextSegment(start=0, end=20, text="", flags=("no_speech",)),)


def test_where_no_clip_of_speech_was_found_is_marked_too() -> None:
    silent = plan(1, 60, 90, flags=("quiet",))
    seen = survey(windows(60.0, None), plan(0, 0, 60, (10, 20), (27.9, 40), (40, 52)), silent)
    answers = {(0, index): answer((0, 1, word)) for index, word in enumerate("abc")}
    result = assemble(a_job(), seen, answers)
    assert [(one.start, one.end, one.text, one.flags) for one in result.segments] == [
        (0, 10, "", ("no_speech",)),
        (10, 11, "a", ()),
        (27.9, 28.9, "b", ()),
        (40, 41, "c", ()),
        (52, 60, "", ("no_speech",)),
        (60, 90, "", ("no_speech", "quiet")),
    ]
    assert (result.status, result.text) == ("done", "a b c")


def test_a_silent_file_is_marked_from_its_start_to_its_end_however_short() -> None:
    result = assemble(a_job(), survey(windows(None), plan(0, 0, 0.5)), {})
    assert (result.status, result.segments) == (
        "done",
        (TextSegment(start=0, end=0.5, text="", flags=("no_speech",)),),
    )
    assert assemble(a_job(), survey(windows(None), plan(0, 0, 0)), {}).segments == ()


def test_silence_around_a_failure_does_not_make_it_half_a_success() -> None:
    seen = survey(windows(None), plan(0, 0, 60, (20, 40)))
    assert assemble(a_job(), seen, {(0, 0): BROKEN}).status == "failed"


def test_where_only_frames_were_looked_at_no_silence_is_told() -> None:
    seen = survey(windows(None).model_copy(update={"kinds": ("frames",)}), plan(0, 0, 60))
    assert assemble(a_job(), seen, {}).segments == ()


def test_what_is_wrong_with_the_sound_is_said_of_sound_and_once() -> None:
    frames = Segment(window=0, index=1, kind="frames", start=0.0, end=8.0)
    spoken = plan(0, 0, 8, (0.0, 8.0), flags=("decode_errors", "quiet"))
    seen = survey(windows(None), spoken.model_copy(update={"segments": (*spoken.segments, frames)}))
    result = assemble(a_job(), seen, {(0, 0): answer((0, 1, "a"), flags=("quiet",)), (0, 1): answer((0, 1, "b"))})
    assert {one.kind: one.flags for one in result.segments} == {
        "sound": ("decode_errors", "quiet"),
        "frames": ("decode_errors",),
    }


def test_a_cancelled_job_keeps_what_it_has() -> None:
    seen = survey(windows(None), plan(0, 0, 40, (0, 20), (20, 40)), cancelled=True)
    result = assemble(a_job(), seen, {(0, 0): answer((0, 1, "a"))})
    assert (result.status, result.text) == ("cancelled", "a")


def test_times_never_leave_their_segment() -> None:
    seen = survey(windows(None), plan(0, 0, 20, (0.0, 20.0)))
    result = assemble(a_job(), seen, {(0, 0): answer((19.0, 29.0, "late"))})
    assert (result.segments[0].start, result.segments[0].end) == (19.0, 20.0)


def test_more_text_than_one_result_may_hold_ends_the_job_with_the_setting_named() -> None:
    store, job = MemoryStore(), a_job()
    ports = Ports(store=store, ledger=MemoryLedger(), send=lambda work: None, limits=Limits(result_bytes=10))
    found = windows(None)
    planned = plan(0, 0, 40, (0.0, 20.0))
    for key, record in (
        (keys.open_job(job.id), job),
        (keys.windows(job.id), found),
        (keys.plan(job.id, 0), planned),
        (keys.answers(job.id, 0, 0), answer((0.0, 2.0, "One."))),
    ):
        store.create(key, record.to_bytes())
    work = Work(stage="finish", job=job.id)
    attempt(work, ports, lambda tries: finish(work, ports))
    result = Result.from_bytes(store.get(keys.result(job.id)))
    assert result.status == "failed"
    assert "answers of a job" in (result.error or "")
    assert (result.error or "").endswith("allowed 10 bytes (REELMILL_LIMITS__RESULT_BYTES)")


def test_channels_are_merged_on_one_timeline_with_the_channel_as_speaker() -> None:
    places = ((1, 0.0, 20.0), (2, 3.0, 23.0))
    segments = tuple(
        Segment(window=0, index=index, start=start, end=end, channel=channel)
        for index, (channel, start, end) in enumerate(places)
    )
    seen = survey(windows(None), plan(0, 0, 30).model_copy(update={"segments": segments}))
    answers = {
        (0, 0): answer((0.0, 2.0, "Hello."), (2.0, 2.5, "Who is it?"), (9.0, 12.0, "Fine.")),
        (0, 1): answer((0.5, 4.0, "It is me.")),
    }
    result = assemble(a_job(), seen, answers)
    assert [(segment.start, segment.speaker, segment.text) for segment in result.segments] == [
        (0.0, "channel 1", "Hello."),
        (2.0, "channel 1", "Who is it?"),
        (3.5, "channel 2", "It is me."),
        (9.0, "channel 1", "Fine."),
    ]
    assert result.text == "channel 1: Hello. Who is it?\nchannel 2: It is me.\nchannel 1: Fine."


def test_what_fails_in_one_channel_is_missing_there_alone() -> None:
    segments = tuple(Segment(window=0, index=number, start=0, end=20, channel=number + 1) for number in range(2))
    seen = survey(windows(None), plan(0, 0, 20).model_copy(update={"segments": segments}))
    result = assemble(a_job(), seen, {(0, 0): BROKEN, (0, 1): answer()})
    assert [(segment.speaker, segment.flags) for segment in result.segments] == [
        ("channel 1", ("missing",)),
        ("channel 2", ("no_speech",)),
    ]
