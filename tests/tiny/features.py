"""What the trained towers make of the training samples, computed once: the language model learns from nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tests.tiny.augment import jittered, soft_tokens, stacked_frames
from tests.tiny.data import Pixels, Speech
from tests.tiny.initial import TRAINED, initial_model
from tests.tiny.towers import State, clip_batches
from tests.tiny.world import Scene

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Features:
    """Soft tokens, float16: clips (clips, audio tokens, hidden) with lengths, pictures (pictures, cells, hidden)."""

    clips: torch.Tensor
    lengths: torch.Tensor
    words: list[tuple[str, ...]]
    pictures: torch.Tensor
    scenes: list[Scene]


@torch.inference_mode()
def compute_features(
    towers: State, speech: Sequence[Speech], quiet: Sequence[Speech], pictures: Sequence[Pixels], clips: int, seed: int
) -> Features:
    """Features of `clips` spliced clips, and of every picture once."""
    model = initial_model(seed).eval()
    model.load_state_dict(towers, strict=False)
    heard, lengths, words = [], [], []
    batches = clip_batches(speech, quiet, _BATCH, seed + 1)
    for _ in range(clips // _BATCH):
        batch = next(batches)
        frames, valid = stacked_frames(batch)
        tokens = model.model.get_audio_features(frames, ~valid).pooler_output
        missing = TRAINED.audio_tokens - tokens.shape[1]
        heard.append(torch.nn.functional.pad(tokens, (0, 0, 0, missing)).half())
        lengths.append(soft_tokens(valid))
        words += [clip.words for clip in batch]
    rng = np.random.default_rng(seed)
    seen = []
    for start in range(0, len(pictures), _BATCH):
        images = [jittered(picture, rng)[0] for picture in pictures[start : start + _BATCH]]
        seen.append(model.model.get_image_features(torch.from_numpy(np.stack(images))).pooler_output.half())
    scenes = [picture.scene for picture in pictures]
    return Features(torch.cat(heard), torch.cat(lengths), words, torch.cat(seen), scenes)
