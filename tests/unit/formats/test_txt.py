"""Exact documents for a reader."""

import pytest

from pipeline.formats import txt
from pipeline.job import MediaInfo, PictureInfo, TextSegment

SENTENCE = "This one has forty characters, I counted."


def said(start, end, text, *flags):
    return TextSegment(start=start, end=end, text=text, flags=flags)


def missing(start, end, reason):
    return TextSegment(start=start, end=end, text="", flags=("missing",), reason=reason)


@pytest.mark.parametrize(
    ("segments", "document"),
    [
        pytest.param([], "", id="nothing"),
        pytest.param([said(0, 1, "One."), said(2.9, 4, "Two.")], "One. Two.\n", id="a short pause goes on"),
        pytest.param([said(0, 1, "One."), said(3, 4, "Two.")], "One.\n\nTwo.\n", id="2 s start a paragraph"),
        pytest.param([said(30, 31, "One.")], "One.\n", id="silence at the start is no paragraph"),
        pytest.param([said(0, 1, "One\n\ntwo\x00\tthree")], "One two three\n", id="white space and controls"),
        pytest.param([said(0, 1, "a --> b <i>&")], "a --> b <i>&\n", id="nothing is escaped"),
        pytest.param([said(0, 1, "猫が。"), said(1, 2, "好き")], "猫が。好き\n", id="no space between Japanese"),
        pytest.param([said(0, 1, "Maybe.", "suspect"), said(1, 2, "Yes.")], "Maybe. [?] Yes.\n", id="doubt"),
        pytest.param([said(0, 1, "  ", "suspect")], "", id="doubt about nothing"),
        pytest.param([said(4, 5, "Two."), said(0, 1, "One.")], "One.\n\nTwo.\n", id="time order"),
        pytest.param(
            [said(722, 723, "One."), missing(723.4, 752.2, "damaged\nhere"), said(753, 754, "Two.")],
            "One.\n\n[missing 00:12:03 - 00:12:33: damaged here]\n\nTwo.\n",
            id="a gap has its own line and covers the stretch",
        ),
        pytest.param([missing(0, 359_999.9996, None)], "[missing 00:00:00 - 100:00:00]\n", id="100 hours, no reason"),
    ],
)
def test_the_document_is_exactly(segments, document, result_of):
    assert txt.render(result_of(*segments)) == document


def test_a_long_paragraph_ends_at_the_end_of_a_sentence(result_of):
    talk = [said(i, i + 1, SENTENCE) for i in range(40)]

    paragraphs = txt.render(result_of(*talk)).strip().split("\n\n")

    assert [paragraph.count("counted.") for paragraph in paragraphs] == [17, 17, 6]  # 17 x 42 - 1 >= 700


def test_a_mark_of_doubt_does_not_hide_the_end_of_a_sentence(result_of):
    talk = [said(i, i + 1, SENTENCE, "suspect") for i in range(40)]

    paragraphs = txt.render(result_of(*talk)).strip().split("\n\n")

    assert [paragraph.count("[?]") for paragraph in paragraphs] == [16, 16, 8]  # 16 x 46 - 1 >= 700


def test_one_long_segment_is_parted_too(result_of):
    document = txt.render(result_of(said(0, 30, " ".join([SENTENCE] * 40))))

    assert document.count("\n\n") == 2


@pytest.mark.parametrize("flags", [(), ("suspect",)])
def test_text_in_which_no_sentence_ends_still_gets_paragraphs(flags, result_of):
    talk = [said(i, i + 1, "and so on and so forth", *flags) for i in range(200)]

    paragraphs = txt.render(result_of(*talk)).strip().split("\n\n")

    assert len(paragraphs) > 2
    assert all(1_400 <= len(paragraph) < 1_500 for paragraph in paragraphs[:-1])


def test_a_job_without_a_transcript_says_why(result_of):
    result = result_of(status="failed", error="the file holds no sound")

    assert txt.render(result) == "[no transcript: the file holds no sound]\n"


PAGES = MediaInfo(kind="picture", picture=PictureInfo(format="tiff", width=1, height=1, pages=9))
TEXT = MediaInfo(kind="text", encoding="utf-8", characters=9000)


@pytest.mark.parametrize(
    ("info", "start", "end", "place"),
    [
        (PAGES, 1, 1, "page 2"),
        (PAGES, 0, 8, "pages 1 - 9"),
        (TEXT, 3000, 6000, "characters 3000 - 6000"),
        (MediaInfo(kind="video"), 60, 90, "00:01:00 - 00:01:30"),
    ],
)
def test_what_is_missing_is_told_by_its_place_in_that_media(info, start, end, place, result_of):
    result = result_of(
        missing(start, end, "it broke"), said(end + 1, end + 2, "Two.").model_copy(update={"kind": "text"})
    )
    media = result.media.model_copy(update={"info": info})
    assert txt.render(result.model_copy(update={"media": media})).startswith(f"[missing {place}: it broke]\n")
