"""A checkpoint of the real architecture with random weights, for tests that ask whether numbers are equal."""

from pathlib import Path

import torch
from transformers import Gemma3nForConditionalGeneration

from tests.tiny.architecture import Sizes, build_model, build_processor

SHAKEN = ("per_dim_scale", "correct_output_scale")


def build(directory: Path | str, seed: int = 0, sizes: Sizes | None = None) -> Path:
    """Write config, weights (float32) and processor into `directory`, in seconds; returns the directory."""
    sizes = sizes or Sizes()
    directory = Path(directory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(sizes)
        _shake(model)
    model.save_pretrained(directory)
    build_processor(sizes).save_pretrained(directory)
    return directory


@torch.no_grad()
def _shake(model: Gemma3nForConditionalGeneration) -> None:
    """Make every parameter matter: AltUp and some scales start at zero, and tokens too much alike."""
    for name, parameter in model.named_parameters():
        if (parameter.ndim >= 2 and "altup" in name) or name.endswith(SHAKEN):
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.model.language_model.embed_tokens.weight.mul_(3)
