"""Exact caption files, and any captions read back by parsers that others wrote."""

import html
import unicodedata
from itertools import pairwise

import pytest
import srt as srt_parser
import webvtt
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.formats import srt, vtt
from pipeline.formats.cues import cues
from pipeline.job import TextSegment

NOTE = """WEBVTT

NOTE
model output, made with reelmill 1.2.3
job: job-1
status: done
engine: whisper, model: tiny.en, revision: abc123
"""


def said(start, end, text, *flags):
    return TextSegment(start=start, end=end, text=text, flags=flags)


def missing(start, end, reason):
    return TextSegment(start=start, end=end, text="", flags=("missing",), reason=reason)


# Exact documents


def test_an_empty_transcript_is_an_empty_srt_and_a_vtt_header(result_of):
    assert srt.render(result_of()) == ""
    assert vtt.render(result_of()) == NOTE


def test_srt_exactly(result_of):
    result = result_of(
        said(0, 1.5, "Hi & <b>."), missing(1.5, 31.5, "damaged"), said(3599.9996, 3601, "a --> b", "suspect")
    )

    assert srt.render(result) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHi & <b>.\n\n"
        "2\n00:00:01,500 --> 00:00:31,500\n[missing: damaged]\n\n"
        "3\n01:00:00,000 --> 01:00:01,000\na -- > b [?]\n"
    )


def test_vtt_exactly(result_of):
    result = result_of(said(0, 1.5, "Hi & <b>."), missing(1.5, 31.5, "damaged"), said(3599.9996, 3601, "a --> b"))

    assert vtt.render(result) == NOTE + (
        "\n00:00:00.000 --> 00:00:01.500\nHi &amp; &lt;b&gt;.\n"
        "\n00:00:01.500 --> 00:00:31.500\n[missing: damaged]\n"
        "\n01:00:00.000 --> 01:00:01.000\na -- &gt; b\n"
    )


def test_the_vtt_note_names_an_engine_once_that_was_asked_in_several_ways(result_of):
    plain = result_of(said(0, 1, "Hi."))
    (origin,) = plain.provenance.origins
    origins = (origin, origin.model_copy(update={"prompt": "0123"}), origin.model_copy(update={"model": "base"}))
    result = plain.model_copy(update={"provenance": plain.provenance.model_copy(update={"origins": origins})})

    assert [line for line in vtt.render(result).splitlines() if line.startswith("engine: ")] == [
        "engine: whisper, model: tiny.en, revision: abc123",
        "engine: whisper, model: base, revision: abc123",
    ]


def test_the_vtt_note_says_why_a_job_is_partial_and_cannot_end_early(result_of):
    note = vtt.render(result_of(status="partial", error="bad\n\n00:01.000 --> 00:02.000\nfake")).split("NOTE\n")[1]

    assert "status: partial (bad 00:01.000 -- > 00:02.000 fake)\n" in note


def test_the_vtt_note_explains_the_mark_of_doubt(result_of):
    assert "\n[?] marks text" in vtt.render(result_of(said(0, 1, "Maybe", "suspect")))


# Layout


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        pytest.param(said(0, 12, "Thank you."), [(0, 7_000, "Thank you.")], id="slow text is not torn"),
        pytest.param(
            said(0, 12, "I see. Thank you."), [(0, 4_500, "I see."), (4_500, 11_500, "Thank you.")], id="slow sentences"
        ),
        pytest.param(
            said(0, 10, "He counted all of the days, one by one, until she came."),
            [(0, 5_000, "He counted all of the days,"), (5_000, 10_000, "one by one, until she came.")],
            id="a long time is parted at a phrase",
        ),
        pytest.param(
            said(0, 3, "She was there when it all began, and she left when it was over."),
            [(0, 3_000, "She was there when it all began,\nand she left when it was over.")],
            id="two lines break at a phrase",
        ),
        pytest.param(
            said(0, 6, "The sun came up over the hill at six. Nobody in the whole town had slept, not even the cats."),
            [
                (0, 2_439, "The sun came up over the hill at six."),
                (2_439, 6_000, "Nobody in the whole town had slept,\nnot even the cats."),
            ],
            id="more than two lines are parted at a sentence",
        ),
        pytest.param(said(0, 2, "a " + "x" * 60 + " b"), [(0, 31, "a"), (31, 2_000, "x" * 60 + "\nb")], id="long word"),
        pytest.param(
            said(0, 5, "吾輩は猫である。名前はまだ無い。どこで生れたか頓と見当がつかぬ。"),
            [(0, 5_000, "吾輩は猫である。名前はまだ無い。\nどこで生れたか頓と見当がつかぬ。")],
            id="Japanese",
        ),
        pytest.param(
            said(0, 5, "彼女は昨日の午後に東京駅の近くで友達と「会った」と言う"),
            [(0, 5_000, "彼女は昨日の午後に東京駅の\n近くで友達と「会った」と言う")],
            id="Japanese without full stops",
        ),
        pytest.param(
            said(0, 3, "They left at six. He stayed, and nobody asked him."),
            [(0, 3_000, "They left at six.\nHe stayed, and nobody asked him.")],
            id="a sentence goes before a phrase nearer the middle",
        ),
        pytest.param(
            said(0, 12, "No. That was not what I said."),
            [(0, 7_000, "No. That was not what I said.")],
            id="no cue that flashes by",
        ),
        pytest.param(
            said(0, 1, "x" * 42, "suspect"), [(0, 1_000, "x" * 42 + " [?]")], id="the mark of doubt is never alone"
        ),
        pytest.param(said(2, 2, "now"), [(2_000, 2_001, "now")], id="no time at all"),
    ],
)
def test_a_segment_becomes_exactly(segment, expected):
    made = [(cue.start, cue.end, "\n".join(cue.lines)) for cue in cues([segment])]

    assert made == expected


@pytest.mark.parametrize(
    "text",
    ["昨日" * 10 + "「" + "東京" * 6 + "」。", "あ" * 20 + "ーー" + "い" * 20, "あ" * 13 + "「" + "い" * 13 + "」。"],
)
def test_no_japanese_line_starts_or_ends_against_the_rules(text):
    lines = [line for cue in cues([said(0, 5, text)]) for line in cue.lines]

    assert len(lines) > 1
    assert all(line[0] not in "」。ー" and line[-1] != "「" for line in lines)


def test_a_long_reason_stays_one_cue_on_lines_that_fit():
    (cue,) = cues([missing(0, 90, "the sound could not be decoded " * 4)])

    assert (cue.start, cue.end) == (0, 90_000)
    assert all(len(line) <= 42 for line in cue.lines)


def test_a_segment_that_overlaps_the_next_gives_way():
    first, second = cues([said(0, 5.0004, "one"), said(4, 9, "two")])

    assert (first.start, first.end, second.start, second.end) == (0, 4_000, 4_000, 9_000)


def test_text_that_starts_together_is_shown_one_after_the_other():
    made = cues([said(1, 2, "one"), said(1, 2, "two"), said(1, 2, "three")])

    assert [(cue.start, cue.end) for cue in made] == [(1_000, 1_001), (1_001, 1_002), (1_002, 2_000)]


def test_the_mark_of_doubt_never_stands_alone():
    for length in range(30, 200):
        made = cues([said(0, 20, ("word " * 40)[:length], "suspect")])

        assert made[-1].lines[-1].endswith(" [?]")
        assert len(made[-1].lines[-1]) > len(" [?]")


# Anything


def squashed(text):
    """Text without white space and control characters: what must survive a caption file, in this order."""
    return "".join(
        character
        for character in text
        if not character.isspace() and unicodedata.category(character) not in ("Cc", "Cs") and character != "\ufeff"
    )


awkward = st.sampled_from(
    [
        "-->", "--->", "-\x00->", "<b>", "</i>", "&", "&amp;", "\n", "\n\n", "\r\n", "\u2028", "\x85", "\x1c", "WEBVTT",
        "NOTE", "STYLE", "7", "7\n00:00:01,000 --> 00:00:02,000\nfake\n\n", "00:01.000 --> 00:02.000", "{\\an8}", "[?]",
        "👩‍👩‍👧", "🇫🇷", "שלום עולם", "مرحبا، كيف؟", "中文字幕。", "「日本語」", "한국어 자막", "e\u0301", "\ufeff",
        "\u200b", "x" * 50, "end.", "so,", " ",
    ]
)  # fmt: skip
texts = st.one_of(
    st.text(max_size=30),
    st.lists(awkward | st.text(max_size=8), max_size=25).map("".join),
    st.lists(awkward | st.text(max_size=8), max_size=25).map(" ".join),
    st.builds(lambda part, mark: ((part + mark) * 3_000)[:3_000], st.text(min_size=1, max_size=9), awkward),
)
times = st.one_of(
    st.sampled_from([0.0, 0.0004, 0.0005, 59.9996, 59.9994, 3599.9995, 3599.9999, 35_999.9996, 107_999.9999]),
    st.floats(min_value=0, max_value=108_000),
    st.integers(min_value=0, max_value=40).map(float),
)
lengths = st.sampled_from([0.0, 0.0004, 0.001, 0.02]) | st.floats(min_value=0, max_value=60)
flags = st.sampled_from([(), (), (), ("suspect",), ("no_speech",), ("quiet", "clipped")])
spoken_segments = st.builds(
    lambda start, length, text, flags: said(start, start + length, text, *flags), times, lengths, texts, flags
)
missing_segments = st.builds(
    lambda start, length, reason: missing(start, start + length, reason), times, lengths, texts | st.none()
)
transcripts = st.lists(spoken_segments | missing_segments, max_size=8)


unhurried = settings(deadline=None)  # a busy machine is no error


def expected(segments):
    """All that a caption file must hold, in order, squashed."""
    parts = []
    for segment in sorted(segments, key=lambda segment: round(segment.start * 1000)):
        text = squashed(segment.text)
        if "missing" in segment.flags:
            reason = squashed(segment.reason or "")
            parts.append(f"[missing:{reason}]" if reason else "[missing]")
        elif text and "no_speech" not in segment.flags:
            parts.append(text + ("[?]" if "suspect" in segment.flags else ""))
    return "".join(parts)


def check_times(times):
    """Each (start, end) has a length and none starts before the last one ended; all in ms."""
    assert all(start < end for start, end in times)
    assert all(before[1] <= after[0] for before, after in pairwise(times))


def in_ms(delta):
    return round(delta.total_seconds() * 1000)


@unhurried
@given(segments=transcripts)
@example(segments=[said(0, 1, "5\n00:00:01,000 --> 00:00:02,000\nx"), said(1, 2, "12\n\n7")])
def test_any_srt_is_read_back_whole(segments, result_of):
    document = srt.render(result_of(*segments))
    read = list(srt_parser.parse(document))

    assert [cue.index for cue in read] == list(range(1, len(read) + 1))
    assert document.count("-->") == len(read)
    check_times([(in_ms(cue.start), in_ms(cue.end)) for cue in read])
    assert "".join(squashed(cue.content) for cue in read) == expected(segments)


@unhurried
@given(segments=transcripts)
def test_any_srt_is_read_the_same_by_another_parser(segments, result_of):
    document = srt.render(result_of(*segments))
    read = webvtt.from_string(vtt.render(result_of(*segments)))
    if not document:
        assert not read.captions
        return
    other = webvtt.from_buffer([document], format="srt")

    assert [(cue.start, cue.end) for cue in other] == [(cue.start, cue.end) for cue in read]
    assert "".join(squashed(cue.raw_text) for cue in other) == expected(segments)


@unhurried
@given(segments=transcripts)
@example(segments=[missing(0, 1, "NOTE\n\n00:01.000 --> 00:02.000\nfake")])
def test_any_vtt_is_read_back_whole_by_a_strict_parser(segments, result_of):
    read = webvtt.WebVTT.from_string(vtt.render(result_of(*segments)), strict=True)

    check_times([(cue.start_time.in_milliseconds(), cue.end_time.in_milliseconds()) for cue in read])
    assert all(cue.raw_text == cue.text for cue in read), "something was taken for a tag"
    assert "".join(squashed(html.unescape(cue.text)) for cue in read) == expected(segments)
    assert "model output" in (read.header_comments or read.footer_comments)[0]


@unhurried
@given(segment=spoken_segments)
def test_any_text_keeps_to_the_layout(segment):
    for cue in cues([segment]):
        assert cue.end - cue.start <= 7_000
        assert 1 <= len(cue.lines) <= 2
        for line in cue.lines:
            assert line.strip() == line != ""
            assert len(line) <= 42 or " " not in line.replace(" [?]", "")


@unhurried
@given(segments=transcripts)
def test_a_cue_of_one_segment_alone_stays_in_its_time(segments):
    for segment in segments:
        start, end = round(segment.start * 1000), round(segment.end * 1000)
        made = cues([segment])
        if made:
            assert made[0].start == start
            assert made[-1].end <= max(end, start + len(made)) + len(made)
