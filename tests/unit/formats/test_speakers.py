"""Who speaks is shown by every format."""

import json
from collections.abc import Callable

import pytest
import srt
import webvtt

from pipeline.formats import render
from pipeline.job import Result, TextSegment

CALL = (
    TextSegment(start=0.0, end=2.0, text="Hello, who is it?", speaker="channel 1"),
    TextSegment(start=1.5, end=4.0, text="It is <me> & you.", speaker="channel 2"),
    TextSegment(start=4.0, end=5.0, text="Fine.", speaker="channel 2"),
    TextSegment(start=5.0, end=8.0, text="", flags=("missing",), reason="it broke", speaker="channel 1"),
    TextSegment(start=8.0, end=9.0, text="Bye.", speaker="channel 1"),
)


@pytest.fixture
def call(result_of: Callable[..., Result]) -> Result:
    return result_of(*CALL)


def test_vtt_names_the_voice_of_each_cue(call: Result) -> None:
    document = render("vtt", call).decode()
    assert "<v channel 1>Hello, who is it?\n" in document
    assert "<v channel 2>It is &lt;me&gt; &amp; you.\n" in document
    captions = webvtt.from_string(document)
    assert [caption.voice for caption in captions] == [f"channel {number}" for number in (1, 2, 2, 1, 1)]


def test_srt_and_txt_put_the_speaker_in_front(call: Result) -> None:
    cues = list(srt.parse(render("srt", call).decode()))
    assert [cue.content for cue in cues] == [
        "channel 1: Hello, who is it?",
        "channel 2: It is <me> & you.",
        "channel 2: Fine.",
        "channel 1: [missing: it broke]",
        "channel 1: Bye.",
    ]
    assert render("txt", call).decode().split("\n\n") == [
        "channel 1: Hello, who is it?",
        "channel 2: It is <me> & you. Fine.",
        "channel 1: [missing 00:00:05 - 00:00:08: it broke]",
        "Bye.\n",
    ]


def test_json_has_the_speaker_as_a_field(call: Result) -> None:
    found = json.loads(render("json", call))["segments"]
    assert [segment["speaker"] for segment in found] == [segment.speaker for segment in CALL]


def test_people_who_speak_at_once_do_not_shorten_each_others_captions(call: Result) -> None:
    times = [(cue.start.total_seconds(), cue.end.total_seconds()) for cue in srt.parse(render("srt", call).decode())]
    assert times[:2] == [(0.0, 2.0), (1.5, 4.0)]


def test_without_speakers_nothing_is_put_in_front(result_of: Callable[..., Result]) -> None:
    plain = result_of(*(segment.model_copy(update={"speaker": None}) for segment in CALL))
    for name in ("srt", "vtt", "txt"):
        document = render(name, plain).decode()
        assert "channel" not in document
        assert "<v" not in document
