import numpy as np
import pytest

from pipeline.job import Window
from pipeline.media.sound.audio import missing_until
from pipeline.media.windows import nominal_borders, place_border


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0.0, ()),
        (900.0, ()),
        (901.0, (450,)),
        (1800.0, (600, 1200)),
        (3601.0, (514, 1029, 1543, 2058, 2572, 3087)),
    ],
)
def test_borders_are_even_and_a_rest_is_no_window_of_its_own(length: float, expected: tuple[int, ...]) -> None:
    assert nominal_borders(length, 600) == expected


def sound(*pieces: tuple[float, float]) -> bytes:
    """Noise: (seconds, level) pieces one after the other."""
    rng = np.random.default_rng(0)
    samples = np.concatenate([rng.normal(0, level, round(seconds * 16_000)) for seconds, level in pieces])
    return np.clip(samples * 32767, -32768, 32767).astype("<i2").tobytes()


def test_a_border_goes_to_the_middle_of_the_longest_silence() -> None:
    assert place_border(sound((2, 0.1), (0.4, 0.0001), (3, 0.1), (0.8, 0.0001), (3.8, 0.1))) == pytest.approx(
        5.8, abs=0.03
    )


def test_of_equal_silences_the_nearest_to_the_middle_wins() -> None:
    pieces = [(1, 0.1), (0.5, 0.0), (3, 0.1), (0.5, 0.0), (5, 0.1)]
    assert place_border(sound(*pieces)) == pytest.approx(4.75, abs=0.03)
    assert place_border(sound(*reversed(pieces))) == pytest.approx(5.25, abs=0.03)


def test_without_a_silence_a_border_goes_to_the_quietest_place() -> None:
    assert place_border(sound((4, 0.1), (0.1, 0.07), (5.9, 0.1))) == pytest.approx(4.05, abs=0.05)


def test_in_silence_a_border_stays_where_it_is() -> None:
    assert place_border(bytes(2 * 160_000)) == 5.0


@pytest.mark.parametrize(
    ("start", "end", "decoded", "promised", "expected"),
    [
        (0.0, None, 20.1, 60.0, 60.0),  # cut off
        (0.0, None, 59.5, 60.0, None),  # a little short: encoders differ
        (0.0, None, 61.0, 60.0, None),
        (0.0, None, 20.1, None, None),  # nothing was promised
        (0.0, 30.0, 30.0, 60.0, None),
        (0.0, 30.0, 20.1, 60.0, 30.0),  # the next window tells of the rest
        (30.0, 60.0, 30.0, 90.0, 60.0),  # after the real end
        (30.0, None, 30.0, 25.0, None),  # nothing was promised there
    ],
)
def test_what_is_promised_and_not_there_is_missing(
    start: float, end: float | None, decoded: float, promised: float | None, expected: float | None
) -> None:
    assert missing_until(Window(index=0, start=start, end=end), decoded, promised) == expected
