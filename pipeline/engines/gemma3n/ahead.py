"""Prompts with their media in them, encoded together with those of sequences that still wait.

The encoders are called once for many sequences instead of once for each that gets a slot.
"""

from collections.abc import Sequence as Items
from typing import Any

from torch import Tensor

from pipeline.engines.gemma3n.encoders import Encoders
from pipeline.engines.gemma3n.isolation import isolate
from pipeline.engines.gemma3n.scheduling import to_encode
from pipeline.engines.gemma3n.sequences import Limits, Sequence
from pipeline.engines.gemma3n.shape import Counters, Shape
from pipeline.errors import PipelineError


class EncodedPrompts:
    """Encodes prompts when they are needed, and up to `shape.ahead` that will be."""

    def __init__(self, model: Any, limits: Limits, shape: Shape, counters: Counters) -> None:
        self._encoders = Encoders(model, limits)
        self._shape = shape
        self._counters = counters
        self._ready: dict[str, Tensor | PipelineError] = {}
        self._coming: list[Sequence] = []

    def take(self, group: Items[Sequence], waiting: Items[Sequence]) -> list[Tensor | PipelineError]:
        """The vectors of each prompt of the group, or why it has none; `waiting` were admitted and come later."""
        known = {sequence.id for sequence in (*group, *waiting)}
        self._coming = [sequence for sequence in self._coming if sequence.id not in known]
        missing = to_encode(group, [*waiting, *self._coming], self._ready.keys(), self._shape)
        if missing:
            self._encode(missing)
        return [self._ready.pop(sequence.id) for sequence in group]

    def drop(self, name: str) -> None:
        """Forget a sequence."""
        self._ready.pop(name, None)
        self._coming = [sequence for sequence in self._coming if sequence.id != name]

    def expect(self, coming: Items[Sequence], waiting: Items[Sequence]) -> None:
        """Note what comes, oldest first. What was encoded for others than these and those that wait is forgotten."""
        self._coming = list(coming)
        wanted = {sequence.id for sequence in (*coming, *waiting)}
        self._ready = {name: prompt for name, prompt in self._ready.items() if name in wanted}

    def _encode(self, sequences: Items[Sequence]) -> None:
        outcomes = isolate(self._encoders.prompts, sequences)
        self._ready |= {sequence.id: outcome for sequence, outcome in zip(sequences, outcomes, strict=True)}
        num_media = sum(sequence.has_media for sequence in sequences)
        self._counters.encodes += num_media > 0
        self._counters.encoded += num_media
