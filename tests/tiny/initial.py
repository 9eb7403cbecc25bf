"""The tiny checkpoint before it has learnt: its sizes, and initial weights from which so small a width can learn."""

import torch
from torch import nn
from transformers import Gemma3nForConditionalGeneration

from tests.tiny.architecture import FULL, SLIDING, Sizes, build_model

#: 5.12 s of sound, pictures of 64 x 64 pixels.
TRAINED = Sizes(
    hidden=80,
    feed_forward=192,
    layer_types=(SLIDING, FULL, SLIDING, FULL, SLIDING, FULL),
    shared_layers=2,
    sparsity=(0.5, 0.0, 0.0, 0.0, 0.0, 0.0),
    audio_tokens=32,
    audio_hidden=64,
    audio_layers=3,
    audio_channels=(8, 16),
    vision_stem=16,
    vision_stages=(
        ("er_r1_k3_s2_e2_c24",),
        ("uir_r1_a3_k5_s2_e3_c32",),
        ("uir_r1_a3_k5_s2_e3_c48", "mqa_r1_k3_h2_v2_s1_d16_c48", "uir_r1_a0_k0_s1_e2_c48"),
        ("uir_r1_a3_k5_s2_e3_c48", "mqa_r1_k3_h2_s1_d16_c48", "uir_r1_a0_k0_s1_e2_c48"),
    ),
)


def initial_model(seed: int, sizes: Sizes = TRAINED) -> Gemma3nForConditionalGeneration:
    """A float32 model in training mode whose weights are drawn by fan-in."""
    torch.manual_seed(seed)
    model = build_model(sizes)
    _draw_by_fan_in(model)
    model.tie_weights()
    return model.train()


@torch.no_grad()
def _draw_by_fan_in(model: Gemma3nForConditionalGeneration) -> None:
    """The published standard deviation of 0.02 is far too small at this width: nothing is learnt in 500 steps."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0, module.in_features**-0.5)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            module.weight.normal_(0, module.weight[0].numel() ** -0.5)
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0, _embedding_deviation(name, module.embedding_dim))
        if name.endswith("altup"):
            module.correct_output_scale.fill_(1.0)


def _embedding_deviation(name: str, width: int) -> float:
    if name.endswith("per_layer"):
        return 0.25
    return 1.0 if name.endswith(".embedding") else width**-0.5
