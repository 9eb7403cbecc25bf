"""What the whisper engine decides without a model."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines import Clip, Request
from pipeline.engines.whisper import create, refusal
from pipeline.engines.whisper.decode import Draft
from pipeline.engines.whisper.marks import Piece
from pipeline.engines.whisper.weights import locate
from pipeline.errors import WorldError
from pipeline.job import Span
from pipeline.settings import Engine
from tests.engines import about

ENGLISH = frozenset({"en"})


def silence(seconds: float) -> Clip:
    return np.zeros(round(seconds * 16_000), dtype=np.float32)


def request(clip: Clip, language: str | None = None) -> Request:
    return about(clip, language=language)


def test_capabilities_are_known_without_loading_or_importing_the_model() -> None:
    script = (
        "import sys; from pipeline.engines import create; from pipeline.settings import Engine;"
        "c = create(Engine(name='whisper', max_batch=5)).capabilities;"
        "assert (c.kinds, c.limits.clip_seconds, c.max_batch) == ({'sound'}, 30, 5), c;"
        "print(sorted({'faster_whisper', 'ctranslate2', 'torch', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_full_batch_of_clips_fits_the_budget_and_one_more_does_not() -> None:
    engine = create(Engine(max_batch=3))
    cost = engine.prepare(request(silence(30))).cost
    assert 3 * cost <= engine.capabilities.max_cost < 4 * cost


@pytest.mark.parametrize("samples", [0, 1, 399, 16_000, 480_000, 481_600])
def test_a_clip_of_up_to_thirty_seconds_and_a_little_is_taken(samples: int) -> None:
    assert refusal(request(np.zeros(samples, dtype=np.float32)), ENGLISH) is None


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (np.full(16_000, np.nan, dtype=np.float32), "not numbers"),
        (np.array([0, np.inf], dtype=np.float32), "not numbers"),
        (np.zeros(16_000, dtype=np.float64), "float64"),
        (np.zeros(16_000, dtype=np.int16), "int16"),
        (np.zeros((16_000, 2), dtype=np.float32), "shape (16000, 2)"),
        (silence(31), "31.0 s long"),
    ],
)
def test_a_clip_that_is_no_speech_sound_is_refused_with_the_reason(clip: Clip, reason: str) -> None:
    assert reason in str(refusal(request(clip), ENGLISH))


def test_a_language_that_the_model_does_not_know_is_refused() -> None:
    assert refusal(request(silence(1), "en"), ENGLISH) is None
    assert refusal(request(silence(1), "de"), ENGLISH) == "the model knows English, not 'de'"
    assert refusal(request(silence(1), "xx"), frozenset({"en", "de"})) == "the model knows 2 languages, not 'xx'"


def test_pieces_become_spans_in_times_of_the_clip_rounded_to_milliseconds() -> None:
    draft = Draft(silence(10), "en")
    draft.add(Piece(0.5, 4.2, (1,)), "It was the best of times")
    draft.move_on(round(4.2 * 16_000))
    assert not draft.is_read
    draft.add(Piece(0.12345, 9.0, (2,)), "it was the worst of times")
    draft.move_on(draft.rest.size)
    assert draft.is_read
    assert draft.reply().spans == (
        Span(start=0.5, end=4.2, text="It was the best of times"),
        Span(start=4.323, end=10.0, text="it was the worst of times"),
    )
    assert (draft.reply().flags, draft.reply().language) == ((), "en")


def test_words_after_the_end_of_the_sound_are_dropped_and_make_the_clip_suspect() -> None:
    draft = Draft(silence(2), "en")
    draft.add(Piece(0, 1.5, (1,)), "Good morning.")
    draft.add(Piece(2.5, 4, (2,)), "Thank you for watching.")
    draft.move_on(draft.rest.size)
    assert [span.text for span in draft.reply().spans] == ["Good morning."]
    assert draft.reply().flags == ("suspect",)


def test_a_clip_without_words_says_so_and_claims_no_language() -> None:
    draft = Draft(silence(2), "en")
    draft.add(Piece(0, 2, (1,)), "")
    draft.move_on(draft.rest.size)
    assert (draft.reply().spans, draft.reply().flags, draft.reply().language) == ((), ("no_speech",), None)


def test_a_clip_that_was_not_read_to_its_end_is_suspect() -> None:
    draft = Draft(silence(10), "en")
    draft.add(Piece(0, 4, (1,)), "words")
    draft.move_on(4 * 16_000)
    assert draft.reply().flags == ("suspect",)


def test_a_missing_model_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=f"no directory {tmp_path}/small"):
        locate(f"{tmp_path}/small")


def test_a_directory_that_holds_no_model_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WorldError, match=r"model\.bin, tokenizer\.json missing"):
        locate(str(tmp_path))


def test_packaged_weights_that_no_package_brings_are_refused() -> None:
    with pytest.raises(WorldError, match=r"only packaged weights are 'packaged:tiny\.en'"):
        locate("packaged:small")
