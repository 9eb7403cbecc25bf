"""Token ids and soft tokens as the language model's input vectors: what the model's own `forward` does with ids.

The language model is called with vectors here, because soft tokens are computed ahead of it, and because the model's
own door for finished encoder outputs (`mm_encoder_outputs`) takes pictures only and silently ignores sound.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.engines.gemma3n.sequences import Limits, Sequence


def embed_ids(model: Any, ids: Tensor) -> Tensor:
    """Vectors of ids, shape (..., hidden). Ids of the vision and audio vocabularies have tables of their own.

    `model` is a `Gemma3nForConditionalGeneration`; `ids` are int64, on its device.
    """
    inner = model.model
    vectors: Tensor = inner.language_model.embed_tokens(ids)
    first_vision, first_audio = inner.embed_vision.vocab_offset, inner.embed_audio.vocab_offset
    is_vision = (ids >= first_vision) & (ids < first_audio)
    is_audio = ids >= first_audio
    for embedder, is_its in ((inner.embed_vision, is_vision), (inner.embed_audio, is_audio)):
        last = embedder.vocab_offset + embedder.vocab_size - 1
        own = embedder(input_ids=torch.where(is_its, ids, last)).to(vectors.dtype)
        vectors = torch.where(is_its[..., None], own, vectors)
    return vectors


def embed_prompt(model: Any, sequence: Sequence, limits: Limits, images: Tensor | None, sound: Tensor | None) -> Tensor:
    """Vectors of a prompt with its soft tokens in their places, shape (tokens, hidden).

    images, sound: soft tokens of all its pictures and all its clips, shape (soft tokens, hidden).
    """
    device = model.device
    vectors = embed_ids(model, sequence.ids.to(device))
    for token, soft in ((limits.image_token, images), (limits.audio_token, sound)):
        if soft is not None:
            places = (sequence.ids == token).nonzero()[:, 0].to(device)
            vectors = vectors.index_copy(0, places, soft.to(vectors.dtype))
    return vectors


def per_layer_table_is_on_host(model: Any) -> bool:
    """Whether the table of per-layer embeddings wants its ids on the host, because it lies there."""
    return bool(getattr(model.model.language_model.embed_tokens_per_layer, "on_host", False))


def per_layer_inputs(model: Any, ids: Tensor) -> Tensor:
    """Per-layer embeddings of ids on the host, shape (*ids, layers, size), on the device."""
    ids = ids if per_layer_table_is_on_host(model) else ids.to(model.device)
    looked_up: Tensor = model.model.language_model.get_per_layer_inputs(ids)
    return looked_up
