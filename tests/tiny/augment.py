"""Cheap variations of stored samples, drawn anew each time one is used in training."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tests.tiny.architecture import PIXELS_PER_CELL
from tests.tiny.data import Pixels, Speech
from tests.tiny.initial import TRAINED

#: Mel frames of the longest clip: 16 for each soft token.
MOST_FRAMES = TRAINED.audio_tokens * 16 - 3
MOST_WORDS = 10
#: What the extractor gives for a frame without sound: the logarithm of its floor.
FLOOR = float(np.log(1e-5))

_MOST_SHIFT = 3  # pixels


def spliced(speech: Sequence[Speech], quiet: Sequence[Speech], rng: np.random.Generator) -> Speech:
    """One to three clips in a row at levels of their own, sometimes a pause among them, sometimes without high tones.

    The high tones are missing in what was once sampled at 8 to 15 kHz.
    """
    wanted = 1 + int(rng.integers(0, 3)) if rng.random() < 0.5 else 1
    frames: list[NDArray[np.float32]] = []
    words: tuple[str, ...] = ()
    for _ in range(wanted):
        pool = quiet if rng.random() < 0.08 else speech
        clip = pool[int(rng.integers(len(pool)))]
        too_long = sum(map(len, frames)) + len(clip.frames) > MOST_FRAMES
        if frames and (too_long or len(words) + len(clip.words) > MOST_WORDS):
            break
        level = rng.uniform(-0.7, 0.7)
        frames.append(np.maximum(clip.frames.astype(np.float32) + level, FLOOR))
        words += clip.words
    whole = np.concatenate(frames)
    if rng.random() < 0.2:
        whole[:, int(rng.integers(88, 126)) :] = FLOOR
    return Speech(whole, words)


def jittered(picture: Pixels, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The picture moved by a few pixels and a little brighter or darker, and its cells.

    Returns float32 (3, H, W) in [0, 1]; and int64 (things, 2), the row and column of the cell of each thing.
    """
    down, right = (int(shift) for shift in rng.integers(-_MOST_SHIFT, _MOST_SHIFT + 1, 2))
    moved = np.roll(picture.values, (down, right), (1, 2)).astype(np.float32) / 255
    grid, side = TRAINED.grid, TRAINED.grid * PIXELS_PER_CELL
    centres = [(item.y + down / side, item.x + right / side) for item in picture.placed]
    cells = np.array(centres, np.float32).reshape(-1, 2) * grid
    return np.clip(moved * rng.uniform(0.9, 1.1), 0, 1).astype(np.float32), cells.astype(np.int64)


def stacked_frames(clips: Sequence[Speech]) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of clips of different length, float32 (clips, frames, 128) filled with zeros; and True where they are."""
    lengths = torch.tensor([len(clip.frames) for clip in clips])
    frames = torch.zeros(len(clips), int(lengths.max()), 128)
    for row, clip in zip(frames, clips, strict=True):
        row[: len(clip.frames)] = torch.from_numpy(np.asarray(clip.frames, np.float32))
    return frames, torch.arange(frames.shape[1])[None] < lengths[:, None]


def soft_tokens(valid: torch.Tensor) -> torch.Tensor:
    """Soft tokens of each clip, from the mask of its frames."""
    return (valid.sum(1) + 15) // 16
