from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.media.sound.levels import NEVER, pause_frames
from pipeline.media.sound.packing import Gap, Heard, Voice, next_clip, unvoiced

LIMIT = 1500  # frames, 30 s
CLEAR, NOISY = 10, 20


def heard(*runs: int, needed: int = NOISY) -> Heard:
    """Runs of frames in turn: somebody speaks, nobody does, somebody speaks ..."""
    active = np.concatenate([np.full(frames, number % 2 == 0) for number, frames in enumerate(runs)])
    level = np.where(active, -20, -60).astype(np.float32)
    return Heard(active, level, np.full(len(active), needed, np.int16))


def nobody_at(*places: int, width: int = 40) -> tuple[Voice, list[Gap]]:
    """A detector that hears nobody around some places, and the list of what it was asked about."""
    asked: list[Gap] = []

    def voice(first: int, end: int) -> NDArray[np.float32]:
        asked.append((first, end))
        frames = np.arange(first, end)
        silent = np.any([np.abs(frames - place) <= width // 2 for place in places], axis=0) if places else frames < 0
        return np.where(silent, 0.05, 0.9).astype(np.float32)

    return voice, asked


def silent_detector(first: int, end: int) -> NDArray[np.float32]:
    pytest.fail(f"the detector was asked about {first} to {end}")


def test_a_pause_beyond_doubt_near_the_end_needs_no_detector() -> None:
    found = next_clip(heard(1300, 30, 2000), LIMIT, silent_detector, is_last=False)
    assert found == (0, 1315)


def test_a_short_silence_in_noise_is_no_pause_but_in_clear_sound_it_is() -> None:
    voice, _ = nobody_at(1400)
    assert next_clip(heard(1300, 15, 2000), LIMIT, voice, is_last=False) == (0, pytest.approx(1400, abs=15))
    assert next_clip(heard(1300, 15, 2000, needed=CLEAR), LIMIT, silent_detector, is_last=False) == (0, 1307)


def test_where_levels_never_tell_the_detector_decides() -> None:
    voice, _ = nobody_at(1100, 1420)
    found = next_clip(heard(800, 400, 2000, needed=NEVER), LIMIT, voice, is_last=False)
    assert found is not None
    assert abs(found[1] - 1420) <= 15


def test_an_early_pause_beyond_doubt_is_better_than_a_place_that_is_not() -> None:
    everywhere, _ = nobody_at()
    assert next_clip(heard(600, 30, 2500), LIMIT, everywhere, is_last=False) == (0, 615)


def test_without_a_detector_any_silence_is_taken_and_then_the_quietest_place() -> None:
    assert next_clip(heard(1300, 12, 2000), LIMIT, None, is_last=False) == (0, 1306)
    sound = heard(3300)
    sound.level[1234] = -40
    assert next_clip(sound, LIMIT, None, is_last=False) == (0, pytest.approx(1234, abs=1))


def test_nothing_is_decided_before_the_clip_after_it_is_known() -> None:
    sound = heard(1300, 30, 1500)
    assert next_clip(sound, LIMIT, silent_detector, is_last=False) is None
    assert next_clip(sound, LIMIT, silent_detector, is_last=True) is not None


def test_the_longest_pause_is_taken_of_those_that_cost_no_clip() -> None:
    # The clip after this one can end at 2530 at the latest, wherever in [1050, 1500] it begins.
    sound = heard(1060, 60, 300, 25, 1085, 25, 2000)
    assert next_clip(sound, LIMIT, silent_detector, is_last=False) == (0, 1085)
    # Here it would end 100 frames earlier if it began that early.
    sound = heard(960, 60, 400, 25, 1000, 25, 120, 25, 2000)
    assert next_clip(sound, LIMIT, silent_detector, is_last=False) == (0, 1432)


def test_looking_ahead_never_costs_a_clip() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        runs = [int(frames) for frames in rng.integers((50, 20), (250, 60), (60, 2)).ravel()]
        assert len(clips(runs)) <= len(greedy(runs))


def clips(runs: list[int]) -> list[Gap]:
    found, base, sound = [], 0, heard(*runs)
    while clip := next_clip(sound, LIMIT, silent_detector, is_last=True):
        found.append((base + clip[0], base + clip[1]))
        base += clip[1]
        sound = Heard(sound.active[clip[1] :], sound.level[clip[1] :], sound.needed[clip[1] :])
    return found


def greedy(runs: list[int]) -> list[int]:
    """Where clips end that take all that fits."""
    edges = np.cumsum([0, *runs])
    speech = [(int(first), int(end)) for first, end in list(pairwise(edges))[::2]]
    ends, start = [], None
    for first, end in speech:
        if start is None or end + 10 > start + LIMIT:
            start = max(0, first - 25)
            ends.append(first)
    return ends


def test_a_clip_has_a_margin_that_is_wider_in_noise() -> None:
    for needed, margin in ((CLEAR, 10), (NOISY, 25)):
        sound = Heard(
            *(np.roll(array, 100) for array in (heard(300, 300).active, heard(300, 300).level)),
            np.full(600, needed, np.int16),
        )
        assert next_clip(sound, LIMIT, silent_detector, is_last=True) == (100 - margin, 400 + margin)


def test_the_detector_listens_no_further_than_it_must() -> None:
    voice, asked = nobody_at(950)
    place, loudest = unvoiced(voice, 0, 1000, 1100)
    assert abs(place - 950) <= 15
    assert loudest == pytest.approx(0.05)
    assert asked == [(793, 1007)]


def test_of_places_where_someone_is_heard_the_least_likely_one_is_taken() -> None:
    def voice(first: int, end: int) -> NDArray[np.float32]:
        return np.where(np.abs(np.arange(first, end) - 300) <= 20, 0.4, 0.9).astype(np.float32)

    place, loudest = unvoiced(voice, 0, 1000, 1000)
    assert abs(place - 300) <= 15
    assert loudest == pytest.approx(0.4)


def test_in_music_a_clip_ends_late() -> None:
    def voice(first: int, end: int) -> NDArray[np.float32]:
        return np.zeros(end - first, np.float32)

    found = next_clip(heard(3300, needed=NEVER), LIMIT, voice, is_last=False)
    assert found is not None
    assert found[1] >= LIMIT - 15


@pytest.mark.parametrize(
    ("background", "speech", "frames"),
    [(-70, -20, 10), (-50, -20, 20), (-30, -20, NEVER), (-20, -20, 10), (-60, -58, 20), (-90, -90, 10)],
    ids=["clear", "noise", "loud noise", "steady loud sound", "steady quiet sound", "silence"],
)
def test_the_less_speech_stands_out_the_longer_a_silence_must_be(background: int, speech: int, frames: int) -> None:
    assert pause_frames(np.array([background] * 50 + [speech] * 50, np.float32)) == frames
    assert pause_frames(np.empty(0, np.float32)) == NEVER
