"""What is seen and what is said on one timeline."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.job import Kind, MediaInfo, Result, TextSegment, VideoStream
from pipeline.stages.captions import merged, timeline


def seen(start: float, end: float, text: str, *flags: str, kind: Kind = "frames") -> TextSegment:
    return TextSegment(start=start, end=end, text=text, kind=kind, flags=flags)


def spoken(start: float, end: float, text: str) -> TextSegment:
    return TextSegment(start=start, end=end, text=text)


def gap(start: float, end: float, kind: Kind = "frames") -> TextSegment:
    return TextSegment(start=start, end=end, text="", kind=kind, flags=("missing",), reason="it is broken")


def test_captions_that_say_the_same_are_one_with_the_whole_stretch() -> None:
    captions = [seen(0, 8, "A red circle."), seen(8, 16, "a  RED circle"), seen(16, 20, "A red circle!")]
    assert list(merged(captions, 1)) == [seen(0, 20, "A red circle.")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a red circle", "a red square"),
        ("two dogs", "ten dogs"),
        ("a circle above a square", "a square above a circle"),
        ("a dog", "dogs"),
        ("it costs 1.5", "it costs 15"),
        ("minus -5", "minus 5"),
        (".5", "5"),
        ("3:2", "32"),
        ("5%", "5"),
        ("5 - 3", "5 3"),
        ('{"n": 1}', '{"n": [1]}'),
        ('{"n": "1"}', '{"n": 1}'),
        ("a red circle", "a red circle, a red circle"),
    ],
)
def test_captions_that_differ_in_meaning_stay_two(one: str, other: str) -> None:
    captions = [seen(0, 8, one), seen(8, 16, other)]
    assert list(merged(captions, 1)) == captions


def test_a_caption_that_comes_again_after_another_is_a_new_one() -> None:
    captions = [seen(0, 8, "a dog"), seen(8, 16, "a cat"), seen(16, 24, "a dog")]
    assert list(merged(captions, 1)) == captions


def test_a_hole_between_captions_keeps_them_apart_unless_it_is_the_first_frame_of_a_window() -> None:
    captions = [seen(0, 8, "a dog"), seen(9.5, 16, "a dog")]
    assert list(merged(captions, 1)) == captions
    assert list(merged(captions, 2)) == [seen(0, 16, "a dog")]


def test_what_is_missing_is_never_merged() -> None:
    captions = [gap(0, 8), gap(8, 16), seen(16, 24, "a dog"), gap(24, 32), seen(32, 40, "a dog")]
    assert list(merged(captions, 1)) == captions
    half_read = [seen(0, 8, "a dog"), seen(8, 16, "a dog", "missing"), seen(16, 24, "a dog")]
    assert list(merged(half_read, 1)) == half_read, "whatever words it may have"


def still(start: float, end: float) -> TextSegment:
    return seen(start, end, "", "still")


def test_a_caption_lasts_while_what_it_tells_of_stands_still() -> None:
    captions = [seen(0, 30, "a dog"), still(30, 60), still(60, 80), seen(80, 90, "A dog."), still(90, 100)]
    assert list(merged(captions, 1)) == [seen(0, 100, "a dog")]
    others = [still(0, 2), seen(2, 30, "a dog"), still(30, 80), seen(80, 90, "a cat")]
    assert list(merged(others, 1)) == [seen(2, 80, "a dog"), seen(80, 90, "a cat")]


def test_what_stands_still_behind_a_hole_is_nothing_that_is_known() -> None:
    for hole in ([gap(30, 60)], []):
        assert list(merged([seen(0, 30, "a dog"), *hole, still(60, 80)], 1)) == [seen(0, 30, "a dog"), *hole]


def test_captions_without_words_are_not_merged() -> None:
    captions = [seen(0, 8, "", "no_speech"), seen(8, 16, "", "no_speech")]
    assert list(merged(captions, 1)) == captions


def test_flags_are_united() -> None:
    captions = [seen(0, 8, "a dog", "decode_errors"), seen(8, 16, "a dog", "suspect", "decode_errors")]
    assert list(merged(captions, 1)) == [seen(0, 16, "a dog", "decode_errors", "suspect")]


def test_words_stand_between_the_captions_in_order_of_time_and_part_none() -> None:
    window = [
        seen(0, 8, "a dog"),
        seen(8, 16, "a dog"),
        seen(16, 20, "a cat"),
        spoken(1, 2, "Hi."),
        spoken(17, 18, "Oh."),
    ]
    following = [seen(20, 28, "A cat."), spoken(20.5, 22, "Bye."), spoken(26, 27, "Bye.")]
    assert timeline([*window, *following], 1) == (
        seen(0, 16, "a dog"),
        spoken(1, 2, "Hi."),
        seen(16, 28, "a cat"),
        spoken(17, 18, "Oh."),
        spoken(20.5, 22, "Bye."),
        spoken(26, 27, "Bye."),
    )


def test_words_pages_and_texts_are_never_merged() -> None:
    for kind in ("sound", "picture", "text"):
        segments = tuple(seen(number, number + 1, "the same", kind=kind) for number in range(3))
        assert timeline(segments, 1) == segments


def test_words_keep_the_order_that_the_engine_gave_them() -> None:
    said = (spoken(2, 3, "First."), spoken(1, 2, "Second."))
    assert timeline(said, 1) == said


words = st.sampled_from(["a dog", "A dog.", "a cat", "", "12", "1.2"])
captions = st.lists(
    st.tuples(words, st.integers(1, 20), st.sampled_from([(), ("suspect",), ("missing",)])), max_size=20
)


@given(captions)
def test_every_moment_keeps_its_words_and_its_flags(parts: list[tuple[str, int, tuple[str, ...]]]) -> None:
    segments, at = [], 0
    for text, length, flags in parts:
        segments.append(seen(at, at + length, text, *flags))
        at += length
    found = list(merged(segments, 1))
    for segment in segments:
        (over,) = [one for one in found if one.start <= segment.start < one.end]
        assert over.end >= segment.end
        assert set(segment.flags) <= set(over.flags)
        assert over.text.casefold().strip(".") == segment.text.casefold().strip(".")
    assert list(merged(found, 1)) == found


FILM = MediaInfo(kind="video", video=VideoStream(index=0, codec="h264", width=64, height=48))


def document(result_of, name: str, *segments: TextSegment) -> str:
    from pipeline import formats

    result: Result = result_of(*segments)
    media = result.media.model_copy(update={"info": FILM})
    return formats.render(name, result.model_copy(update={"media": media})).decode()


LONG = (seen(0, 600, "A red circle."), spoken(3, 4.5, "Hello."), seen(600, 700.5, "A blue square."))


def test_what_is_seen_for_long_is_shown_for_as_long(result_of) -> None:
    assert document(result_of, "srt", *LONG) == (
        "1\n00:00:00,000 --> 00:10:00,000\n[A red circle.]\n\n"
        "2\n00:00:03,000 --> 00:00:04,500\nHello.\n\n"
        "3\n00:10:00,000 --> 00:11:40,500\n[A blue square.]\n"
    )
    assert "00:10:00.000 --> 00:11:40.500\n[A blue square.]\n" in document(result_of, "vtt", *LONG)


def test_a_long_caption_is_shown_on_two_lines_at_a_time_over_its_whole_stretch(result_of) -> None:
    import srt

    shown = list(srt.parse(document(result_of, "srt", seen(0, 60, "a small red circle above a blue square, " * 6))))
    assert (shown[0].start.total_seconds(), shown[-1].end.total_seconds()) == (0, 60)
    assert all(one.end == other.start for one, other in pairwise(shown))
    assert all(len(cue.content.splitlines()) <= 2 for cue in shown)


def test_a_reader_sees_when_each_thing_is_seen_and_said(result_of) -> None:
    assert document(result_of, "txt", *LONG) == (
        "[00:00:00 - 00:10:00] [A red circle.]\n\n[00:00:03] Hello.\n\n[00:10:00 - 00:11:41] [A blue square.]\n"
    )
    assert document(result_of, "txt", LONG[0], gap(600, 610)) == (
        "[00:00:00 - 00:10:00] A red circle.\n\n[missing 00:10:00 - 00:10:10: it is broken]\n"
    )


@pytest.mark.parametrize("kind", ["no speech", "missing"])
def test_there_are_brackets_only_beside_words(kind: str, result_of) -> None:
    beside = TextSegment(start=0, end=600, text="", flags=("no_speech",)) if kind == "no speech" else gap(0, 9, "sound")
    for name in ("txt", "srt", "vtt"):
        assert "[A red circle.]" not in document(result_of, name, LONG[0], beside)
        assert "[A red circle.]" in document(result_of, name, *LONG[:2])
