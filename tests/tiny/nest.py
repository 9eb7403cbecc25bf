"""MatFormer nesting: in some steps only that half of the language model learns which is a size of its own.

The half is the first half of every feed-forward net, without SKIPPED: layer 4 of 6 is one that reads the keys and
values of earlier layers, so no other layer misses it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tests.tiny.initial import TRAINED

SKIPPED = 4
_HALF = TRAINED.feed_forward // 2


class Nest:
    """Switches a language model between the whole and the half of it."""

    def __init__(self, language_model: nn.Module) -> None:
        self._language_model: Any = language_model

    @contextmanager
    def half(self) -> Iterator[None]:
        """While it is open, the language model is its half."""
        layers = self._language_model.layers
        changed = [layers[SKIPPED], *(layer.mlp for layer in layers)]
        layers[SKIPPED].forward = _unchanged
        for layer in layers:
            layer.mlp.forward = _half_of(layer.mlp)
        try:
            yield
        finally:
            for module in changed:
                del module.forward


def write_sizes(directory: Path) -> None:
    """The table of sizes that a checkpoint brings along, for the product."""
    table = {"half": {"ffn": [_HALF] * len(TRAINED.layer_types), "skip": [SKIPPED]}}
    (directory / "variants.json").write_text(json.dumps(table) + "\n")


def _unchanged(hidden: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    return hidden


def _half_of(mlp: Any) -> Any:
    def forward(hidden: torch.Tensor) -> torch.Tensor:
        gate = functional.linear(hidden, mlp.gate_proj.weight[:_HALF])
        if mlp.activation_sparsity > 0:
            gate = mlp._gaussian_topk(gate)
        up = functional.linear(hidden, mlp.up_proj.weight[:_HALF])
        return functional.linear(mlp.act_fn(gate) * up, mlp.down_proj.weight[:, :_HALF])

    return forward
