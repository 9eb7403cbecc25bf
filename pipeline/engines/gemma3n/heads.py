"""From the last hidden vector of each row to its next token."""

from typing import Any

import torch
from torch import Tensor

#: Stands for a token where the model's numbers are none: the row is spoilt, its batch mates are not.
SPOILT = -1


def next_tokens(model: Any, hidden: Tensor, owed: Tensor, stops: Tensor) -> Tensor:
    """Greedy choice of each row, int64, shape (rows,); SPOILT where the row's numbers are not finite.

    hidden: shape (rows, hidden); owed: int64, shape (rows,), tokens that the row must still give before it may end;
    stops: bool, shape (rows, vocabulary), True at the ids that would end it. No synchronisation with the host.
    """
    logits = model.lm_head(hidden)
    is_sound = logits.isfinite().all(dim=-1)
    cap = model.config.get_text_config().final_logit_softcapping
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    logits = logits.float().masked_fill(stops & (owed > 0)[:, None], float("-inf"))
    return torch.where(is_sound, logits.argmax(dim=-1), SPOILT)
