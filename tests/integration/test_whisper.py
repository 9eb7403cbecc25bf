"""The whisper engine with its packaged weights, on people's speech."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines import Clip, Reply
from pipeline.engines.whisper import WhisperEngine, create
from pipeline.engines.whisper.weights import PACKAGED, PACKAGED_SHA256, locate, verified
from pipeline.errors import PermanentError, ResourceError, UsageError, WorldError
from pipeline.sample import speech_sample
from pipeline.settings import Engine
from tests.conftest import unavailable
from tests.engines import about
from tests.speech import TWO_CITIES, librivox, word_error_rate

RATE = 16_000


@pytest.fixture(scope="module")
def engine() -> Iterator[WhisperEngine]:
    engine = create(Engine())
    engine.load()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def clips() -> list[tuple[Clip, str]]:
    """The LibriVox sentences as the engine takes them, with their texts."""
    from faster_whisper.audio import decode_audio

    try:
        return [(decode_audio(str(path)), text) for path, text in librivox()]
    except LookupError as error:
        unavailable(str(error))


@pytest.fixture(scope="module")
def reading() -> Clip:
    """The sample recording, 44 s."""
    from faster_whisper.audio import decode_audio

    try:
        clip: Clip = decode_audio(str(speech_sample()))
    except UsageError as error:
        unavailable(str(error))
    return clip


def answer(engine: WhisperEngine, *clips: Clip) -> list[Reply]:
    outcomes = engine.generate([about(clip, str(i)) for i, clip in enumerate(clips)])
    replies = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
    assert len(replies) == len(clips), outcomes
    return replies


def text(reply: Reply) -> str:
    return " ".join(span.text for span in reply.spans)


def test_sentences_of_a_novel_are_recognised(engine: WhisperEngine, clips: list[tuple[Clip, str]]) -> None:
    replies = answer(engine, *(clip for clip, _ in clips))
    spoken = " ".join(text for _, text in clips)
    assert word_error_rate(spoken, " ".join(text(reply) for reply in replies)) < 0.08
    assert all(reply.language == "en" and not reply.flags for reply in replies)


def test_spans_lie_in_order_within_their_clip(engine: WhisperEngine, reading: Clip) -> None:
    clip = reading[: 30 * RATE]
    (reply,) = answer(engine, clip)
    assert len(reply.spans) >= 4
    times = [time for span in reply.spans for time in (span.start, span.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= 30
    assert all(span.text == span.text.strip() != "" for span in reply.spans)


def test_a_clip_that_ends_in_mid_sentence_is_read_to_its_end(engine: WhisperEngine, reading: Clip) -> None:
    """Whisper stops before a phrase that the window cuts off; the 25 s hold "we had everything before us" behind it."""
    (reply,) = answer(engine, reading[: 25 * RATE])
    assert "everything before us" in text(reply)
    assert reply.spans[-1].end == pytest.approx(25, abs=0.5)


def test_times_and_words_are_those_of_the_plain_decoder(engine: WhisperEngine, reading: Clip) -> None:
    clip = reading[10 * RATE : 33 * RATE]
    assert engine._decoder is not None
    plain, _ = engine._decoder._model.transcribe(clip, language="en", condition_on_previous_text=False)
    expected = [(round(segment.start, 1), round(segment.end, 1), segment.text.strip()) for segment in plain]
    (reply,) = answer(engine, clip)
    assert len(expected) > 2
    assert [(round(span.start, 1), round(span.end, 1), span.text) for span in reply.spans] == expected


def test_what_a_clip_becomes_does_not_depend_on_its_batch_mates(
    engine: WhisperEngine, clips: list[tuple[Clip, str]], reading: Clip
) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 8 * RATE).astype(np.float32)
    mixed = [reading[: 25 * RATE], clips[1][0], noise, clips[1][0][: RATE // 2], reading[30 * RATE :]]
    alone = [answer(engine, clip)[0] for clip in mixed]
    assert sum(bool(reply.spans) for reply in alone) >= 3
    assert answer(engine, *mixed) == alone
    assert answer(engine, *reversed(mixed)) == alone[::-1]


def test_a_clip_that_is_not_sound_fails_alone(engine: WhisperEngine, clips: list[tuple[Clip, str]]) -> None:
    good = clips[0][0]
    broken = good.copy()
    broken[100] = np.nan
    batch = [about(clip, str(i)) for i, clip in enumerate((good, broken, good))]
    first, middle, last = engine.generate(batch)
    assert isinstance(middle, PermanentError)
    assert "not numbers" in middle.reason
    assert first == last == answer(engine, good)[0]


@pytest.mark.parametrize("samples", [0, 1, 399, 5 * RATE])
def test_silence_of_any_length_has_no_words(engine: WhisperEngine, samples: int) -> None:
    (reply,) = answer(engine, np.zeros(samples, dtype=np.float32))
    assert (reply.spans, reply.flags) == ((), ("no_speech",))


@pytest.mark.parametrize("samples", [1, 399, 1600])
def test_a_click_that_is_too_short_for_a_word_does_no_harm(engine: WhisperEngine, samples: int) -> None:
    (reply,) = answer(engine, np.full(samples, 0.5, dtype=np.float32))
    assert all(span.end <= samples / RATE for span in reply.spans)


def test_text_that_runs_in_a_loop_is_suspect_and_the_same_every_time(engine: WhisperEngine, reading: Clip) -> None:
    loop = np.tile(reading[: int(1.6 * RATE)], 12)  # the model, too, begins to repeat itself for ever on this
    (first,), (second,) = answer(engine, loop), answer(engine, loop)
    assert "suspect" in first.flags
    assert first == second


def test_a_batch_of_refused_clips_alone_needs_no_model(engine: WhisperEngine) -> None:
    (outcome,) = engine.generate([about(np.zeros(3, dtype=np.float64))])  # type: ignore[arg-type]
    assert isinstance(outcome, PermanentError)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA failed with error out of memory"), RuntimeError("bad allocation"), MemoryError()]
)
def test_running_out_of_memory_asks_for_smaller_batches(
    engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(engine._decoder, "_generate", fail)
    with pytest.raises(ResourceError):
        answer(engine, np.ones(RATE, dtype=np.float32))


def test_any_other_error_of_the_model_is_not_taken_for_a_lack_of_memory(
    engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA failed with error unspecified launch failure")

    monkeypatch.setattr(engine._decoder, "_generate", fail)
    with pytest.raises(RuntimeError, match="launch failure"):
        answer(engine, np.ones(RATE, dtype=np.float32))


def test_the_origin_names_the_weights_by_their_hash() -> None:
    origin = create(Engine()).load()
    assert (origin.engine, origin.model, origin.revision) == ("whisper", PACKAGED, PACKAGED_SHA256)
    assert set(origin.versions) == {"faster-whisper", "ctranslate2"}


def test_packaged_weights_with_a_changed_byte_are_refused(tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(locate(PACKAGED).path, copy)
    assert verified(copy).revision == PACKAGED_SHA256
    with (copy / "model.bin").open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)
        file.seek(1_000_000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(WorldError, match="not the file that reelmill was tested with"):
        verified(copy)


def test_a_directory_of_ones_own_is_loaded_and_named_by_its_hash(tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(locate(PACKAGED).path, copy)
    origin = create(Engine(model=str(copy))).load()
    assert (origin.model, origin.revision) == (str(copy), PACKAGED_SHA256)


def test_a_damaged_model_file_is_a_clear_error(tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(locate(PACKAGED).path, copy)
    (copy / "model.bin").write_bytes(b"not a model")
    with pytest.raises(WorldError, match="could not be loaded"):
        create(Engine(model=str(copy))).load()


def test_a_model_hub_out_of_reach_gives_three_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WorldError, match=r"Three ways out.*huggingface\.co.*REELMILL_ENGINE__MODEL.*pip install"):
        create(Engine(model="Systran/faster-whisper-small")).load()


def test_the_sample_says_what_its_text_says(engine: WhisperEngine, reading: Clip) -> None:
    replies = answer(engine, reading[: 30 * RATE], reading[30 * RATE :])
    assert word_error_rate(TWO_CITIES, " ".join(text(reply) for reply in replies)) < 0.08
