"""The per-layer embeddings of Gemma 3n in host memory: the largest table of the model, of which a step needs few rows.

The table is mapped from the checkpoint's safetensors file and never copied, so every process of a machine reads the
same pages of the operating system's cache. Only the distinct rows of a step go to the device.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import Gemma3nForConditionalGeneration

from pipeline.engines.gemma3n.weights_file import weight_files
from pipeline.errors import WorldError

TABLE = "embed_tokens_per_layer.weight"


class HostEmbeddings(nn.Module):
    """Stands in for `embed_tokens_per_layer`; gives the same numbers bit for bit, on the device of its model.

    `on_host` tells that token ids are best given on the host: ids on a device are fetched, and the step waits for them.
    `rows_fetched` counts the rows that were read from the table.
    """

    on_host = True

    def __init__(self, table: Tensor, embedding: nn.Module) -> None:
        """`table`: (token ids, layers x width), kept as it is. `embedding`: the module it stands in for."""
        super().__init__()
        self.rows_fetched = 0
        self.table = table  # a plain attribute: no move or cast of the model reaches it
        weight, scale = embedding.get_parameter("weight"), embedding.get_buffer("embed_scale")
        self.register_buffer("embed_scale", scale, persistent=False)
        # Empty; moved and cast with the model, it tells where the weight would be by now, and as what.
        self.register_buffer("weight_like", torch.empty(0, dtype=weight.dtype, device=weight.device), persistent=False)
        self.weight_like: Tensor
        self.embed_scale: Tensor

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids, any shape and place, to scaled embeddings, (*shape, layers x width), on the model's device."""
        like = self.weight_like
        ids, places = torch.unique(input_ids.to("cpu"), return_inverse=True)
        rows = self.table.index_select(0, ids).to(device=like.device, dtype=like.dtype)
        self.rows_fetched += ids.numel()
        return rows[places.to(like.device)] * self.embed_scale.to(like.dtype)


def keep_on_host(model: Gemma3nForConditionalGeneration, checkpoint: Path) -> HostEmbeddings:
    """Let a model look its per-layer embeddings up in its checkpoint's file, and forget its own copy of the table.

    Call it on a model that was just loaded onto the CPU, and move it to its device afterwards: then the table is
    never copied. Raises WorldError when the checkpoint has no such table, or not that model's.
    """
    text = model.model.language_model
    table = mapped_table(checkpoint)
    expected = tuple(text.embed_tokens_per_layer.weight.shape)
    if tuple(table.shape) != expected:
        raise WorldError(f"the per-layer embeddings in {checkpoint} are {tuple(table.shape)}, the model's {expected}")
    embeddings = HostEmbeddings(table, text.embed_tokens_per_layer)
    text.register_module("embed_tokens_per_layer", embeddings)
    return embeddings


def mapped_table(checkpoint: Path) -> Tensor:
    """The table of a checkpoint directory, (token ids, layers x width), memory-mapped. Raises WorldError."""
    for file in weight_files(checkpoint, TABLE):
        try:
            with safe_open(file, framework="pt") as tensors:
                name = next((name for name in sorted(tensors.keys()) if name.endswith(TABLE)), None)
                if name is not None:
                    table: Tensor = tensors.get_tensor(name)
                    return table
        except (OSError, SafetensorError) as error:
            raise WorldError(f"{file} cannot be read as safetensors: {error}") from error
    raise WorldError(f"{checkpoint} has no per-layer embeddings ({TABLE}) in safetensors format")
