"""Plain static batches through `model.generate`: the reference that continuous batching is measured against.

A batch takes as long as its longest answer, and nothing joins it on the way. Clips are extracted alone, padded here
and keep their own ends, so that a batch gives what each of its sequences gives alone.
"""

from collections.abc import Sequence as Items
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import LogitsProcessor, StoppingCriteria

from pipeline.engines.gemma3n.clip_ends import ends, kept_ends
from pipeline.engines.gemma3n.encoders import collate
from pipeline.engines.gemma3n.sequences import Finished, Limits, Sequence, refusal
from pipeline.engines.gemma3n.shape import Counters
from pipeline.errors import PermanentError, PipelineError


class StaticDecoder:
    """Batches of one model, or of one view of it."""

    def __init__(self, model: Any) -> None:
        self.counters = Counters()
        self._model = model
        self._limits = Limits.of(model.config, None)

    def generate(self, sequences: Items[Sequence]) -> list[Finished | PipelineError]:
        """One outcome per sequence, in order; one that the model cannot take is a PermanentError of its own.

        Raises whatever the model raises on the others.
        """
        refusals = [refusal(sequence, self._limits) for sequence in sequences]
        good = [sequence for sequence, reason in zip(sequences, refusals, strict=True) if reason is None]
        finished = iter(self._generate(good) if good else [])
        return [PermanentError(reason) if reason else next(finished) for reason in refusals]

    @torch.inference_mode()
    def _generate(self, sequences: Items[Sequence]) -> list[Finished]:
        inputs = collated(sequences, self._model)
        num_prompt_tokens = inputs["input_ids"].shape[1]
        with kept_ends(self._model.model.audio_tower, ends(sequences)):
            output = self._model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=max(sequence.max_tokens for sequence in sequences),
                eos_token_id=None,  # each sequence has its own
                logits_processor=[StopsOnlyWhenAllowed(sequences, num_prompt_tokens)],
                stopping_criteria=[EachHasEnded(sequences, num_prompt_tokens)],
            )
        answers: list[list[int]] = output[:, num_prompt_tokens:].tolist()
        finished = [ending(sequence, answer) for sequence, answer in zip(sequences, answers, strict=True)]
        self._count(sequences, finished, num_steps=len(answers[0]) - 1)
        return finished

    def _count(self, sequences: Items[Sequence], finished: Items[Finished], num_steps: int) -> None:
        """The first token of each comes from the prefill pass."""
        longest = max(sequence.num_prompt_tokens for sequence in sequences)
        counters = self.counters
        counters.steps += num_steps
        counters.row_steps += num_steps * len(sequences)
        counters.useful += sum(len(one.tokens) - 1 for one in finished)
        counters.prefills += 1
        counters.prefill_rows += len(sequences)
        counters.prefill_tokens += longest * len(sequences)
        counters.prefill_useful += sum(sequence.num_prompt_tokens for sequence in sequences)


def collated(sequences: Items[Sequence], model: Any) -> dict[str, Tensor]:
    """Arguments of `model.generate` for a batch: prompts padded on the left, features with zeros on the right."""
    longest = max(sequence.num_prompt_tokens for sequence in sequences)
    padding = [longest - sequence.num_prompt_tokens for sequence in sequences]
    pad_id = model.generation_config.pad_token_id or 0
    ids = [pad(sequence.ids, (left, 0), value=pad_id) for sequence, left in zip(sequences, padding, strict=True)]
    mask = [pad(torch.ones_like(sequence.ids), (left, 0)) for sequence, left in zip(sequences, padding, strict=True)]
    inputs = {"input_ids": torch.stack(ids), "attention_mask": torch.stack(mask)}
    pixels = [sequence.pixels for sequence in sequences if sequence.pixels is not None]
    if pixels:
        inputs["pixel_values"] = torch.cat(pixels).to(model.dtype)
    clips = [clip for sequence in sequences for clip in sequence.clips]
    if clips:
        features, inputs["input_features_mask"] = collate(clips)
        inputs["input_features"] = features.to(model.dtype)
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def ending(sequence: Sequence, tokens: Items[int]) -> Finished:
    """Cut what a batch went on to generate after a sequence had ended."""
    tokens = tokens[: sequence.max_tokens]
    end = next((index for index, token in enumerate(tokens) if token in sequence.stop), None)
    if end is None:
        return Finished(id=sequence.id, tokens=tuple(tokens), why="length")
    return Finished(id=sequence.id, tokens=tuple(tokens[: end + 1]), why="stop")


class StopsOnlyWhenAllowed(LogitsProcessor):
    """Forbids each sequence its own stop ids until it has its `min_tokens`."""

    def __init__(self, sequences: Items[Sequence], num_prompt_tokens: int) -> None:
        self._sequences = sequences
        self._num_prompt_tokens = num_prompt_tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        num_tokens = input_ids.shape[1] - self._num_prompt_tokens
        scores = scores.clone()
        for row, sequence in zip(scores, self._sequences, strict=True):
            if num_tokens < sequence.min_tokens:
                row[list(sequence.stop)] = float("-inf")
        return scores


class EachHasEnded(StoppingCriteria):
    """Ends a batch when each of its sequences has met its own end."""

    def __init__(self, sequences: Items[Sequence], num_prompt_tokens: int) -> None:
        self._sequences = sequences
        self._num_prompt_tokens = num_prompt_tokens

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        num_tokens = input_ids.shape[1] - self._num_prompt_tokens
        newest: list[int] = input_ids[:, -1].tolist()
        ended = [
            num_tokens >= sequence.max_tokens or token in sequence.stop
            for sequence, token in zip(self._sequences, newest, strict=True)
        ]
        return torch.tensor(ended, device=input_ids.device)
