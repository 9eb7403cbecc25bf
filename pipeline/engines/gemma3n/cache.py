"""Keys and values of all slots.

Every layer that stores keys and values has one pair of tensors for all slots. In a full layer, token p of a sequence
lies in column p of its slot; in a sliding layer, which needs only the newest tokens, in column p modulo the window (a
ring). Layers that read another layer's keys and values store nothing: the model hands them what `update` returned.

The model is given positions and masks, and then calls nothing of its cache but `update`. Decoding and prefilling write
in different ways, so each has a cache of its own over the same tensors. Asked for anything else, they raise
AttributeError: better than an answer that ignores the slots.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.engines.gemma3n.masks import first_seen

FULL = "full_attention"
SLIDING = "sliding_attention"
READS_ANOTHER = "reuse"  #: `kv_sharing_modes` of a layer that stores nothing


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """One layer's keys and values, each of shape (slots, heads, columns, head size)."""

    keys: Tensor
    values: Tensor
    is_ring: bool

    @property
    def columns(self) -> int:
        return int(self.keys.shape[2])

    @property
    def both(self) -> tuple[Tensor, Tensor]:
        return self.keys, self.values


#: By layer; None where the layer stores nothing.
Stores = Sequence[Store | None]


@dataclass(frozen=True, slots=True, eq=False)
class Writing:
    """Where a decode step writes: one token per slot, at its own position, unless the slot is not live."""

    rows: Tensor  #: int64, shape (slots,): 0, 1, 2, ...
    positions: Tensor  #: int64, shape (slots,)
    live: Tensor  #: bool, shape (slots,)


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Where a prefill pass writes: `length` tokens of each row from position `start` on, into the rows' slots."""

    slots: Tensor  #: int64, shape (rows,)
    start: int
    length: int  #: padding included
    lengths: Tensor  #: int64, shape (rows,): without padding, which is on the right

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def last(self) -> Tensor:
        """Position of each row's last token, shape (rows,)."""
        return self.start + self.lengths - 1


class SlotCache:
    """The stores of a model's layers, sized for `slots` sequences of up to `max_length` tokens."""

    def __init__(self, config: Any, slots: int, max_length: int, dtype: torch.dtype, device: torch.device) -> None:
        self.window = min(config.sliding_window, max_length)
        stores: list[Store | None] = []
        for kind, mode in zip(config.layer_types, config.kv_sharing_modes, strict=True):
            columns = self.window if kind == SLIDING else max_length
            size = (slots, config.num_key_value_heads, columns, config.head_dim)
            stores.append(None if mode == READS_ANOTHER else _empty(size, kind == SLIDING, dtype, device))
        self._stores = stores

    def for_decoding(self, writing: Writing, columns: int) -> "DecodeCache":
        """A cache through which a step writes its tokens and reads the first `columns` of the full layers."""
        return DecodeCache(self._stores, writing, columns)

    def for_prefill(self, span: Span) -> "PrefillCache":
        """A cache through which one prefill pass writes its span."""
        return PrefillCache(self._stores, span)

    def scrub(self, slots: Iterable[int]) -> None:
        """Empty slots that may hold numbers that are none: a masked NaN still poisons the row that skips it."""
        for slot in slots:
            for store in filter(None, self._stores):
                store.keys[slot].zero_()
                store.values[slot].zero_()


class DecodeCache:
    """Writes each row's one token at the row's own position."""

    def __init__(self, stores: Stores, writing: Writing, columns: int) -> None:
        self._stores = stores
        self._writing = writing
        self._columns = columns

    def update(self, keys: Tensor, values: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Take one token's keys and values per slot, shape (slots, heads, 1, head size); return what it may see."""
        store = _store(self._stores, layer_idx)
        rows, live = self._writing.rows, self._writing.live[:, None, None]
        columns = self._columns_written(store)
        for kept, new in zip(store.both, (keys, values), strict=True):
            # A row that is not live may belong to a prompt that is still being prefilled: its column keeps what it has.
            kept[rows, :, columns] = torch.where(live, new[:, :, 0], kept[rows, :, columns])
        if store.is_ring:
            return store.both
        return store.keys[:, :, : self._columns], store.values[:, :, : self._columns]

    def _columns_written(self, store: Store) -> Tensor:
        positions = self._writing.positions
        return positions % store.columns if store.is_ring else positions


class PrefillCache:
    """Writes the tokens of a span straight into the slots of its rows."""

    def __init__(self, stores: Stores, span: Span) -> None:
        self._stores = stores
        self._span = span

    def update(self, keys: Tensor, values: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Take the span's keys and values, shape (rows, heads, length, head size); return what its tokens may see."""
        store = _store(self._stores, layer_idx)
        if store.is_ring:
            return self._update_ring(store, keys, values)
        return self._update_full(store, keys, values)

    def _update_full(self, store: Store, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        span = self._span
        for kept, new in zip(store.both, (keys, values), strict=True):
            kept[span.slots, :, span.start : span.end] = new
        if span.start == 0:
            return keys, values
        return store.keys[span.slots, :, : span.end], store.values[span.slots, :, : span.end]

    def _update_ring(self, store: Store, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        first = first_seen(self._span.start, store.columns)
        seen_keys = torch.cat((self._past(store.keys, first), keys), dim=2)
        seen_values = torch.cat((self._past(store.values, first), values), dim=2)
        newest = (newest_in_ring(self._span.last, store.columns) - first).clamp(min=0)
        for kept, seen in zip(store.both, (seen_keys, seen_values), strict=True):
            index = newest[:, None, :, None].expand(-1, seen.shape[1], -1, seen.shape[3])
            kept[self._span.slots] = seen.gather(2, index)
        return seen_keys, seen_values

    def _past(self, kept: Tensor, first: int) -> Tensor:
        """What a ring holds of the tokens from `first` up to the span, in order."""
        positions = torch.arange(first, self._span.start, device=kept.device)
        return kept[self._span.slots][:, :, positions % kept.shape[2]]


def newest_in_ring(last: Tensor, columns: int) -> Tensor:
    """Which position each column of a ring must hold once the token at `last` is in: the newest one that falls there.

    last: int64, shape (rows,). Returns int64, shape (rows, columns); negative where there is no such token yet.
    """
    last = last[:, None]
    return last - (last - torch.arange(columns, device=last.device)) % columns


def _store(stores: Stores, layer: int) -> Store:
    store = stores[layer]
    if store is None:
        raise RuntimeError(f"layer {layer} reads another layer's keys and values, and yet has some to store")
    return store


def _empty(size: tuple[int, ...], is_ring: bool, dtype: torch.dtype, device: torch.device) -> Store:
    keys, values = (torch.zeros(size, dtype=dtype, device=device) for _ in range(2))
    for tensor in (keys, values):
        torch._dynamo.mark_static_address(tensor)
    return Store(keys, values, is_ring)
