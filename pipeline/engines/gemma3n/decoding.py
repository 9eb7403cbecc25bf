"""The decode step: one more token for every slot, in fixed shapes, with one synchronisation with the host.

Everything that changes between steps lies in tensors that are changed in place (`RowState`, the stores of the cache),
so that the step can be compiled or captured once and run again. Per-layer embeddings are looked up before it, because
their table may lie on the host.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.engines.gemma3n.cache import FULL, SLIDING, SlotCache
from pipeline.engines.gemma3n.embedding import embed_ids, per_layer_table_is_on_host
from pipeline.engines.gemma3n.graph import CapturedStep, Step
from pipeline.engines.gemma3n.heads import next_tokens
from pipeline.engines.gemma3n.masks import filled
from pipeline.engines.gemma3n.rows import RowState
from pipeline.engines.gemma3n.shape import Compile


class Decoding:
    """Decode steps of a model over the slots of a cache.

    `compile`: "none" runs the step eagerly; "compile" through torch.compile, as one graph without breaks; "graph" as a
    captured CUDA graph, see `graph.py`. One compilation or capture for each number of columns that steps read.
    """

    def __init__(self, model: Any, cache: SlotCache, state: RowState, compile: Compile = "none") -> None:
        self._model = model
        self._language_model = model.model.language_model
        self._cache = cache
        self._state = state
        self._compile = compile
        self._steps: dict[int, Step] = {}

    def step(self, columns: int) -> list[int]:
        """Advance every live row by one token, reading `columns` tokens of each slot's full layers.

        Returns one token per slot: SPOILT where the row's numbers are not finite, nothing to rely on where the row is
        not live. Raises whatever the model raises.
        """
        per_layer_inputs = self._per_layer_inputs()
        if columns not in self._steps:
            self._steps[columns] = self._ready(self.eager(columns), per_layer_inputs)
        chosen: list[int] = self._steps[columns](per_layer_inputs).tolist()
        self._state.keep(chosen)
        return chosen

    def eager(self, columns: int) -> Step:
        """The step itself. No shape depends on what is decoded, and nothing waits for the device."""
        state = self._state
        cache = self._cache.for_decoding(state.writing, columns)
        full = torch.arange(columns, device=state.rows.device)
        ring = torch.arange(self._cache.window, device=state.rows.device)

        def step(per_layer_inputs: Tensor) -> Tensor:
            hidden = self._language_model(
                inputs_embeds=embed_ids(self._model, state.tokens[:, None]),
                per_layer_inputs=per_layer_inputs,
                attention_mask={FULL: filled(state.positions, full), SLIDING: filled(state.positions, ring)},
                position_ids=state.positions[:, None],
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            chosen = next_tokens(self._model, hidden[:, -1], state.owed, state.stops)
            state.tokens.copy_(chosen.clamp(min=0))
            state.positions.add_(state.live.long())
            state.owed.sub_(1)
            return chosen

        return step

    def _per_layer_inputs(self) -> Tensor:
        """Shape (slots, 1, layers, size), on the device, for the newest token of every slot."""
        state = self._state
        ids = state.host_tokens if per_layer_table_is_on_host(self._model) else state.tokens
        looked_up: Tensor = self._language_model.get_per_layer_inputs(ids[:, None])
        return looked_up

    def _ready(self, step: Step, per_layer_inputs: Tensor) -> Step:
        if self._compile == "compile":
            compiled: Step = torch.compile(step, dynamic=False, fullgraph=True)
            return compiled
        if self._compile == "graph":
            return CapturedStep(step, per_layer_inputs, self._state)
        return step
