from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.media.sound.channels import ChannelSegmenter, is_same
from pipeline.media.sound.cutting import Segmenter, SpeechClip

RATE = 16_000
Sound = NDArray[np.int16]


def bursts(*times: tuple[float, float], seconds: float, seed: int = 0) -> Sound:
    """Noise from one time to another, on a quiet background."""
    rng = np.random.default_rng(seed)
    level = np.full(round(seconds * RATE), 0.0003)
    for start, end in times:
        level[round(start * RATE) : round(end * RATE)] = 0.1
    return np.round(np.clip(rng.normal(0, level), -1, 1) * 32767).astype("<i2")


def cut(*channels: Sound, chunk: int = 40_001, clip_seconds: float = 30) -> list[SpeechClip]:
    segmenter = ChannelSegmenter(5.0, clip_seconds, len(channels))
    data = np.stack(channels, axis=1).tobytes()
    clips = [clip for at in range(0, len(data), chunk) for clip in segmenter.feed(data[at : at + chunk])]
    return [*clips, *segmenter.finish()]


def places(clips: list[SpeechClip]) -> list[tuple[int | None, float, float]]:
    return [(clip.channel, clip.start, clip.end) for clip in clips]


def test_each_channel_is_cut_by_itself_with_true_times() -> None:
    one = bursts((1, 4), (9, 11), seconds=60, seed=1)
    two = bursts((5, 9), (50, 55), seconds=60, seed=2)
    clips = cut(one, two)
    assert places(clips) == [
        (1, pytest.approx(5.8, abs=0.03), pytest.approx(16.2, abs=0.03)),
        (2, pytest.approx(9.8, abs=0.03), pytest.approx(14.2, abs=0.03)),
        (2, pytest.approx(54.8, abs=0.03), pytest.approx(60.2, abs=0.03)),
    ]
    alone = Segmenter(5.0, 30)
    assert [clip.pcm for clip in clips if clip.channel == 2] == [
        clip.pcm for clip in (*alone.feed(two.tobytes()), *alone.finish())
    ]


def test_the_same_sound_in_two_channels_is_given_once() -> None:
    one = bursts((1, 4), (50, 55), seconds=60)
    assert places(cut(one, one)) == places(cut(one))
    nearly = one + np.random.default_rng(9).normal(0, 150, len(one)).astype("<i2") * (np.abs(one) > 100)
    for same in (nearly, one // 2, -one):
        assert {clip.channel for clip in cut(one, same)} == {1}


def test_other_sound_at_the_same_time_is_given_too() -> None:
    one, two = (bursts((1, 4), seconds=10, seed=seed) for seed in (1, 2))
    assert [clip.channel for clip in cut(one, two)] == [1, 2]
    mixed = (one // 2 + two // 2).astype("<i2")
    assert [clip.channel for clip in cut(one, mixed)] == [1, 2]


def test_what_only_one_of_three_channels_shares_is_told_apart() -> None:
    one, two = bursts((1, 4), seconds=10, seed=1), bursts((6, 8), seconds=10, seed=2)
    assert [clip.channel for clip in cut(one, two, one)] == [1, 2]


def test_one_channel_is_channel_one() -> None:
    assert [clip.channel for clip in cut(bursts((1, 4), seconds=10))] == [1]


def test_a_channel_in_which_nobody_speaks_gives_nothing() -> None:
    assert {clip.channel for clip in cut(np.zeros(10 * RATE, "<i2"), bursts((1, 4), seconds=10))} == {2}
    assert cut(np.zeros(0, "<i2"), np.zeros(0, "<i2")) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400_000), min_size=1, max_size=4), st.integers(0, 3))
def test_clips_and_their_order_do_not_depend_on_the_chunks(chunks: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.uniform(0.4, 6, 24))
    times = [(float(a), float(b)) for a, b in list(pairwise(edges))[::2]]
    seconds = float(edges[-1] + 1)
    one, two = (bursts(*times[number::2], seconds=seconds, seed=number) for number in (0, 1))
    whole = cut(one, two, chunk=10**9, clip_seconds=10)
    assert all(cut(one, two, chunk=chunk, clip_seconds=10) == whole for chunk in chunks if chunk > 500)


def test_clips_are_the_same_only_at_the_same_time() -> None:
    pcm = bursts((0, 1), seconds=1).tobytes()
    clip = SpeechClip(1.0, 2.0, pcm)
    assert is_same(clip, SpeechClip(1.0, 2.0, pcm, 2))
    assert not is_same(clip, SpeechClip(1.05, 2.05, pcm))
    assert not is_same(clip, SpeechClip(9.0, 10.0, pcm))
    assert is_same(clip, SpeechClip(1.1, 1.9, pcm[2 * RATE // 10 : -2 * RATE // 10]))


@pytest.mark.parametrize("delay", [1, 80, 320])
@pytest.mark.parametrize("is_first_late", [False, True])
def test_the_same_sound_a_little_later_is_given_once_and_with_the_first_channel(
    delay: int, is_first_late: bool
) -> None:
    one = bursts((1, 4), (9, 12), (50, 55), (60, 70), seconds=75)
    late = np.concatenate([np.zeros(delay, "<i2"), one[:-delay]])
    channels = (late, one) if is_first_late else (one, late)
    assert places(cut(*channels)) == places(cut(channels[0]))


def test_the_same_sound_in_the_next_step_is_given_once() -> None:
    """A clip is known for certain some time after its end: of one channel a step before the other."""
    for end in np.arange(3.0, 13.0, 0.25):
        one = bursts((1, float(end)), seconds=60)
        late = np.concatenate([np.zeros(300, "<i2"), one[:-300]])
        assert {clip.channel for clip in (*cut(one, late), *cut(late, one))} == {1}


def test_the_same_sound_much_later_is_other_sound() -> None:
    one = bursts((1, 4), seconds=10)
    late = np.concatenate([np.zeros(RATE // 10, "<i2"), one[: -RATE // 10]])
    assert [clip.channel for clip in cut(one, late)] == [1, 2]
