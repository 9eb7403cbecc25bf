import numpy as np
import pytest

from pipeline.media.sound import speech
from pipeline.media.sound.vad import raised


def frames(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_clipping_is_more_than_a_rare_full_sample() -> None:
    clip = np.zeros(10_000, np.float32)
    clip[:5] = 1.0
    assert not speech.is_clipped(clip)
    clip[:20] = -1.0
    assert speech.is_clipped(clip)
    assert not speech.is_clipped(clip[:0])


def test_silence_is_below_minus_60_throughout() -> None:
    assert speech.is_silent(frames(-100, -61, -70))
    assert not speech.is_silent(frames(-100, -59, -70))


def test_one_voiced_frame_makes_noise_more_than_noise() -> None:
    level = np.full(20, -20, np.float32)
    flatness = np.full(20, 0.5, np.float32)
    assert speech.is_noise(flatness, level)
    flatness[3] = 0.01
    assert not speech.is_noise(flatness, level)


def test_flatness_of_what_cannot_be_heard_does_not_count() -> None:
    level = frames(-20, -20, -90)
    assert not speech.is_noise(frames(0.01, 0.01, 1.0), level)
    assert speech.is_noise(frames(0.5, 0.5, 0.0), level)


def test_quiet_clips_are_raised_but_not_without_end() -> None:
    clip = np.full(100, 0.001, np.float32)
    assert raised(clip, -60.0)[0] == pytest.approx(0.001 * 10**1.5, rel=1e-4)
    assert raised(clip, -30.0)[0] == pytest.approx(0.001 * 10**0.25, rel=1e-4)
    assert raised(clip, -10.0) is clip


def test_specks_in_much_sound_are_no_speech_and_a_lone_word_is() -> None:
    music = np.full(900, -20, np.float32)  # 29 s
    assert speech.is_only_specks(((1.0, 1.4),), music)
    assert not speech.is_only_specks(((1.0, 1.4), (5.0, 6.0)), music)
    word = np.full(900, -80, np.float32)
    word[30:45] = -20
    assert not speech.is_only_specks(((1.0, 1.4),), word)
    assert speech.is_only_specks((), word)


def test_the_level_of_speech_is_measured_where_speech_is() -> None:
    level = np.array([-80.0] * 100 + [-30.0] * 100, np.float32)
    assert speech.speech_level(level, ((3.3, 6.0),)) == pytest.approx(-30)
    assert speech.speech_level(level, ((0.0, 3.0),)) == pytest.approx(-80)


def test_a_phrase_ends_where_speech_ends_not_in_the_silence_behind_it() -> None:
    spans = ((0.5, 3.0), (12.0, 15.0))
    assert speech.within_speech(0.0, 11.9, spans) == (0.5, 3.0)
    assert speech.within_speech(11.9, 14.0, spans) == (12.0, 14.0)
    assert speech.within_speech(0.0, 12.1, spans) == (0.5, 3.0)  # its end is the edge of what comes next
    assert speech.within_speech(0.7, 14.5, spans) == (0.7, 14.5)
    assert speech.within_speech(5.0, 8.0, spans) == (5.0, 8.0)
    assert speech.within_speech(1.0, 2.0, ()) == (1.0, 2.0)


def test_flat_tops_are_those_of_clipped_speech_however_loud_it_is_now() -> None:
    rng = np.random.default_rng(0)
    said = (rng.laplace(0, 0.05, 48_000)).astype(np.float32)
    clipped = np.clip(said, -0.15, 0.15)
    for gain in (1.0, 0.3, 5.0):
        assert not speech.has_flat_tops(said * np.float32(gain), ((0.0, 3.0),))
        assert speech.has_flat_tops(clipped * np.float32(gain), ((0.0, 3.0),))
    assert not speech.has_flat_tops(clipped, ())
