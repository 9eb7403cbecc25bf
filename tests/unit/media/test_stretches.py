from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.media.pieces import stretches
from pipeline.payload import Frame

Stretches = list[tuple[float | None, list[float]]]


def divided(times: list[float], start: float = 0.0, most: int = 3, clip_seconds: float = 10.0) -> Stretches:
    frames = [Frame(time, b"") for time in times]
    found = stretches(frames, start, most, clip_seconds)
    return [(end, [frame.time for frame in held]) for end, held in found]


def test_a_stretch_ends_before_the_frame_that_is_one_too_many() -> None:
    assert divided([0, 1, 2, 3, 4]) == [(3, [0, 1, 2]), (None, [3, 4])]


def test_a_stretch_is_no_longer_than_a_clip_of_sound() -> None:
    assert divided([0, 4, 8, 12, 16], most=9) == [(10, [0, 4, 8]), (None, [12, 16])]


def test_there_may_be_nothing_to_see_for_long() -> None:
    assert divided([25, 26], start=1.5) == [(11.5, []), (21.5, []), (None, [25, 26])]
    assert divided([]) == [(None, [])]


@example(ticks=[264, 265], most=1, clip_seconds=0.6)
@given(st.lists(st.integers(0, 400), unique=True), st.integers(1, 8), st.floats(0.5, 30))
def test_every_frame_lies_in_its_stretch(ticks: list[int], most: int, clip_seconds: float) -> None:
    times = [tick / 10 for tick in sorted(ticks)]
    found = divided(times, 0.0, most, clip_seconds)
    assert [time for _, held in found for time in held] == times
    ends = [0.0, *(end for end, _ in found if end is not None)]
    assert all(0 < end - start <= clip_seconds + 1e-5 for start, end in pairwise(ends))
    for start, (end, held) in zip(ends, found, strict=True):
        assert len(held) <= most
        assert all(start <= time and (end is None or time < end) for time in held)
