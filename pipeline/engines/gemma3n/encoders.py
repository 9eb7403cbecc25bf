"""Clips and pictures of several sequences through the towers at once, as soft tokens.

Batched and alone give the same: clips were extracted alone, their features are padded with zeros, their masks with
False, and each keeps its own end (`clip_ends.py`).
"""

from collections.abc import Sequence as Items
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from pipeline.engines.gemma3n.clip_ends import ends, kept_ends
from pipeline.engines.gemma3n.embedding import embed_prompt
from pipeline.engines.gemma3n.sequences import Clip, Limits, Sequence


class Encoders:
    """Both towers of a `Gemma3nForConditionalGeneration`."""

    def __init__(self, model: Any, limits: Limits) -> None:
        self._model = model
        self._limits = limits

    def prompts(self, sequences: Items[Sequence]) -> list[Tensor]:
        """Vectors of each prompt with its media in it, shape (tokens, hidden). Raises whatever the model raises."""
        images = self._images(sequences)
        sound = self._sound(sequences)
        return [
            embed_prompt(self._model, sequence, self._limits, *soft)
            for sequence, *soft in zip(sequences, images, sound, strict=True)
        ]

    def _images(self, sequences: Items[Sequence]) -> list[Tensor | None]:
        """Soft tokens of each sequence's pictures, shape (images * tokens, hidden); None where it has none."""
        pixels = [sequence.pixels for sequence in sequences if sequence.pixels is not None]
        if not pixels:
            return [None] * len(sequences)
        batch = torch.cat(pixels).to(self._model.device, self._model.dtype)
        soft = self._model.model.get_image_features(batch, return_dict=True).pooler_output
        return _dealt(soft, [sequence.num_images for sequence in sequences])

    def _sound(self, sequences: Items[Sequence]) -> list[Tensor | None]:
        """Soft tokens of each sequence's clips, shape (clips * tokens, hidden); None where it has none."""
        clips = [clip for sequence in sequences for clip in sequence.clips]
        if not clips:
            return [None] * len(sequences)
        features, mask = collate(clips)
        inner, device = self._model.model, self._model.device
        with kept_ends(inner.audio_tower, ends(sequences)):
            heard = inner.get_audio_features(features.to(device, self._model.dtype), ~mask.to(device), return_dict=True)
        soft = self._filled(heard.pooler_output, heard.audio_mel_mask)
        return _dealt(soft, [len(sequence.clips) for sequence in sequences])

    def _filled(self, soft: Tensor, is_padding: Tensor) -> Tensor:
        """Give every clip the number of soft tokens that prompts have places for.

        What a clip does not fill holds the embedding of the last audio id, as in the model's own `forward`.
        """
        inner = self._model.model
        last_id = torch.full((1, 1), inner.vocab_size - 1, dtype=torch.int64, device=soft.device)
        filler = inner.embed_audio(input_ids=last_id)
        soft = torch.where(is_padding[..., None], filler, soft)
        missing = self._limits.audio_tokens - soft.shape[1]
        return torch.cat((soft, filler.expand(len(soft), missing, -1)), dim=1)


def collate(clips: Items[Clip]) -> tuple[Tensor, Tensor]:
    """Features, shape (clips, frames, mel bins), and masks, shape (clips, frames), padded to the longest clip."""
    longest = max(clip.num_frames for clip in clips)
    features = [pad(clip.features, (0, 0, 0, longest - clip.num_frames)) for clip in clips]
    masks = [pad(clip.mask, (0, longest - clip.num_frames)) for clip in clips]
    return torch.stack(features), torch.stack(masks)


def _dealt(soft: Tensor, numbers: Items[int]) -> list[Tensor | None]:
    """Hand each sequence the soft tokens of its own media, of shape (media, tokens, hidden) in all."""
    parts = torch.split(soft, list(numbers))
    return [part.flatten(0, 1) if number else None for part, number in zip(parts, numbers, strict=True)]
