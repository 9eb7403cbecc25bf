"""Random requests of every kind for a tiny Gemma 3n, and what `model.generate` makes of each of them alone."""

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Gemma3nForConditionalGeneration
from transformers.utils import logging

from pipeline.engines.gemma3n.sequences import Clip, Sequence
from pipeline.job import SAMPLE_RATE

KINDS = ("text", "clip", "pictures", "pictures and clip", "two clips")
WORDS = (
    "three",
    "four",
    "nine",
    "a",
    "red",
    "circle",
    "left",
    "of",
    "blue",
    "star",
    "what",
    "is",
    "seen",
    "and",
    "said",
)
MOST_WORDS = 90
CLIP_SECONDS = (0.1, 29.8)
FRAMES_PER_SECOND = 100
FRAMES_PER_TOKEN = 16
FIRST_FRAME = 513  # samples that the first frame needs
MOST_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request asks, without how long its answer may get."""

    ids: torch.Tensor
    clips: tuple[Clip, ...] = ()
    pixels: torch.Tensor | None = None

    def sequence(self, name: str, max_tokens: int, min_tokens: int = 0, stop: frozenset[int] = frozenset()) -> Sequence:
        return Sequence(
            id=name,
            ids=self.ids,
            clips=self.clips,
            pixels=self.pixels,
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            stop=stop,
        )


@dataclass(frozen=True, slots=True)
class Case:
    """A request and the tokens that it must get."""

    sequence: Sequence
    expected: tuple[int, ...]

    def named(self, name: str) -> "Case":
        one = self.sequence
        prompt = Prompt(one.ids, one.clips, one.pixels)
        return replace(self, sequence=prompt.sequence(name, one.max_tokens, one.min_tokens, one.stop))


def load(checkpoint: Path) -> tuple[Any, Any]:
    """Model, float32 on the CPU with one thread, and processor."""
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    model = Gemma3nForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(checkpoint)


def random_prompt(processor: Any, random: np.random.Generator, kind: str) -> Prompt:
    content: list[dict[str, Any]] = []
    if "pictures" in kind:
        content += [{"type": "image", "image": _picture(random)} for _ in range(random.integers(1, 5))]
    num_clips = 2 if kind == "two clips" else int("clip" in kind)
    waves = [_sound(random) for _ in range(num_clips)]
    content += [{"type": "audio", "audio": wave} for wave in waves]
    content += [{"type": "text", "text": " ".join(random.choice(WORDS, random.integers(1, MOST_WORDS)))}]
    inputs = processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        processor_kwargs={"padding": True},
    )
    return Prompt(inputs["input_ids"][0], extracted(processor, waves), inputs.get("pixel_values"))


def extracted(processor: Any, waves: Items[np.ndarray]) -> tuple[Clip, ...]:
    """Features of waveforms, each extracted alone."""
    clips = []
    for wave in waves:
        features = processor.feature_extractor(wave, return_tensors="pt")
        clips.append(Clip(features["input_features"][0], features["input_features_mask"][0]))
    return tuple(clips)


def generate_alone(model: Any, sequence: Sequence) -> tuple[int, ...]:
    """What `model.generate` gives for one request by itself. Nothing of the product is used here."""
    inputs = {"input_ids": sequence.ids[None], "attention_mask": torch.ones_like(sequence.ids)[None]}
    if sequence.pixels is not None:
        inputs["pixel_values"] = sequence.pixels
    if sequence.clips:
        frames = max(len(clip.mask) for clip in sequence.clips)
        inputs["input_features"] = torch.zeros(len(sequence.clips), frames, sequence.clips[0].features.shape[1])
        inputs["input_features_mask"] = torch.zeros(len(sequence.clips), frames, dtype=torch.bool)
        for index, clip in enumerate(sequence.clips):
            inputs["input_features"][index, : len(clip.features)] = clip.features
            inputs["input_features_mask"][index, : len(clip.mask)] = clip.mask
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=sequence.max_tokens,
            min_new_tokens=sequence.min_tokens or None,
            eos_token_id=sorted(sequence.stop) or None,
        )
    return tuple(output[0, len(sequence.ids) :].tolist())


def random_cases(model: Any, prompt: Prompt, random: np.random.Generator, count: int) -> list[Case]:
    """`count` requests of one prompt that differ in budgets and in what ends them.

    Two runs of `generate` serve them all: choosing greedily, a smaller budget gives the beginning of a longer answer,
    and ids that end it cut it where the first of them comes. Only a least length changes the choice itself.
    """
    longest = int(random.integers(MOST_TOKENS // 4, MOST_TOKENS + 1))
    endless = generate_alone(model, prompt.sequence("endless", longest))
    cases = [_with_least_length(model, prompt, random, endless)]
    while len(cases) < count:
        budget = int(random.integers(1, longest + 1))
        stop = frozenset({1, int(random.choice(endless))}) if random.random() < 0.5 else frozenset({1})
        expected = endless[:budget]
        end = next((index for index, token in enumerate(expected) if token in stop), budget - 1)
        cases.append(Case(prompt.sequence("", budget, stop=stop), expected[: end + 1]))
    return cases


def _with_least_length(model: Any, prompt: Prompt, random: np.random.Generator, endless: tuple[int, ...]) -> Case:
    """A request that would end before it may."""
    early = int(random.integers(0, len(endless) // 2))
    budget = int(random.integers(early + 1, len(endless) + 1))
    least = int(random.integers(early + 1, budget + 1))
    sequence = prompt.sequence("", budget, least, frozenset({1, endless[early], endless[-1]}))
    return Case(sequence, generate_alone(model, sequence))


def _picture(random: np.random.Generator) -> Image.Image:
    return Image.fromarray(random.integers(0, 256, (48, 80, 3), dtype=np.uint8))


def _sound(random: np.random.Generator) -> np.ndarray:
    """Noise. Most clips end one to four frames into a soft token: there a longer batch mate is heard, if at all."""
    num_frames = int(random.uniform(*CLIP_SECONDS) * FRAMES_PER_SECOND)
    if random.random() < 0.75:
        num_frames = num_frames // FRAMES_PER_TOKEN * FRAMES_PER_TOKEN + int(random.integers(1, 5))
    samples = (num_frames - 1) * SAMPLE_RATE // FRAMES_PER_SECOND + FIRST_FRAME
    return (0.1 * random.standard_normal(samples)).astype(np.float32)
