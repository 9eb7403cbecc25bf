from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.media.sound.cutting import Segmenter, SpeechClip

RATE = 16_000
LOUD, BACKGROUND = 0.1, 0.001
Piece = tuple[float, float]  # seconds, level


def sound(*pieces: Piece, seed: int = 0) -> NDArray[np.int16]:
    """Noise, (seconds, level) one after the other, on a background of -60 dBFS."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(0, max(level, 1e-9), round(seconds * RATE)) for seconds, level in pieces]
    return np.clip(np.concatenate(parts) * 32767, -32768, 32767).astype("<i2")


def cut(
    samples: NDArray[np.int16], clip_seconds: float = 30, start: float = 0.0, chunk: int = 50_001
) -> list[SpeechClip]:
    segmenter = Segmenter(start, clip_seconds)
    data = samples.tobytes()
    clips = [clip for at in range(0, len(data), chunk) for clip in segmenter.feed(data[at : at + chunk])]
    return [*clips, *segmenter.finish()]


def speech(*lengths: float, gap: float) -> list[Piece]:
    return [piece for length in lengths for piece in ((length, LOUD), (gap, BACKGROUND))]


def times(clips: list[SpeechClip]) -> list[float]:
    return [time for clip in clips for time in (clip.start, clip.end)]


def check(clips: list[SpeechClip], samples: NDArray[np.int16], clip_seconds: float, start: float = 0.0) -> None:
    """What holds for any sound: order, bounds, lengths, and that a clip's bytes are the sound at its times."""
    total = len(samples) / RATE
    for clip in clips:
        first, end = round((clip.start - start) * RATE), round((clip.end - start) * RATE)
        assert 0 <= first < end <= len(samples) + 8  # a time is rounded to the millisecond
        assert clip.pcm == samples[first:end].tobytes() or abs(len(clip.pcm) // 2 - (end - first)) <= 8
        assert clip.pcm[:320] == samples[first:].tobytes()[:320]
        assert clip.end - clip.start <= clip_seconds + 1e-6
        assert clip.end - clip.start >= min(0.1, total) - 1e-3
    for one, other in pairwise(clips):
        assert one.end <= other.start + 1e-6


def test_silence_and_hiss_give_no_clip() -> None:
    assert cut(sound((120, 0.0))) == []
    assert cut(sound((120, 10 ** (-70 / 20)))) == []
    assert cut(sound((0.01, 0.0))) == []
    assert list(Segmenter(0, 30).finish()) == []


def test_a_very_short_sound_is_one_clip() -> None:
    (clip,) = cut(sound((0.2, LOUD)))
    assert (clip.start, clip.end, len(clip.pcm)) == (0.0, 0.2, 6400)
    (clip,) = cut(sound((0.05, LOUD)))
    assert (clip.start, clip.end) == (0.0, 0.05)


def test_long_silence_is_dropped_and_a_margin_stays_around_speech() -> None:
    clips = cut(sound((5, BACKGROUND), (3, LOUD), (30, BACKGROUND), (2, LOUD), (30, BACKGROUND)))
    assert times(clips) == pytest.approx([4.8, 8.2, 37.8, 40.2], abs=0.021)


def test_speech_is_packed_over_a_silence_while_it_fits() -> None:
    assert len(cut(sound((5, LOUD), (7.9, BACKGROUND), (5, LOUD)))) == 1
    assert len(cut(sound((13, LOUD), (5, BACKGROUND), (14, LOUD)))) == 2


def test_a_silence_of_eight_seconds_ends_a_clip() -> None:
    clips = cut(sound((5, LOUD), (8.1, BACKGROUND), (5, LOUD)))
    assert times(clips) == pytest.approx([0, 5.2, 12.9, 18.1], abs=0.021)


def test_a_clip_ends_in_the_longest_pause_that_costs_no_further_clip() -> None:
    clips = cut(sound(*speech(7, 7, gap=0.3), (7, LOUD), (1.2, BACKGROUND), *speech(6, 14, gap=0.3), (1, LOUD)))
    assert times(clips) == pytest.approx([0, 21.8, 22.6, 44.4], abs=0.021)


def test_a_long_silence_lies_between_clips_when_there_are_two_anyway() -> None:
    clips = cut(sound((14, LOUD), (6, BACKGROUND), *speech(3, 3, 6, gap=0.4)))
    assert times(clips) == pytest.approx([0, 14.2, 19.8, 33], abs=0.021)


def test_speech_is_packed_and_cut_in_the_last_gap_that_fits() -> None:
    clips = cut(sound(*speech(12, 12, 12, 12, gap=0.5)))
    assert times(clips) == pytest.approx([0, 24.7, 24.8, 49.7], abs=0.021)


def test_a_gap_across_the_limit_can_be_cut_in() -> None:
    clips = cut(sound((29.9, LOUD), (0.5, BACKGROUND), (10, LOUD)))
    assert times(clips) == pytest.approx([0, 30, 30.2, 40.4], abs=0.021)


def test_speech_without_a_gap_is_cut_at_the_quietest_place_of_the_last_third() -> None:
    clips = cut(sound((10, LOUD), (0.1, 0.05), (13, LOUD), (0.1, 0.05), (20, LOUD)))
    assert times(clips) == pytest.approx([0, 23.15, 23.15, 43.2], abs=0.06)


def test_steady_sound_is_kept_whole() -> None:
    clips = cut(sound((100, LOUD)))
    assert sum(len(clip.pcm) for clip in clips) == 100 * RATE * 2
    assert all(clip.end - clip.start >= 20 for clip in clips[:-1])


def test_the_rest_after_a_forced_cut_is_no_sliver() -> None:
    for rest in (0.004, 0.02, 0.05, 0.09):
        clips = cut(sound((30 + rest, LOUD)))
        assert clips[-1].end == pytest.approx(30 + rest, abs=0.001)
        assert all(clip.end - clip.start >= 0.1 for clip in clips)


def test_noise_between_speech_is_known_by_what_is_around_it() -> None:
    noise = 10 ** (-40 / 20)
    talk = [(2.0, 0.2), (0.5, noise)] * 12
    clips = cut(sound(*talk, (25, noise), *talk))
    assert not [clip for clip in clips if clip.start < 54 and clip.end > 31]
    assert len(clips) > 1


def test_quiet_speech_after_loud_speech_is_kept() -> None:
    clips = cut(sound(*speech(2, 2, 2, 2, 2, gap=0.5), (5, 0.0003), *((2.0, 0.006), (0.5, 0.0003)) * 3))
    assert clips[-1].end >= 24.5


def test_the_margin_is_kept_after_a_long_stretch_without_speech() -> None:
    noise = 10 ** (-50 / 20)
    (clip,) = cut(sound((95, noise), (3, LOUD), (2, noise), (3, LOUD), (95, noise)))
    assert (clip.start, clip.end) == (pytest.approx(94.5, abs=0.021), pytest.approx(103.5, abs=0.021))


def test_times_are_those_of_the_media() -> None:
    (clip,) = cut(sound((1, BACKGROUND), (2, LOUD), (1, BACKGROUND)), start=596.56)
    assert (clip.start, clip.end) == pytest.approx((597.36, 599.76), abs=0.021)


def test_memory_does_not_grow_with_the_sound() -> None:
    for level in (LOUD, 0.0):
        segmenter = Segmenter(0, 30)
        block = sound((10, level)).tobytes()
        for _ in range(40):
            list(segmenter.feed(block))
            assert len(segmenter._pcm) <= 120 * RATE * 2


PIECES = st.lists(
    st.tuples(st.floats(0.04, 9), st.sampled_from([LOUD, LOUD, 0.02, BACKGROUND, 0.0])), min_size=1, max_size=14
)


@settings(max_examples=60, deadline=None)
@given(PIECES, st.sampled_from([3.0, 10.0, 30.0]), st.integers(0, 5))
def test_any_sound_is_cut_in_order_within_bounds_and_no_loud_frame_is_lost(
    pieces: list[Piece], clip_seconds: float, seed: int
) -> None:
    samples = sound(*pieces, seed=seed)
    clips = cut(samples, clip_seconds)
    check(clips, samples, clip_seconds)
    covered = np.zeros(len(samples), np.int8)
    for clip in clips:
        covered[round(clip.start * RATE) : round(clip.end * RATE)] += 1
    assert covered.max(initial=0) <= 1
    at = 0
    for seconds, level in pieces:
        end = at + round(seconds * RATE)
        if level == LOUD:
            assert covered[at + 320 : end - 320].all()
        at = end


@settings(max_examples=30, deadline=None)
@given(PIECES, st.lists(st.integers(1, 200_000), min_size=1, max_size=5))
def test_the_clips_do_not_depend_on_the_chunks(pieces: list[Piece], chunks: list[int]) -> None:
    samples = sound(*pieces)
    assert all(cut(samples, 10, chunk=chunk) == cut(samples, 10, chunk=10**9) for chunk in chunks if chunk > 500)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.3, 4.5), st.floats(0.25, 3.5)), min_size=1, max_size=25), st.integers(0, 5))
def test_no_word_is_cut_where_gaps_are_near(bursts: list[tuple[float, float]], seed: int) -> None:
    pieces = [piece for length, gap in bursts for piece in ((length, LOUD), (gap, BACKGROUND))]
    samples = sound(*pieces, seed=seed)
    clips = cut(samples, 10)
    check(clips, samples, 10)
    edges = times(clips)
    at = 0.0
    for length, gap in bursts:
        assert not [edge for edge in edges if at + 0.021 < edge < at + length - 0.021]
        at += length + gap
