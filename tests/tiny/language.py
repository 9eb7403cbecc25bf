"""The second stage: the language model learns to answer from what the trained towers give; they stay as they are."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from transformers import Gemma3nForConditionalGeneration

from tests.tiny.architecture import build_processor
from tests.tiny.features import Features
from tests.tiny.initial import TRAINED, initial_model
from tests.tiny.log import Log
from tests.tiny.nest import Nest
from tests.tiny.schedule import Steps
from tests.tiny.tokenizer import (
    AUDIO_TOKEN_ID,
    FIRST_AUDIO_ID,
    FIRST_VISION_ID,
    IMAGE_TOKEN_ID,
    MEDIA_IDS,
    token_id,
)
from tests.tiny.towers import AUDIO_TOWER, VISION_TOWER, State
from tests.tiny.turns import Turn, Turns, messages

_POOL = 16  # batches whose turns are sorted by length together
_LOG_EVERY = 50
_KEEP_EVERY = 250
_NO_LABEL = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageCourse:
    """How the language model is trained; in a share `nested` of the steps only its half is."""

    steps: int
    rate: float
    batch: int = 32
    nested: float = 0.3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Turns as token ids (turns, tokens), filled up on the right; labels where the answer has to be foretold."""

    turns: Sequence[Turn]
    ids: torch.Tensor
    labels: torch.Tensor


def train_language_model(
    course: LanguageCourse, towers: State, features: Features, log: Log, unfinished: Path
) -> State:
    """All parameters of the model by name. What is done is kept in `unfinished`, for a run that breaks."""
    model = initial_model(course.seed)
    model.load_state_dict(towers, strict=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith((*AUDIO_TOWER, *VISION_TOWER))
    nest, rng = Nest(model.model.language_model), random.Random(course.seed)
    steps = Steps(model.parameters(), course.rate, course.steps)
    right: dict[str, list[float]] = {}
    done = _resumed(unfinished, model, steps)
    for step, batch in zip(range(1, course.steps + 1), _batches(features, course), strict=False):
        is_nested = rng.random() < course.nested
        if step <= done:
            continue
        if is_nested:
            with nest.half():
                loss, _ = answer_loss(model, features, batch)
        else:
            loss, answered = answer_loss(model, features, batch)
            for turn, is_right in zip(batch.turns, answered, strict=True):
                right.setdefault(_kind(turn), []).append(is_right)
        steps.take(loss)
        if step % _LOG_EVERY == 0:
            log.write(step=step, **{kind: round(float(np.mean(values)), 3) for kind, values in sorted(right.items())})
            right = {}
        if step % _KEEP_EVERY == 0:
            kept = unfinished.with_suffix(".new")
            torch.save({"step": step, "model": model.state_dict(), "steps": steps.state()}, kept)
            kept.rename(unfinished)
    unfinished.unlink(missing_ok=True)
    state: dict[str, Any] = model.state_dict()
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _resumed(unfinished: Path, model: Gemma3nForConditionalGeneration, steps: Steps) -> int:
    """Take up what a broken run has left; the number of steps that are done."""
    if not unfinished.exists():
        return 0
    kept = torch.load(unfinished)
    model.load_state_dict(kept["model"])
    steps.resume(kept["steps"])
    done: int = kept["step"]
    return done


def answer_loss(
    model: Gemma3nForConditionalGeneration, features: Features, batch: Batch
) -> tuple[torch.Tensor, list[bool]]:
    """Mean cross entropy of the answers' tokens; and which answers are right when all before is given."""
    language_model = model.model.language_model
    hidden = language_model(
        inputs_embeds=_embedded(model, features, batch),
        per_layer_inputs=language_model.get_per_layer_inputs(batch.ids),
        use_cache=False,
    ).last_hidden_state
    asked = batch.labels != _NO_LABEL
    cap = model.config.text_config.final_logit_softcapping
    scores = torch.tanh(model.lm_head(hidden[asked]) / cap) * cap
    foretold = torch.zeros_like(batch.labels)
    foretold[asked] = scores.argmax(-1)
    answered = ((foretold == batch.labels) | ~asked).all(1).tolist()
    return functional.cross_entropy(scores, batch.labels[asked]), answered


def _embedded(model: Gemma3nForConditionalGeneration, features: Features, batch: Batch) -> torch.Tensor:
    """What `Gemma3nModel.forward` does between the towers and the language model; embeds each media id only once."""
    core, ids = model.model, batch.ids
    embedded = core.language_model.embed_tokens(ids)
    for embed, first in ((core.embed_vision, FIRST_VISION_ID), (core.embed_audio, FIRST_AUDIO_ID)):
        table = embed(input_ids=torch.arange(first, first + MEDIA_IDS)[None])[0]
        here = (ids >= first) & (ids < first + MEDIA_IDS)
        embedded = torch.where(
            here[..., None], functional.embedding(torch.where(here, ids - first, 0), table), embedded
        )
        filling = table[-1]
    pictures = [number for turn in batch.turns for number in turn.pictures]
    if pictures:
        seen = features.pictures[pictures].float()
        embedded = embedded.masked_scatter((ids == IMAGE_TOKEN_ID)[..., None], seen)
    clips = [turn.clip for turn in batch.turns if turn.clip is not None]
    if clips:
        is_sound = torch.arange(TRAINED.audio_tokens)[None] < features.lengths[clips][:, None]
        heard = torch.where(is_sound[..., None], features.clips[clips].float(), filling)
        embedded = embedded.masked_scatter((ids == AUDIO_TOKEN_ID)[..., None], heard)
    return embedded


def _batches(features: Features, course: LanguageCourse) -> Iterator[Batch]:
    """Endless batches, turns of like length together."""
    rng = random.Random(course.seed + 1)
    turns = Turns(features.words, features.scenes, rng)
    while True:
        pool = [turns.draw() for _ in range(_POOL * course.batch)]
        pool.sort(key=lambda turn: len(prompt_ids(turn)) + rng.random())
        starts = [index * course.batch for index in range(_POOL)]
        for start in rng.sample(starts, len(starts)):
            yield make_batch(pool[start : start + course.batch])


def make_batch(turns: Sequence[Turn]) -> Batch:
    prompts = [prompt_ids(turn) for turn in turns]
    answers = [[*_answer_ids(turn.answer), token_id("<end_of_turn>")] for turn in turns]
    longest = max(len(prompt) + len(answer) - 1 for prompt, answer in zip(prompts, answers, strict=True))
    ids = torch.full((len(turns), longest), token_id("<pad>"))
    labels = torch.full_like(ids, _NO_LABEL)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        whole = [*prompt, *answer]
        ids[row, : len(whole) - 1] = torch.tensor(whole[:-1])
        labels[row, len(prompt) - 1 : len(whole) - 1] = torch.tensor(answer)
    return Batch(turns, ids, labels)


def prompt_ids(turn: Turn) -> list[int]:
    """Token ids of the question as the product's processor makes them."""
    return _prompt_ids(turn.task, turn.words, len(turn.pictures), turn.clip is not None)


@cache
def _prompt_ids(task: str, words: str, pictures: int, has_sound: bool) -> list[int]:
    blank = Image.new("RGB", (TRAINED.pixels, TRAINED.pixels))
    clip = np.zeros(TRAINED.clip_samples, np.float32) if has_sound else None
    conversation = messages(task, words, [blank] * pictures, clip)
    encoded = _processor().apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ids: list[int] = encoded["input_ids"][0].tolist()
    return ids


@cache
def _answer_ids(answer: str) -> list[int]:
    ids: list[int] = _processor().tokenizer(answer, add_special_tokens=False).input_ids
    return ids


@cache
def _processor() -> Any:
    return build_processor(TRAINED)


def _kind(turn: Turn) -> str:
    """A name for the log."""
    if turn.clip is not None and turn.pictures:
        return "both"
    if len(turn.pictures) > 1:
        return "frames"
    return f"{turn.task} {'sound' if turn.clip is not None else 'picture' if turn.pictures else 'text'}"
