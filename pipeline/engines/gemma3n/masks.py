"""Attention masks from positions: True where a query may look."""

import torch
from torch import Tensor


def causal(queries: Tensor, first_key: int, num_keys: int, window: int | None = None) -> Tensor:
    """Mask of queries over consecutive keys.

    queries: int64 positions, shape (rows, queries); rows is 1 when all have the same. The keys are the tokens at
    `first_key`, `first_key` + 1, ... A query sees itself and what came before, with a `window` only as many tokens.
    Returns bool, shape (rows, 1, queries, keys).
    """
    keys = torch.arange(first_key, first_key + num_keys, device=queries.device)
    distance = queries[:, None, :, None] - keys
    seen = distance >= 0
    return seen if window is None else seen & (distance < window)


def first_seen(start: int, window: int) -> int:
    """Position of the oldest token that a query at `start` sees through a sliding window."""
    return max(0, start - window + 1)


def filled(positions: Tensor, columns: Tensor) -> Tensor:
    """Mask of each row's newest token over the columns of its slot.

    positions: int64, shape (rows,), of the newest token; columns: int64, 0, 1, 2, ... Right for a full layer, where
    token p lies in column p, and for a ring, which is filled up to there until all of it is.
    Returns bool, shape (rows, 1, 1, columns).
    """
    return (columns <= positions[:, None])[:, None, None]
