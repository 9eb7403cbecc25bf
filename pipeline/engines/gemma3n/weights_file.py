"""Safetensors files: which of them a checkpoint has, and writing one without holding its tensors in memory.

The format: the length of a JSON header (8 bytes, little endian), the header, then the values of each tensor in turn.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import WorldError

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"  #: of a checkpoint in several files: which tensor is in which

#: Bytes of one element, by the format's own names of types.
ELEMENT_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
HEADER_ALIGNMENT = 8  # so that the values can be mapped into memory as they lie


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A tensor to be written."""

    name: str
    dtype: str  #: one of ELEMENT_BYTES
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[Tensor]]  #: its values in order, in pieces of any size

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        return self.num_elements * ELEMENT_BYTES[self.dtype]


def weight_files(checkpoint: Path, ending: str = "") -> list[Path]:
    """The safetensors files of a checkpoint that may hold a tensor whose name ends so, in order.

    Raises WorldError when the checkpoint has none.
    """
    index = checkpoint / INDEX_FILE
    if not index.is_file():
        return [_existing(checkpoint / WEIGHTS_FILE)]
    try:
        places: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
    except (OSError, ValueError, KeyError) as error:
        raise WorldError(f"{index} is not an index of safetensors files: {error!r}") from error
    files = {file for name, file in places.items() if name.endswith(ending)}
    return [_existing(checkpoint / file) for file in sorted(files)]


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Write a safetensors file, one block in memory at a time. Raises OSError when the disk refuses."""
    entries = sorted(entries, key=lambda entry: (-ELEMENT_BYTES[entry.dtype], entry.name))  # keeps values aligned
    with path.open("wb") as file:
        file.write(_header(entries))
        for entry in entries:
            num_written = sum(file.write(_bytes(block)) for block in entry.blocks())
            if num_written != entry.num_bytes:
                raise ValueError(f"{entry.name}: {num_written} bytes came, its shape promises {entry.num_bytes}")


def _header(entries: Sequence[Entry]) -> bytes:
    described: dict[str, object] = {"__metadata__": {"format": "pt"}}  # transformers refuses weights without it
    end = 0
    for entry in entries:
        begin, end = end, end + entry.num_bytes
        described[entry.name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [begin, end]}
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _bytes(block: Tensor) -> memoryview:
    """The values as they lie in memory; by way of bytes, because numpy has no bfloat16."""
    return block.contiguous().flatten().view(torch.uint8).numpy().data


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise WorldError(f"the checkpoint's weights are not in safetensors format, or incomplete: there is no {file}")
    return file
