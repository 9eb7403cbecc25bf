"""A checkpoint whose weights are in several files, as large ones are published."""

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file


def shard(checkpoint: Path, target: Path, files: int) -> Path:
    """Copy a checkpoint of one weights file into a new directory, its tensors dealt to so many files."""
    shutil.copytree(checkpoint, target)
    (target / "model.safetensors").unlink()
    tensors = load_file(checkpoint / "model.safetensors")
    places = {name: f"model-{number % files + 1:05}-of-{files:05}.safetensors" for number, name in enumerate(tensors)}
    for file in set(places.values()):
        mine = {name: tensor for name, tensor in tensors.items() if places[name] == file}
        save_file(mine, target / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": places}
    (target / "model.safetensors.index.json").write_text(json.dumps(index))
    return target
