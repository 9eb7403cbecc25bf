"""The finished checkpoint on disk: what `from_pretrained` reads, in bfloat16, and the sizes it holds."""

from pathlib import Path

import torch

from tests.tiny.architecture import build_processor, restore_vision_arguments
from tests.tiny.initial import TRAINED, initial_model
from tests.tiny.nest import write_sizes
from tests.tiny.towers import State


def save(state: State, directory: Path) -> None:
    """Write the model, its processor and its table of sizes into `directory`."""
    model = initial_model(0)
    model.load_state_dict(state)
    model.tie_weights()
    restore_vision_arguments(model, TRAINED)
    model.eval().to(torch.bfloat16).save_pretrained(directory)
    build_processor(TRAINED).save_pretrained(directory)
    write_sizes(directory)
    (directory / "model.safetensors").chmod(0o644)
