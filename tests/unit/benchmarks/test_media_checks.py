"""What the benchmarks of media take for the same work: samples, and the frames after cuts."""

import numpy as np
import pytest

from tests.benchmarks.audio_prepare import refuse_other_samples
from tests.benchmarks.video_files import FULL_HD, ULTRA_HD
from tests.benchmarks.video_sampling import scenes

RATE = 16_000
SECONDS = 60


def spoken() -> "np.ndarray[tuple[int, ...], np.dtype[np.int16]]":
    """Syllables of a voice, four a second."""
    times = np.arange(SECONDS * RATE) / RATE
    tone = sum(np.sin(2 * np.pi * 130 * number * times + number) for number in range(1, 12))
    return np.asarray(1500 * tone * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * times)), np.int16)


def pieces(sound: "np.ndarray[tuple[int, ...], np.dtype[np.int16]]", *, cut: int) -> list[bytes]:
    return [sound[:cut].tobytes(), sound[cut:].tobytes()]


def test_samples_that_are_rounded_otherwise_are_the_same() -> None:
    sound = spoken()
    rounded = sound + (np.arange(len(sound)) % 5000 == 0)
    refuse_other_samples(sound.tobytes(), pieces(rounded.astype(np.int16), cut=7 * RATE))


def test_a_window_that_begins_a_sample_late_is_not() -> None:
    sound = spoken()
    late = np.concatenate([sound[: 50 * RATE], sound[50 * RATE + 1 :], sound[-1:]])
    with pytest.raises(SystemExit, match="other samples"):
        refuse_other_samples(sound.tobytes(), pieces(late, cut=50 * RATE))


def test_a_hole_of_ten_milliseconds_is_not() -> None:
    sound = spoken()
    sound[RATE : RATE + RATE // 100] = 0
    with pytest.raises(SystemExit, match="other samples"):
        refuse_other_samples(spoken().tobytes(), pieces(sound, cut=7 * RATE))


def test_a_sample_too_few_or_too_many_is_not() -> None:
    sound = spoken()
    with pytest.raises(SystemExit, match="cannot be compared"):
        refuse_other_samples(sound.tobytes(), pieces(sound[:-1], cut=7 * RATE))
    with pytest.raises(SystemExit, match="hold more than"):
        refuse_other_samples(sound[:-1].tobytes(), pieces(sound, cut=7 * RATE))


def test_scenes_are_the_cuts_that_were_planted_and_a_frame_of_each_half_minute() -> None:
    assert scenes(FULL_HD) == [0.0, 25.0, 30.0, 50.0, 60.0]
    assert scenes(ULTRA_HD) == [0.0, 5.0, 10.0, 15.0]
