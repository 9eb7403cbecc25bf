"""The rows of the decode batch: what each slot is at, on the device, and the sequence it works for, on the host."""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.engines.gemma3n.cache import Writing
from pipeline.engines.gemma3n.sequences import Finished, Sequence

NO_PROMPT = torch.empty(0)


@dataclass(eq=False, slots=True)
class Row:
    """A sequence in a slot."""

    sequence: Sequence
    slot: int
    prompt: Tensor  #: vectors of the prompt, shape (tokens, hidden); NO_PROMPT once it is in the cache
    num_prefilled: int = 0  #: prompt tokens that are in the cache
    tokens: list[int] = field(default_factory=list)

    @property
    def num_left(self) -> int:
        """Prompt tokens that are not in the cache yet."""
        return self.sequence.num_prompt_tokens - self.num_prefilled

    @property
    def length(self) -> int:
        """Tokens that a decode step of this row reads: prompt and answer so far."""
        return self.sequence.num_prompt_tokens + len(self.tokens)

    def finished(self) -> Finished | None:
        """What it became, if its newest token ends it."""
        if self.tokens[-1] in self.sequence.stop:
            return Finished(id=self.sequence.id, tokens=tuple(self.tokens), why="stop")
        if len(self.tokens) >= self.sequence.max_tokens:
            return Finished(id=self.sequence.id, tokens=tuple(self.tokens), why="length")
        return None


class RowState:
    """Device tensors of all slots, changed in place and never replaced: compiled steps and CUDA graphs hold on to them.

    tokens, positions: int64, shape (slots,), the newest token of each row and where it goes. owed: int64, shape
    (slots,), tokens that must still come before a row may end. stops: bool, shape (slots, vocabulary). live: bool,
    shape (slots,): the row decodes.
    """

    def __init__(self, slots: int, vocabulary: int, device: torch.device) -> None:
        self.rows = torch.arange(slots, device=device)
        self.tokens = torch.zeros(slots, dtype=torch.int64, device=device)
        self.positions = torch.zeros(slots, dtype=torch.int64, device=device)
        self.owed = torch.zeros(slots, dtype=torch.int64, device=device)
        self.stops = torch.zeros(slots, vocabulary, dtype=torch.bool, device=device)
        self.live = torch.zeros(slots, dtype=torch.bool, device=device)
        self.host_tokens = torch.zeros(slots, dtype=torch.int64)  #: copy of `tokens` as of the last step
        for tensor in (self.rows, self.tokens, self.positions, self.owed, self.stops, self.live):
            torch._dynamo.mark_static_address(tensor)

    @property
    def writing(self) -> Writing:
        return Writing(rows=self.rows, positions=self.positions, live=self.live)

    def join(self, slots: Items[int], tokens: Tensor, positions: Tensor, demands: "Demands") -> list[int]:
        """Let rows decode from their first token on; returns these tokens. The step's one synchronisation."""
        at = torch.tensor(slots, device=self.rows.device)
        self.tokens[at] = tokens.clamp(min=0)
        self.positions[at] = positions
        self.owed[at] = demands.owed - 1
        self.stops[at] = demands.stops
        self.live[at] = True
        chosen: list[int] = tokens.tolist()
        self.host_tokens[list(slots)] = torch.tensor(chosen).clamp(min=0)
        return chosen

    def leave(self, slot: int) -> None:
        self.live[slot] = False

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Within it no row is live, so that a step changes nothing that counts; afterwards all is as it was."""
        touched = (self.tokens, self.positions, self.owed, self.live)
        before = [tensor.clone() for tensor in touched]
        self.live.zero_()
        try:
            yield
        finally:
            for tensor, value in zip(touched, before, strict=True):
                tensor.copy_(value)

    def keep(self, tokens: Items[int]) -> None:
        """Note the newest token of every slot on the host, for a per-layer embedding table that lies there."""
        self.host_tokens = torch.tensor(tokens).clamp(min=0)


@dataclass(frozen=True, slots=True, eq=False)
class Demands:
    """How the sequences of some rows may end: see `RowState`."""

    owed: Tensor
    stops: Tensor

    @classmethod
    def of(cls, sequences: Items[Sequence], vocabulary: int, device: torch.device) -> "Demands":
        owed = torch.tensor([sequence.min_tokens for sequence in sequences])
        stops = torch.zeros(len(sequences), vocabulary, dtype=torch.bool)
        for row, sequence in zip(stops, sequences, strict=True):
            row[list(sequence.stop)] = True
        return cls(owed.to(device), stops.to(device))
