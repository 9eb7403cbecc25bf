"""Gemma 3n of published sizes with random weights, and requests for it. Enough for speed and memory, not for words.

There is no tokenizer of the real size here: prompts are made of token ids.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import Gemma3nAudioFeatureExtractor, Gemma3nConfig, Gemma3nForConditionalGeneration

from pipeline.engines.gemma3n.sequences import Clip, Sequence
from pipeline.job import SAMPLE_RATE

CLIP_SECONDS = 30
PICTURE_PIXELS = 768  # side of the square that the published checkpoints take
_FIRST_WORD = 10  # lower ids frame turns
_BLOCK = 2**22 + 15  # random numbers that are drawn once and laid out again and again; odd, so that no two rows agree


def e4b() -> Gemma3nConfig:
    """The defaults of the class: 7.8 billion parameters."""
    return Gemma3nConfig()


def e2b() -> Gemma3nConfig:
    """5.4 billion parameters: five layers less, half the feed-forward width."""
    text = {"num_hidden_layers": 30, "intermediate_size": 8192, "num_kv_shared_layers": 10}
    return Gemma3nConfig(text_config=text)


def random_model(config: Gemma3nConfig, device: str, dtype: torch.dtype, seed: int = 0) -> Any:
    """A model in evaluation mode. Nothing but its own weights takes memory on the way."""
    with init_empty_weights(include_buffers=False):
        model = Gemma3nForConditionalGeneration._from_config(config, dtype=dtype, attn_implementation="sdpa")
    generator = torch.Generator(device).manual_seed(seed)
    block = torch.randn(_BLOCK, generator=generator, device=device).to(dtype)
    made: dict[int, nn.Parameter] = {}
    for module, name, empty in _weights(model):
        if id(empty) not in made:  # tied weights stay tied
            made[id(empty)] = nn.Parameter(_filled(name, empty.shape, block), requires_grad=False)
        module.register_parameter(name, made[id(empty)])
    model.tie_weights()
    return model.to(device).eval()


def towers_in_float32(model: Any) -> None:
    """Let both encoders compute in float32, whatever they are given, and hand on what the model takes.

    Their convolutions take minutes in bfloat16 on a processor that has no instructions for it.
    """
    inner = model.model
    dtype = model.dtype
    inner.vision_tower = WideTower(inner.vision_tower, dtype)
    inner.audio_tower = WideTower(inner.audio_tower, dtype)


class WideTower(nn.Module):
    """An encoder in float32 within a model of another dtype."""

    def __init__(self, tower: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.__dict__["tower"] = tower.float()  # hidden: its weights must not tell the dtype of the model
        self._dtype = dtype

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["tower"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        wide = {name: _cast(value, torch.float32) for name, value in kwargs.items()}
        output = self.__dict__["tower"](*(_cast(value, torch.float32) for value in args), **wide)
        output.last_hidden_state = output.last_hidden_state.to(self._dtype)
        return output


def clip_features(seed: int = 0) -> Clip:
    """Features of 30 s of noise at the level of speech, by the extractor's defaults."""
    noise = np.random.default_rng(seed).normal(0, 0.1, CLIP_SECONDS * SAMPLE_RATE)
    samples = noise.clip(-1, 1).astype(np.float32)
    found = Gemma3nAudioFeatureExtractor()(samples, return_tensors="np", sampling_rate=SAMPLE_RATE)
    features, mask = found["input_features"][0], found["input_features_mask"][0]
    return Clip(torch.from_numpy(features.astype(np.float32)), torch.from_numpy(mask.astype(np.bool_)))


def pixels(side: int, seed: int = 0) -> Tensor:
    """A picture of noise, float32 in [0, 1], shape (1, 3, side, side)."""
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


def clip_request(config: Any, name: str, clip: Clip, prompt_tokens: int, answer_tokens: int) -> Sequence:
    """A prompt of `prompt_tokens` about a clip, with an answer of exactly `answer_tokens`."""
    soft = [config.audio_token_id] * config.audio_soft_tokens_per_image
    framed = [config.boa_token_id, *soft, config.eoa_token_id]
    ids = _prompt(config, name, framed, prompt_tokens)
    return Sequence(id=name, ids=ids, clips=(clip,), max_tokens=answer_tokens)


def picture_request(config: Any, name: str, picture: Tensor, prompt_tokens: int, answer_tokens: int) -> Sequence:
    """A prompt of `prompt_tokens` about a picture, with an answer of exactly `answer_tokens`."""
    soft = [config.image_token_id] * config.vision_soft_tokens_per_image
    framed = [config.boi_token_id, *soft, config.eoi_token_id]
    ids = _prompt(config, name, framed, prompt_tokens)
    return Sequence(id=name, ids=ids, pixels=picture, max_tokens=answer_tokens)


def _prompt(config: Any, name: str, framed: list[int], prompt_tokens: int) -> Tensor:
    """The medium between words, other ones for every name."""
    num_words = prompt_tokens - len(framed)
    if num_words < 2:
        raise ValueError(f"a prompt of {prompt_tokens} tokens is too short for {len(framed)} of its medium")
    random = np.random.default_rng(list(name.encode()))
    words = random.integers(_FIRST_WORD, config.text_config.vocab_size_per_layer_input, num_words).tolist()
    return torch.tensor([*words[: num_words // 2], *framed, *words[num_words // 2 :]], dtype=torch.int64)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _weights(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for module in list(model.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            yield module, name, parameter


def _filled(name: str, shape: torch.Size, block: Tensor) -> Tensor:
    """Matrices of which outputs are as large as inputs; scales of one, biases of nothing."""
    tensor = torch.empty(shape, dtype=block.dtype, device=block.device)
    if tensor.ndim < 2:
        return tensor.zero_() if name == "bias" else tensor.fill_(1)
    for part in tensor.view(-1).split(len(block)):
        part.copy_(block[: len(part)])
    return tensor.mul_(math.prod(shape[1:]) ** -0.5)
