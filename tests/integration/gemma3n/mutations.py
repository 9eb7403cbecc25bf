"""Bugs, planted one at a time, that the comparison with `model.generate` alone must see.

Each is a slip that reading would not catch, or what an upgrade of transformers could do to the code below it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from pipeline.engines.gemma3n import decoding, embedding, encoders, masks, prefill, rows
from pipeline.engines.gemma3n.cache import DecodeCache, PrefillCache, SlotCache, Span, Store, Writing
from pipeline.engines.gemma3n.encoders import Encoders
from pipeline.engines.gemma3n.prefill import Prefill
from pipeline.engines.gemma3n.rows import Demands, RowState
from pipeline.engines.gemma3n.shape import Shape

#: Plants a bug in the code, or in a model, for as long as it is open.
Mutation = Callable[[Any], AbstractContextManager[Any]]


def wider_window(model: Any) -> AbstractContextManager[Any]:
    def causal(queries: Tensor, first_key: int, num_keys: int, window: int | None = None) -> Tensor:
        return masks.causal(queries, first_key, num_keys, None if window is None else window + 1)

    return patch.object(prefill, "causal", causal)


def no_sliding_mask(model: Any) -> AbstractContextManager[Any]:
    def sliding(self: Prefill, queries: Tensor, span: Span) -> Tensor:
        first = masks.first_seen(span.start, self._cache.window)
        return masks.causal(queries, first, span.end - first)

    return patch.object(Prefill, "_sliding", sliding)


def ring_keeps_padding(model: Any) -> AbstractContextManager[Any]:
    right = PrefillCache._update_ring

    def update(self: PrefillCache, store: Store, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        padded = replace(self._span, lengths=torch.full_like(self._span.lengths, self._span.length))
        return right(PrefillCache(self._stores, padded), store, keys, values)

    return patch.object(PrefillCache, "_update_ring", update)


def ring_one_column_off(model: Any) -> AbstractContextManager[Any]:
    def columns(self: DecodeCache, store: Store) -> Tensor:
        positions = self._writing.positions
        return (positions + 1) % store.columns if store.is_ring else positions

    return patch.object(DecodeCache, "_columns_written", columns)


def decode_mask_one_short(model: Any) -> AbstractContextManager[Any]:
    return patch.object(decoding, "filled", lambda positions, columns: masks.filled(positions - 1, columns))


def decode_position_one_off(model: Any) -> AbstractContextManager[Any]:
    return _decode_arguments(model, lambda kwargs: {**kwargs, "position_ids": kwargs["position_ids"] + 1})


def no_per_layer_inputs(model: Any) -> AbstractContextManager[Any]:
    return _decode_arguments(model, lambda kwargs: {**kwargs, "per_layer_inputs": None})


def idle_rows_write(model: Any) -> AbstractContextManager[Any]:
    right = SlotCache.for_decoding

    def for_decoding(self: SlotCache, writing: Writing, columns: int) -> DecodeCache:
        return right(self, replace(writing, live=torch.ones_like(writing.live)), columns)

    return patch.object(SlotCache, "for_decoding", for_decoding)


def clip_padding_is_heard(model: Any) -> AbstractContextManager[Any]:
    def collate(clips: Any) -> tuple[Tensor, Tensor]:
        features, mask = right(clips)
        return features, torch.ones_like(mask)

    right = encoders.collate
    return patch.object(encoders, "collate", collate)


def clip_ends_are_lost(model: Any) -> AbstractContextManager[Any]:
    return patch.object(encoders, "kept_ends", lambda audio_tower, frames: nullcontext())


def clip_is_filled_with_zeros(model: Any) -> AbstractContextManager[Any]:
    def filled(self: Encoders, soft: Tensor, is_padding: Tensor) -> Tensor:
        soft = soft.masked_fill(is_padding[..., None], 0.0)
        return torch.nn.functional.pad(soft, (0, 0, 0, self._limits.audio_tokens - soft.shape[1]))

    return patch.object(Encoders, "_filled", filled)


@contextmanager
def media_ids_embedded_as_text(model: Any) -> Iterator[None]:
    def embed_ids(model: Any, ids: Tensor) -> Tensor:
        vectors: Tensor = model.model.language_model.embed_tokens(ids)
        return vectors

    with ExitStack() as stack:
        for module in (embedding, decoding):
            stack.enter_context(patch.object(module, "embed_ids", embed_ids))
        yield


def slot_keeps_its_position(model: Any) -> AbstractContextManager[Any]:
    return _joining(lambda state: state.positions)


def slot_keeps_its_stops(model: Any) -> AbstractContextManager[Any]:
    return _joining(lambda state: state.stops)


def least_length_ignored(model: Any) -> AbstractContextManager[Any]:
    right = Demands.of

    def of(*args: Any) -> Demands:
        demands = right(*args)
        return replace(demands, owed=torch.zeros_like(demands.owed))

    return patch.object(rows.Demands, "of", of)


def fast_prefill_takes_the_padding(model: Any) -> AbstractContextManager[Any]:
    def padded(self: Prefill, span: Span) -> AbstractContextManager[Any]:
        return right(self, replace(span, lengths=torch.full_like(span.lengths, span.length)))

    right = Prefill._readers
    return patch.object(Prefill, "_readers", padded)


def view_too_short(model: Any) -> AbstractContextManager[Any]:
    right = Shape.columns

    def columns(self: Shape, longest: int) -> int:
        return max(self.view, right(self, longest) - self.view)

    return patch.object(Shape, "columns", columns)


MUTATIONS: dict[str, Mutation] = {
    "the sliding window is one wider in prefill": wider_window,
    "prefill has no sliding mask": no_sliding_mask,
    "the ring keeps padding": ring_keeps_padding,
    "decoding writes one column off in the ring": ring_one_column_off,
    "the decode mask is one short": decode_mask_one_short,
    "decode positions are one off": decode_position_one_off,
    "decoding has no per-layer inputs": no_per_layer_inputs,
    "idle rows write": idle_rows_write,
    "the padding of clips is heard": clip_padding_is_heard,
    "clips do not keep their ends": clip_ends_are_lost,
    "clips are filled with zeros": clip_is_filled_with_zeros,
    "ids of media are embedded as text": media_ids_embedded_as_text,
    "a slot keeps the position of its last sequence": slot_keeps_its_position,
    "a slot keeps the stops of its last sequence": slot_keeps_its_stops,
    "the least length of an answer is ignored": least_length_ignored,
    "fast prefill takes the padding": fast_prefill_takes_the_padding,
    "the view is too short": view_too_short,
}

#: The layout in which every planted bug has its chance: chunks with decode steps between them, several clips in an
#: encoder round, views, slots that are used again.
REVEALING: dict[str, Any] = {
    "slots": 4,
    "chunk": 128,
    "prefill_tokens": 128,
    "ahead": 8,
    "view": 64,
}


@contextmanager
def _decode_arguments(model: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[None]:
    """Change the language model's arguments in decode steps."""

    def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, change(kwargs) if kwargs["inputs_embeds"].shape[1] == 1 else kwargs

    handle = model.model.language_model.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _joining(kept: Callable[[RowState], Tensor]) -> AbstractContextManager[Any]:
    """Let a tensor keep its old values when rows join."""
    right = RowState.join

    def join(self: RowState, *args: Any) -> list[int]:
        before = kept(self).clone()
        first = right(self, *args)
        kept(self).copy_(before)
        return first

    return patch.object(RowState, "join", join)
