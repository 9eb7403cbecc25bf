"""The first stage: each tower learns to see or hear alone, under a head that is thrown away.

Without it the language model would have to learn from noise. The audio head spells the words along the soft tokens
(CTC); the vision head names colour and shape in the cell where a thing's centre lies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import Gemma3nForConditionalGeneration

from tests.tiny.augment import jittered, soft_tokens, spliced, stacked_frames
from tests.tiny.data import Pixels, Speech
from tests.tiny.initial import TRAINED, initial_model
from tests.tiny.log import Log
from tests.tiny.schedule import Steps
from tests.tiny.world import COLOURS, DIGITS, SHAPES

#: Parameters that belong to a tower, by the beginning of their names; the rest is the language model's.
AUDIO_TOWER = ("model.audio_tower.", "model.embed_audio.soft_embedding_norm", "model.embed_audio.embedding_projection")
VISION_TOWER = (
    "model.vision_tower.",
    "model.embed_vision.soft_embedding_norm",
    "model.embed_vision.embedding_projection",
)
_POOL = 8  # batches whose clips are sorted by length together
_LOG_EVERY = 50

State = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerCourse:
    """How a tower is trained."""

    steps: int
    rate: float
    batch: int = 32
    seed: int = 0


def train_audio_tower(course: TowerCourse, speech: Sequence[Speech], quiet: Sequence[Speech], log: Log) -> State:
    """Parameters of the audio tower by name."""
    model = _only(AUDIO_TOWER, course.seed)
    head = nn.Linear(TRAINED.hidden, 1 + len(DIGITS))
    steps = Steps([*model.parameters(), *head.parameters()], course.rate, course.steps)
    batches = clip_batches(speech, quiet, course.batch, course.seed)
    for step in range(1, course.steps + 1):
        clips = next(batches)
        frames, valid = stacked_frames(clips)
        heard = head(model.model.get_audio_features(frames, ~valid).pooler_output)
        lengths = soft_tokens(valid)
        steps.take(_spelling_loss(heard, lengths, clips))
        if step % _LOG_EVERY == 0:
            right = [spelt == _labels(clip) for spelt, clip in zip(_spelt(heard, lengths), clips, strict=True)]
            log.write(tower="audio", step=step, exact=round(float(np.mean(right)), 3))
    return _parameters(model, AUDIO_TOWER)


def train_vision_tower(course: TowerCourse, pictures: Sequence[Pixels], log: Log) -> State:
    """Parameters of the vision tower by name."""
    model = _only(VISION_TOWER, course.seed)
    head = nn.Linear(TRAINED.hidden, 2 + len(COLOURS) + len(SHAPES))
    steps = Steps([*model.parameters(), *head.parameters()], course.rate, course.steps)
    rng = np.random.default_rng(course.seed)
    right: list[float] = []
    for step in range(1, course.steps + 1):
        chosen = [pictures[index] for index in rng.integers(len(pictures), size=course.batch)]
        pixels, colours, shapes = _cells(chosen, rng)
        seen = head(model.model.get_image_features(pixels).pooler_output)
        colour_scores, shape_scores = seen.split([1 + len(COLOURS), 1 + len(SHAPES)], -1)
        losses = [
            functional.cross_entropy(scores.flatten(0, 1), labels.flatten())
            for scores, labels in ((colour_scores, colours), (shape_scores, shapes))
        ]
        steps.take(losses[0] + losses[1])
        named = (colour_scores.argmax(-1) == colours) & (shape_scores.argmax(-1) == shapes)
        right.append(float(named.all(-1).float().mean()))
        if step % _LOG_EVERY == 0:
            log.write(tower="vision", step=step, exact=round(float(np.mean(right[-_LOG_EVERY:])), 3))
    return _parameters(model, VISION_TOWER)


def clip_batches(speech: Sequence[Speech], quiet: Sequence[Speech], size: int, seed: int) -> Iterator[Sequence[Speech]]:
    """Endless batches of spliced clips, clips of like length together."""
    rng = np.random.default_rng(seed)
    while True:
        pool = [spliced(speech, quiet, rng) for _ in range(_POOL * size)]
        pool.sort(key=lambda clip: len(clip.frames))
        for start in rng.permutation(_POOL) * size:
            yield pool[start : start + size]


def _only(prefixes: tuple[str, ...], seed: int) -> Gemma3nForConditionalGeneration:
    """An initial model of which only the named parameters learn."""
    model = initial_model(seed)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(prefixes)
    return model


def _parameters(model: Gemma3nForConditionalGeneration, prefixes: tuple[str, ...]) -> State:
    state: dict[str, Any] = model.state_dict()
    return {name: tensor.detach().clone() for name, tensor in state.items() if name.startswith(prefixes)}


def _labels(clip: Speech) -> list[int]:
    """Numbers of the words; 0 is the blank of CTC."""
    return [1 + DIGITS.index(word) for word in clip.words]


def _spelling_loss(heard: torch.Tensor, lengths: torch.Tensor, clips: Sequence[Speech]) -> torch.Tensor:
    labels = torch.tensor([label for clip in clips for label in _labels(clip)], dtype=torch.long)
    counts = torch.tensor([len(clip.words) for clip in clips])
    scores = heard.log_softmax(-1).transpose(0, 1)
    return functional.ctc_loss(scores, labels, lengths, counts, zero_infinity=True)


def _spelt(heard: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
    """The best path of each clip, without repeats and blanks."""
    paths = [torch.unique_consecutive(row[:length]) for row, length in zip(heard.argmax(-1), lengths, strict=True)]
    return [path[path > 0].tolist() for path in paths]


def _cells(pictures: Sequence[Pixels], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels of jittered pictures; and the number of the colour and of the shape in each cell, 0 for none."""
    grid = TRAINED.grid
    colours = torch.zeros(len(pictures), grid * grid, dtype=torch.long)
    shapes = torch.zeros_like(colours)
    images = []
    for row, picture in enumerate(pictures):
        image, cells = jittered(picture, rng)
        images.append(image)
        for item, (down, right) in zip(picture.placed, cells, strict=True):
            colours[row, down * grid + right] = 1 + list(COLOURS).index(item.thing.colour)
            shapes[row, down * grid + right] = 1 + SHAPES.index(item.thing.shape)
    return torch.from_numpy(np.stack(images)), colours, shapes
