"""Continuous batching: sequences join the decode batch as soon as a slot is free and leave it when they end.

A step prefills some of what waits, then gives every running sequence one more token. The tokens of a sequence are those
that `model.generate` gives for it alone, whatever its neighbours (in float32; in bfloat16 the order of sums depends on
the shape of a batch). One thread drives it; there are no locks here.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Items
from typing import Any

import torch

from pipeline.engines.gemma3n.ahead import EncodedPrompts
from pipeline.engines.gemma3n.cache import SlotCache
from pipeline.engines.gemma3n.decoding import Decoding
from pipeline.engines.gemma3n.heads import SPOILT
from pipeline.engines.gemma3n.isolation import as_failure, isolate
from pipeline.engines.gemma3n.prefill import Prefill
from pipeline.engines.gemma3n.rows import NO_PROMPT, Row, RowState
from pipeline.engines.gemma3n.scheduling import next_group
from pipeline.engines.gemma3n.sequences import Finished, Limits, Sequence, refusal
from pipeline.engines.gemma3n.shape import Counters, Shape
from pipeline.errors import PermanentError, PipelineError, UsageError

Ended = Finished | PipelineError


class ContinuousDecoder:
    """Slots of one model, or of one view of it, that sequences join and leave.

    `model` behaves like a `Gemma3nForConditionalGeneration` with sdpa attention and is on its device, in evaluation
    mode. Raises UsageError when its attention is another one.
    """

    def __init__(self, model: Any, shape: Shape) -> None:
        text = model.config.text_config
        if text._attn_implementation != "sdpa":  # a missing mask means causal attention there, and not everywhere
            raise UsageError(f"continuous batching needs sdpa attention, the model has {text._attn_implementation}")
        self.shape = shape
        self.counters = Counters()
        self._limits = Limits.of(model.config, shape.max_length)
        self._cache = SlotCache(text, shape.slots, shape.max_length, model.dtype, model.device)
        self._state = RowState(shape.slots, text.vocab_size, model.device)
        self._prompts = EncodedPrompts(model, self._limits, shape, self.counters)
        self._prefill = Prefill(model, self._cache, self._state, fast=shape.fast_prefill)
        self._decoding = Decoding(model, self._cache, self._state, shape.compile)
        self._free = list(range(shape.slots))
        self._waiting: list[Sequence] = []
        self._prefilling: list[Row] = []
        self._decoding_rows: list[Row] = []
        self._ended: dict[str, Ended] = {}

    @property
    def free_slots(self) -> int:
        """How many more sequences can be admitted without waiting for a slot."""
        return max(0, len(self._free) - len(self._waiting))

    @property
    def running(self) -> frozenset[str]:
        """Ids of all sequences that were admitted and have not ended."""
        rows = [*self._prefilling, *self._decoding_rows]
        return frozenset([*(one.id for one in self._waiting), *(row.sequence.id for row in rows), *self._ended])

    def admit(self, sequences: Items[Sequence]) -> None:
        """Take sequences in; those for which no slot is free wait for one, the oldest first.

        A sequence that the model cannot take comes back from the next `step` as a PermanentError. Raises ValueError
        when an id is in use.
        """
        for sequence in sequences:
            if sequence.id in self.running:
                raise ValueError(f"{sequence.id} runs already")
            reason = refusal(sequence, self._limits)
            if reason is None:
                self._waiting.append(sequence)
            else:
                self._ended[sequence.id] = PermanentError(reason)

    def look_ahead(self, sequences: Items[Sequence]) -> None:
        """Tell which sequences will come next, oldest first: their media may go through the encoders with others'.

        What was encoded for a sequence that is neither in the newest list nor admitted is forgotten.
        """
        running = self.running
        news = [one for one in sequences if one.id not in running and refusal(one, self._limits) is None]
        self._prompts.expect(news, self._waiting)

    def cancel(self, name: str) -> None:
        """Drop a sequence, wherever it is; `step` will not mention it. Unknown ids are ignored."""
        self._ended.pop(name, None)
        self._waiting = [sequence for sequence in self._waiting if sequence.id != name]
        for row in [*self._prefilling, *self._decoding_rows]:
            if row.sequence.id == name:
                self._give_up(row)
        self._prompts.drop(name)

    @torch.inference_mode()
    def step(self) -> Mapping[str, Ended]:
        """Prefill up to `prefill_tokens`, then decode one token of each running sequence; returns what ended, by id."""
        budget = self.shape.prefill_tokens
        while budget > 0 and (self._prefilling or self._begin_group()):
            budget -= self._advance_group()
        if self._decoding_rows:
            self._decode()
        ended, self._ended = self._ended, {}
        return ended

    def _begin_group(self) -> bool:
        """Give slots to the next sequences that belong together; False when there are none, or no slot is free."""
        while group := next_group(self._waiting, len(self._free), self.shape):
            self._waiting = [sequence for sequence in self._waiting if sequence not in group]
            for sequence, prompt in zip(group, self._prompts.take(group, self._waiting), strict=True):
                if isinstance(prompt, PipelineError):
                    self._ended[sequence.id] = prompt
                else:
                    self._prefilling.append(Row(sequence, self._free.pop(0), prompt))
            if self._prefilling:
                return True
        return False

    def _advance_group(self) -> int:
        """One prefill pass over the group, or over parts of it where it fails; returns the tokens that it took."""
        rows = list(self._prefilling)
        length = min(self.shape.padded(max(row.num_left for row in rows)), self.shape.chunk)
        length = min(length, self.shape.max_length - rows[0].num_prefilled)
        outcomes = isolate(lambda part: self._prefill_pass(part, length), rows)
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, PipelineError):
                self._fail(row, outcome)
            elif outcome is not None:
                row.prompt = NO_PROMPT
                self._prefilling.remove(row)
                self._decoding_rows.append(row)
                self._emit(row, outcome)
        return length * len(rows)

    def _prefill_pass(self, rows: Items[Row], length: int) -> list[int | None]:
        useful = sum(min(length, row.num_left) for row in rows)
        first = self._prefill.advance(rows, length)
        self.counters.prefills += 1
        self.counters.prefill_rows += len(rows)
        self.counters.prefill_tokens += length * len(rows)
        self.counters.prefill_useful += useful
        return first

    def _decode(self) -> None:
        rows = list(self._decoding_rows)
        try:
            tokens = self._decoding.step(self.shape.columns(max(row.length for row in rows)))
        except Exception as error:
            for row in rows:
                self._fail(row, as_failure(error))
            return
        self.counters.steps += 1
        self.counters.row_steps += self.shape.slots
        self.counters.useful += len(rows)
        for row in rows:
            self._emit(row, tokens[row.slot])

    def _emit(self, row: Row, token: int) -> None:
        """Give a row its next token, and its slot to others if that ends it."""
        if token == SPOILT:
            self._fail(row, PermanentError("the model's numbers overflow on this sequence: it has no answer"))
            return
        row.tokens.append(token)
        finished = row.finished()
        if finished:
            self._ended[finished.id] = finished
            self._release(row)

    def _fail(self, row: Row, error: PipelineError) -> None:
        self._ended[row.sequence.id] = error
        self._give_up(row)

    def _give_up(self, row: Row) -> None:
        """Take a row out before its end. What it left in its slot may be no numbers."""
        self._cache.scrub([row.slot])
        self._release(row)

    def _release(self, row: Row) -> None:
        for rows in (self._prefilling, self._decoding_rows):
            if row in rows:
                rows.remove(row)
        self._state.leave(row.slot)
        self._free.append(row.slot)
