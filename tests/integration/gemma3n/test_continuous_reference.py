"""Static batches, the reference, are exact too, and what would make them inexact is known."""

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.engines.gemma3n.clip_ends import ends, kept_ends
from pipeline.engines.gemma3n.encoders import collate
from pipeline.engines.gemma3n.sequences import Clip
from pipeline.engines.gemma3n.static import StaticDecoder
from pipeline.errors import PermanentError
from pipeline.job import SAMPLE_RATE
from tests.integration.gemma3n.mixed import Case, extracted

BATCH = 5
FRAMES_497 = (496 * 160 + 513) / SAMPLE_RATE  # seconds; a frame is 160 samples apart, the first needs 513


def test_a_static_batch_gives_each_sequence_its_tokens_and_refuses_the_bad_one(
    loaded: tuple[Any, Any], few: list[Case]
) -> None:
    cases = few
    static = StaticDecoder(loaded[0])
    for start in range(0, len(cases), BATCH):
        batch = [case.sequence for case in cases[start : start + BATCH]]
        empty = Case(batch[0], ()).named("empty").sequence
        empty.ids = empty.ids[:0]
        refused, *outcomes = static.generate([empty, *batch])
        assert isinstance(refused, PermanentError)
        assert [one.tokens for one in outcomes] == [case.expected for case in cases[start : start + BATCH]]
    useful = sum(len(case.expected) - 1 for case in cases)
    assert static.counters.useful == useful < static.counters.row_steps


def sound(seconds: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def soft_tokens(model: Any, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Soft tokens of the first clip, shape (tokens, hidden)."""
    with torch.inference_mode():
        heard = model.model.get_audio_features(features, ~mask, return_dict=True)
    return heard.pooler_output[0][~heard.audio_mel_mask[0]]


def test_the_feature_extractors_own_padding_makes_a_short_clip_another_one(loaded: tuple[Any, Any]) -> None:
    model, processor = loaded
    waves = [sound(0.5), sound(5)]
    together = processor.feature_extractor(waves, return_tensors="pt")
    short, long = extracted(processor, waves)
    alone = soft_tokens(model, *collate([short]))
    with kept_ends(model.model.audio_tower, [short.num_frames, long.num_frames]):
        collated = soft_tokens(model, *collate([short, long]))
    padded = soft_tokens(model, together["input_features"], together["input_features_mask"])
    assert torch.allclose(collated, alone, atol=1e-5)
    assert padded.shape != alone.shape or not torch.allclose(padded, alone, atol=1e-3)


@pytest.mark.parametrize("num_frames", range(33, 49))  # every way to end within a soft token of 16 frames
def test_a_clip_keeps_its_end_beside_a_longer_one(loaded: tuple[Any, Any], num_frames: int) -> None:
    model, _ = loaded
    generator = torch.Generator().manual_seed(num_frames)
    short, long = (
        Clip(torch.randn(frames, 128, generator=generator) - 5, torch.ones(frames, dtype=torch.bool))
        for frames in (num_frames, 300)
    )
    alone = soft_tokens(model, *collate([short]))
    with kept_ends(model.model.audio_tower, [num_frames, 300]):
        together = soft_tokens(model, *collate([short, long]))
    assert torch.allclose(together, alone, atol=1e-5)
    leaking = soft_tokens(model, *collate([short, long]))
    is_last_place_used = (num_frames - 1) % 16 < 4
    assert is_last_place_used or torch.allclose(leaking, alone, atol=1e-5)


def test_without_kept_ends_some_clips_differ(loaded: tuple[Any, Any]) -> None:
    model, processor = loaded
    clips = extracted(processor, [sound(FRAMES_497), sound(8)])
    assert clips[0].num_frames == 497  # one frame into its last soft token
    alone = soft_tokens(model, *collate(clips[:1]))
    assert not torch.allclose(soft_tokens(model, *collate(clips)), alone, atol=1e-3)


def test_the_clips_of_one_sequence_end_with_its_longest(few: list[Case]) -> None:
    sequences = [case.sequence for case in few]
    frames = [[clip.num_frames for clip in one.clips] for one in sequences]
    assert ends(sequences) == [max(some) for some in frames for _ in some]
    assert len(frames[-1]) == 2
