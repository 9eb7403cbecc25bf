"""Which part of each tensor of a Gemma 3n checkpoint a variant takes, and what it is called there."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.engines.gemma3n.variants import Variant, runs
from pipeline.engines.gemma3n.weights_file import ELEMENT_BYTES, Entry
from pipeline.errors import WorldError

BLOCK_BYTES = 64 * 2**20  # of a tensor, in memory at once

#: The tensors with something of every layer in them: rows, columns or a name of its own for each.
TABLE = "language_model.embed_tokens_per_layer.weight"
PROJECTION = "language_model.per_layer_model_projection.weight"
LAYER = re.compile(r"(.*language_model\.layers\.)(\d+)(\..+)")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")

Stretches = Sequence[tuple[int, int]]  #: half-open


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a tensor of the checkpoint; None takes everything along that axis."""

    name: str  #: in the slice
    rows: Stretches | None = None
    columns: Stretches | None = None


def part(name: str, variant: Variant, per_layer_width: int) -> Part | None:
    """What a variant takes of the checkpoint's tensor of that name; None when it is of a skipped layer."""
    by_layer = [(start * per_layer_width, end * per_layer_width) for start, end in runs(variant.kept)]
    if name.endswith(TABLE):
        return Part(name, columns=by_layer)
    if name.endswith(PROJECTION):
        return Part(name, rows=by_layer)
    of_layer = LAYER.fullmatch(name)
    return Part(name) if of_layer is None else _layer_part(of_layer, variant)


def _layer_part(of_layer: re.Match[str], variant: Variant) -> Part | None:
    before, number, after = of_layer.groups()
    layer = int(number)
    if layer not in variant.kept:
        return None
    name, first = f"{before}{variant.kept.index(layer)}{after}", [(0, variant.widths[layer])]
    match after:
        case ".mlp.gate_proj.weight" | ".mlp.up_proj.weight":
            return Part(name, rows=first)
        case ".mlp.down_proj.weight":
            return Part(name, columns=first)
        case _:
            return Part(name)


def check_complete(names: Sequence[str], variant: Variant) -> None:
    """Raises WorldError when a tensor that has to be cut is not among those found: then names mean something else."""
    layers = range(len(variant.kept))
    matrices = [f"language_model.layers.{layer}.mlp.{name}.weight" for layer in layers for name in FEED_FORWARD]
    for ending in (TABLE, PROJECTION, *matrices):
        if sum(name.endswith(ending) for name in names) != 1:
            raise WorldError(
                f"the weights have no {ending}: they are not named as transformers names those of Gemma 3n"
            )


def entries(tensors: Any, variant: Variant, per_layer_width: int) -> list[Entry]:
    """What a variant takes of an open safetensors file; nothing is read yet."""
    wanted = [(name, part(name, variant, per_layer_width)) for name in sorted(tensors.keys())]
    return [_entry(tensors, name, of_it) for name, of_it in wanted if of_it is not None]


def _entry(tensors: Any, name: str, wanted: Part) -> Entry:
    stored = tensors.get_slice(name)
    shape, dtype = list(stored.get_shape()), str(stored.get_dtype())
    if dtype not in ELEMENT_BYTES:
        raise WorldError(f"the checkpoint is quantized ({name} is {dtype}), a size cannot be cut out of it")
    if wanted.rows is not None:
        shape[0] = _length(wanted.rows)
    if wanted.columns is not None:
        shape[1] = _length(wanted.columns)

    def blocks() -> Iterator[Tensor]:
        if not stored.get_shape():
            yield tensors.get_tensor(name)
            return
        for start, end in _portions(wanted.rows or [(0, shape[0])], stored.get_shape(), ELEMENT_BYTES[dtype]):
            block: Tensor = stored[start:end]
            if wanted.columns is not None:
                block = torch.cat([block[:, first:last] for first, last in wanted.columns], dim=1)
            yield block

    return Entry(name=wanted.name, dtype=dtype, shape=tuple(shape), blocks=blocks)


def _portions(rows: Stretches, shape: Sequence[int], element_bytes: int) -> Iterator[tuple[int, int]]:
    """Stretches of rows again, none of them larger than a block."""
    row_bytes = element_bytes
    for size in shape[1:]:
        row_bytes *= size
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    for start, end in rows:
        for first in range(start, end, step):
            yield first, min(first + step, end)


def _length(stretches: Stretches) -> int:
    return sum(end - start for start, end in stretches)
