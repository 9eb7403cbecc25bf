"""What every format promises."""

import pytest

from pipeline import formats
from pipeline.errors import UsageError
from pipeline.job import Result, TextSegment


def test_the_formats_are_found_in_a_fixed_order():
    assert list(formats.FORMATS) == ["txt", "srt", "vtt", "json"]
    assert formats.TRANSCRIPTS == ("txt", "srt", "vtt")


def test_parts_that_formats_share_are_no_formats():
    assert not {"cues", "phrases"} & set(formats.FORMATS)


def test_no_two_formats_share_a_suffix():
    suffixes = [found.SUFFIX for found in formats.FORMATS.values()]

    assert len(set(suffixes)) == len(suffixes)
    assert all(suffix.isalnum() for suffix in suffixes)


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_every_format_gives_utf8_bytes_and_names_its_type(name, result_of):
    document = formats.render(name, result_of(TextSegment(start=0, end=1, text="Grüße 世界")))

    assert "Grüße" in document.decode("utf-8")
    assert "/" in formats.FORMATS[name].CONTENT_TYPE


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_every_format_says_what_is_missing(name, result_of):
    gap = TextSegment(start=1, end=2, text="", flags=("missing",), reason="damaged")

    document = formats.render(name, result_of(TextSegment(start=0, end=1, text="Hi."), gap)).decode()

    assert "missing" in document
    assert "damaged" in document


@pytest.mark.parametrize("name", formats.TRANSCRIPTS)
def test_stretches_without_speech_leave_no_trace(name, result_of):
    silence = TextSegment(start=1, end=9, text="you", flags=("no_speech",))

    assert formats.render(name, result_of(silence)) == formats.render(name, result_of())


def test_json_is_the_stored_result(result_of):
    result = result_of(TextSegment(start=0, end=1, text="Hi."))

    assert formats.render("json", result) == result.to_bytes()
    assert Result.from_bytes(formats.render("json", result)) == result


def test_an_unknown_format_names_the_known_ones(result_of):
    with pytest.raises(UsageError, match=r"'docx'.*txt, srt, vtt, json"):
        formats.render("docx", result_of())
