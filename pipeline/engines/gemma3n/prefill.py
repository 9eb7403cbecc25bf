"""Prompts into their slots: several of one length in one pass, or a long one in chunks.

Prompts are padded on the right, so column = position for every row and no padding needs a mask: a token never looks to
its right, and what padding leaves behind in a slot is overwritten before anything looks there.
"""

from collections.abc import Sequence as Items
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from pipeline.engines.gemma3n.cache import FULL, SLIDING, SlotCache, Span
from pipeline.engines.gemma3n.embedding import per_layer_inputs
from pipeline.engines.gemma3n.fast_prefill import has_readers, last_token_alone
from pipeline.engines.gemma3n.heads import next_tokens
from pipeline.engines.gemma3n.masks import causal, first_seen
from pipeline.engines.gemma3n.rows import Demands, Row, RowState


class Prefill:
    """Prefill passes of a model over the slots of a cache."""

    def __init__(self, model: Any, cache: SlotCache, state: RowState, *, fast: bool) -> None:
        self._model = model
        self._language_model = model.model.language_model
        self._cache = cache
        self._state = state
        self._is_fast = fast and has_readers(self._language_model.config)

    def advance(self, rows: Items[Row], length: int) -> list[int | None]:
        """Take up to `length` more tokens of each row's prompt into the cache.

        Rows of one pass have equally many tokens in the cache already, and end together. Returns each row's first
        token where its prompt is complete (from then on it decodes), None where it is not. Raises whatever the model
        raises; then no row has advanced.
        """
        span = self._span(rows, length)
        hidden = self._forward(rows, span)
        is_complete = all(row.num_left <= length for row in rows)
        first: list[int | None] = list(self._join(rows, hidden, span)) if is_complete else [None] * len(rows)
        for row in rows:
            row.num_prefilled += min(length, row.num_left)
        return first

    def _span(self, rows: Items[Row], length: int) -> Span:
        device = self._model.device
        return Span(
            slots=torch.tensor([row.slot for row in rows], device=device),
            start=rows[0].num_prefilled,
            length=length,
            lengths=torch.tensor([min(length, row.num_left) for row in rows], device=device),
        )

    def _forward(self, rows: Items[Row], span: Span) -> Tensor:
        """Run the language model over the span; returns the last token's hidden vector, shape (rows, hidden)."""
        vectors = torch.stack([_part(row.prompt, span, (0, 0)) for row in rows])
        ids = torch.stack([_part(row.sequence.ids, span, ()) for row in rows])
        with self._readers(span):
            hidden: Tensor = self._language_model(
                inputs_embeds=vectors,
                per_layer_inputs=per_layer_inputs(self._model, ids),
                attention_mask=self._masks(span),
                position_ids=torch.arange(span.start, span.end, device=vectors.device)[None],
                past_key_values=self._cache.for_prefill(span),
                use_cache=True,
            ).last_hidden_state
        if self._is_fast:
            return hidden[:, 0]
        return hidden[torch.arange(len(rows), device=hidden.device), span.lengths - 1]

    def _masks(self, span: Span) -> dict[str, Tensor | None]:
        """By layer type. None: the attention function masks what is to the right of each token by itself."""
        queries = torch.arange(span.start, span.end, device=span.slots.device)[None]
        masks: dict[str, Tensor | None] = {FULL: None, SLIDING: None}
        if span.start > 0:
            masks[FULL] = causal(queries, 0, span.end)
        if span.start > 0 or span.end > self._cache.window:
            masks[SLIDING] = self._sliding(queries, span)
        return masks

    def _sliding(self, queries: Tensor, span: Span) -> Tensor:
        first = first_seen(span.start, self._cache.window)
        return causal(queries, first, span.end - first, self._cache.window)

    def _readers(self, span: Span) -> Any:
        """The context in which the layers that only read see each row's last token alone."""
        if not self._is_fast:
            return nullcontext()
        queries = span.last[:, None]
        masks = {FULL: causal(queries, 0, span.end), SLIDING: self._sliding(queries, span)}
        return last_token_alone(self._language_model, span.lengths, span.last, masks)

    def _join(self, rows: Items[Row], hidden: Tensor, span: Span) -> list[int]:
        sequences = [row.sequence for row in rows]
        demands = Demands.of(sequences, self._state.stops.shape[1], hidden.device)
        tokens = next_tokens(self._model, hidden, demands.owed, demands.stops)
        return self._state.join([row.slot for row in rows], tokens, span.last + 1, demands)


def _part(values: Tensor, span: Span, others: tuple[int, ...]) -> Tensor:
    """The span's part of a prompt's values, padded with zeros on the right; `others`: padding of other dimensions."""
    part = values[span.start : span.end]
    return pad(part, (*others, 0, span.length - len(part)))
