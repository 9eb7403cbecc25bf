"""What tests of sizes and of host embeddings compare with: one mixed batch, random sizes, logits and greedy tokens."""

import random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.engines.gemma3n.variants import Layers, Variant

NUM_TOKENS = 8
TOLERANCE = 1e-5  # float32: a part of a matrix may be multiplied in another order than a copy of it


def mixed_batch(processor: Any) -> dict[str, Tensor]:
    """Text, sound, a picture, and both: four prompts as the processor pads them into one batch."""
    chance = np.random.default_rng(3)
    sound = {"type": "audio", "audio": chance.normal(0, 0.1, 24_000).astype(np.float32)}
    pixels = chance.integers(0, 256, (48, 80, 3), dtype=np.uint8)
    picture = {"type": "image", "image": Image.fromarray(pixels)}
    text = {"type": "text", "text": "what is seen and said"}
    conversations = [
        [{"role": "user", "content": [*media, text]}] for media in ([], [sound], [picture], [picture, sound])
    ]
    batch = processor.apply_chat_template(
        conversations,
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    return dict(batch)


def random_size(layers: Layers, seed: int) -> Variant:
    """Mixed widths; one to three layers left out that no other layer reads."""
    chance = random.Random(seed)
    needed = {layers.producer(layer) for layer in range(layers.first_shared, len(layers.widths))}
    spare = [layer for layer in range(len(layers.widths)) if layer not in needed]
    return Variant(
        name=f"random-{seed}",
        widths=tuple(chance.randint(max(1, width // 8), width) for width in layers.widths),
        skipped=frozenset(chance.sample(spare, chance.randint(1, 3))),
    )


@torch.inference_mode()
def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Of every place of the batch that is no padding, (tokens, vocabulary)."""
    every: Tensor = model(**batch).logits
    return every[batch["attention_mask"].bool()]


def greedy_tokens(model: Any, batch: dict[str, Tensor]) -> list[list[int]]:
    written = model.generate(**batch, max_new_tokens=NUM_TOKENS, min_new_tokens=NUM_TOKENS, do_sample=False)
    tokens: list[list[int]] = written[:, batch["input_ids"].shape[1] :].tolist()
    return tokens


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def extra_bytes(model: nn.Module, parent: nn.Module) -> int:
    """Bytes of the tensor memory that a model has and its parent has not."""
    return sum(size for place, size in _memory(model).items() if place not in _memory(parent))


def _memory(model: nn.Module) -> dict[int, int]:
    storages = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}
