"""Fast prefill: layers that only read another layer's keys and values compute each prompt's last token alone.

The other tokens of a prompt are computed to fill the cache, and these layers fill nothing; only the last token's
output is wanted. Exact, and 15 of the 35 layers of the published E4B are of this kind. There are no probabilities of
the prompt's own tokens then.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from pipeline.engines.gemma3n.cache import READS_ANOTHER

Hook = Callable[[Any, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]


def has_readers(config: Any) -> bool:
    """Whether any layer stores no keys and values of its own."""
    return READS_ANOTHER in config.kv_sharing_modes


def first_reader(config: Any) -> int:
    """Index of the first layer that stores no keys and values; all later ones are of its kind."""
    return list(config.kv_sharing_modes).index(READS_ANOTHER)


@contextmanager
def last_token_alone(language_model: Any, lengths: Tensor, last: Tensor, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it, the reading layers of `language_model` see one token per row, and so does what comes after them.

    lengths, last: int64, shape (rows,): tokens of each row in this pass, and the position of its last one. masks: by
    layer type, bool, shape (rows, 1, 1, keys), for that token. Works through the arguments of each layer: hidden
    states (inputs, rows, tokens, hidden), cosines and sines, and its per-layer input.
    """
    first = first_reader(language_model.config)
    with ExitStack() as stack:
        for index in range(first, len(language_model.layers)):
            mask = masks[language_model.config.layer_types[index]]
            hook = _hook(lengths - 1, last, mask, cuts_hidden=index == first)
            stack.enter_context(language_model.layers[index].register_forward_pre_hook(hook, with_kwargs=True))
        yield


def _hook(at: Tensor, last: Tensor, mask: Tensor, *, cuts_hidden: bool) -> Hook:
    rows = torch.arange(at.shape[0], device=at.device)

    def one_token(values: Tensor) -> Tensor:
        return values.expand(at.shape[0], -1, -1)[rows, at][:, None]

    def hook(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden, (cosines, sines), per_layer_input = args
        if cuts_hidden:  # later layers get what the first one leaves: one token
            hidden = hidden[:, rows, at][:, :, None]
        args = (hidden, (one_token(cosines), one_token(sines)), one_token(per_layer_input))
        return args, {**kwargs, "attention_mask": mask, "position_ids": last[:, None]}

    return hook
