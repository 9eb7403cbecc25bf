"""Questions about media of the tiny world with their answers, and what a model answers: plain greedy `generate`."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.tiny.augment import stacked_frames
from tests.tiny.data import Speech
from tests.tiny.turns import messages

_BATCH = 25
_MOST_TOKENS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked about some media, and the right answer."""

    task: str
    words: str
    answer: str
    pictures: tuple[Image.Image, ...] = ()
    sound: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How many answers were asked for, the share that is right to the letter, and the words wrong, in percent."""

    count: int
    exact: float
    word_error_rate: float


def answers(model: Any, processor: Any, questions: Sequence[Question]) -> list[str]:
    """The model's answers, in order; questions of one length go together, so that none is filled up."""
    prompts = [_encoded(processor, question) for question in questions]
    alike: dict[tuple[int, int, bool], list[int]] = defaultdict(list)
    for number, (question, prompt) in enumerate(zip(questions, prompts, strict=True)):
        alike[len(prompt["ids"]), len(question.pictures), question.sound is not None].append(number)
    given = [""] * len(questions)
    for numbers in alike.values():
        for start in range(0, len(numbers), _BATCH):
            group = numbers[start : start + _BATCH]
            for number, text in zip(group, _generate(model, processor, [prompts[n] for n in group]), strict=True):
                given[number] = text
    return given


def score(model: Any, processor: Any, questions: Sequence[Question]) -> Score:
    given = answers(model, processor, questions)
    exact = np.mean([text == question.answer for text, question in zip(given, questions, strict=True)])
    worded = [(question.answer, text) for text, question in zip(given, questions, strict=True) if question.answer]
    rate = jiwer.wer([right for right, _ in worded], [text for _, text in worded]) if worded else float(1 - exact)
    return Score(len(questions), round(100 * float(exact), 2), round(100 * float(rate), 2))


def _encoded(processor: Any, question: Question) -> dict[str, Any]:
    """What the processor makes of one question alone."""
    conversation = messages(question.task, question.words, question.pictures, question.sound)
    inputs = processor.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    encoded: dict[str, Any] = {"ids": inputs["input_ids"][0]}
    if question.pictures:
        encoded["pixels"] = inputs["pixel_values"]
    if question.sound is not None:
        encoded["clip"] = Speech(inputs["input_features"][0].numpy(), ())
    return encoded


@torch.inference_mode()
def _generate(model: Any, processor: Any, prompts: Sequence[dict[str, Any]]) -> list[str]:
    ids = torch.stack([prompt["ids"] for prompt in prompts])
    inputs: dict[str, torch.Tensor] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "pixels" in prompts[0]:
        inputs["pixel_values"] = torch.cat([prompt["pixels"] for prompt in prompts]).to(model.dtype)
    if "clip" in prompts[0]:
        frames, valid = stacked_frames([prompt["clip"] for prompt in prompts])
        inputs["input_features"], inputs["input_features_mask"] = frames.to(model.dtype), valid
    tokens = model.generate(**inputs, max_new_tokens=_MOST_TOKENS, do_sample=False)[:, ids.shape[1] :]
    return [str(text).strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]
