import numpy as np
import pytest

from pipeline.media.sound.levels import FLOOR, SILENCE, levels, quietest, silences, threshold


def pcm(samples: np.ndarray) -> bytes:
    return np.round(samples * 32767).astype("<i2").tobytes()


def test_a_full_scale_sine_is_at_minus_three_db_and_a_short_last_frame_counts() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(1000) / 16_000)
    found = levels(pcm(tone))
    assert len(found) == 4
    assert found == pytest.approx(-3.01, abs=0.3)


def test_a_constant_offset_is_no_sound() -> None:
    assert levels(pcm(np.full(640, 0.5))).tolist() == [SILENCE, SILENCE]


def test_speech_stands_out_of_its_background() -> None:
    context = np.array([-70.0] * 50 + [-25.0] * 50, np.float32)
    assert -70 < threshold(context) < -50


def test_a_loud_voice_does_not_hide_a_quiet_one() -> None:
    context = np.array([-60.0] * 40 + [-42.0] * 30 + [-5.0] * 30, np.float32)
    assert threshold(context) < -42


def test_steady_loud_sound_is_active_but_for_its_pauses() -> None:
    context = np.array([-20.0] * 95 + [-60.0] * 5, np.float32)
    assert -60 < threshold(context) < -25


def test_steady_quiet_sound_is_background_that_a_word_stands_out_of() -> None:
    context = np.array([-58.0] * 97 + [-40.0] * 3, np.float32)
    assert -58 < threshold(context) < -40


def test_hiss_is_never_active() -> None:
    assert threshold(np.full(100, -70, np.float32)) == FLOOR > -70
    assert threshold(np.empty(0, np.float32)) == FLOOR


def test_silences_are_the_runs_that_are_not_active() -> None:
    assert silences(np.array([0, 0, 1, 0, 1, 1, 0], bool)) == [(0, 2), (3, 4), (6, 7)]
    assert silences(np.array([1, 1], bool)) == []
    assert silences(np.array([0], bool)) == [(0, 1)]


def test_the_quietest_place_is_60_ms_wide() -> None:
    sound = np.array([-10, -90, -12, -5, -40, -45, -40, -10], np.float32)
    assert quietest(sound, 0, 8) == 5
    assert quietest(sound, 0, 4) == 1
    assert quietest(sound, 6, 8) == 6
