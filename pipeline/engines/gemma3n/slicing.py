"""A size of a Gemma 3n checkpoint as a checkpoint of its own, for machines that need only that size.

Weights go from file to file a block at a time, so memory does not grow with the model. Values are copied, never
computed: the slice has the logits of a view of that size.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import Gemma3nTextConfig

from pipeline.engines.gemma3n.sliced_tensors import check_complete, entries
from pipeline.engines.gemma3n.variants import Layers, Variant, checked, named, own_sizes
from pipeline.engines.gemma3n.weights_file import INDEX_FILE, Entry, weight_files, write
from pipeline.errors import WorldError

CONFIG_FILE = "config.json"
#: What a checkpoint needs beside its weights, and what its licence wants kept with them.
COPIED = (
    "generation_config.json",
    "*processor*.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "LICENSE*",
    "NOTICE*",
    "*USE_POLICY*",
)
DIRECTORY_MODE = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliced:
    """What was written."""

    path: Path
    variant: str
    num_layers: int
    num_parameters: int
    num_bytes: int  #: of all weights


def slice_checkpoint(source: Path, target: Path, variant: Variant) -> Sliced:
    """Write the variant of the checkpoint in the directory `source` to the new directory `target`.

    `target` appears whole or not at all. Raises WorldError when it exists, when the size does not fit, when `source`
    is no Gemma 3n in safetensors, or when there is no room for the slice.
    """
    if os.path.lexists(target):
        raise WorldError(f"{target} is there already; a slice is only ever written to a new directory")
    config = read_config(source)
    text = _text(config)
    checked(variant, Layers.of(text))
    config["text_config"] |= variant.text_fields(Layers.of(text))
    try:
        with _opened(weight_files(source)) as files:
            wanted = {
                name: entries(tensors, variant, text.hidden_size_per_layer_input) for name, tensors in files.items()
            }
            check_complete([entry.name for entry in _all(wanted)], variant)
            with _appearing(target) as directory:
                _check_room(directory, _all(wanted))
                _write_weights(directory, wanted)
                _write_json(directory / CONFIG_FILE, config)
                _copy_beside(source, directory)
    except (OSError, SafetensorError) as error:
        raise WorldError(f"{source} could not be sliced into {target}: {error}") from error
    return Sliced(
        path=target,
        variant=variant.name,
        num_layers=len(variant.kept),
        num_parameters=sum(entry.num_elements for entry in _all(wanted)),
        num_bytes=sum(entry.num_bytes for entry in _all(wanted)),
    )


def choose(checkpoint: Path, name: str, sizes: Path | None = None) -> Variant:
    """The size of that name of a checkpoint, or of the file `sizes` instead of the checkpoint's own.

    Raises PermanentError when there is no such size, WorldError when a file is wrong.
    """
    return named(name, Layers.of(_text(read_config(checkpoint))), own_sizes(checkpoint, sizes))


def read_config(checkpoint: Path) -> dict[str, Any]:
    """The config of a Gemma 3n checkpoint, as it lies there. Raises WorldError when it is not one that can be cut."""
    try:
        config: dict[str, Any] = json.loads((checkpoint / CONFIG_FILE).read_bytes())
        kind, quantized = config.get("model_type"), "quantization_config" in config
    except (OSError, ValueError, AttributeError) as error:
        raise WorldError(
            f"{checkpoint} is not a checkpoint directory, its {CONFIG_FILE} is unreadable: {error}"
        ) from error
    if kind != "gemma3n" or not isinstance(config.get("text_config"), dict):
        raise WorldError(f"{checkpoint} is not a whole Gemma 3n but {kind!r}")
    if quantized:
        raise WorldError(
            f"{checkpoint} is quantized, a size cannot be cut out of it: slice the original, then quantize"
        )
    return config


def _text(config: dict[str, Any]) -> Gemma3nTextConfig:
    return Gemma3nTextConfig.from_dict(config["text_config"])


def _write_weights(directory: Path, wanted: Mapping[str, Sequence[Entry]]) -> None:
    for name, tensors in wanted.items():
        if tensors:
            write(directory / name, tensors)
    if len(wanted) > 1:
        places = {entry.name: name for name, tensors in wanted.items() for entry in tensors}
        total = sum(entry.num_bytes for entry in _all(wanted))
        _write_json(directory / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": places})


def _copy_beside(source: Path, directory: Path) -> None:
    for pattern in COPIED:
        for file in source.glob(pattern):
            if file.is_file():
                shutil.copyfile(file, directory / file.name)  # what a link of the hub's cache points to


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")


def _check_room(directory: Path, tensors: Sequence[Entry]) -> None:
    needed, free = sum(entry.num_bytes for entry in tensors), shutil.disk_usage(directory).free
    if needed > free:
        raise WorldError(
            f"the slice needs {needed / 1e9:.1f} GB of disk, {directory.parent} has {free / 1e9:.1f} GB left"
        )


def _all(wanted: Mapping[str, Sequence[Entry]]) -> list[Entry]:
    return [entry for tensors in wanted.values() for entry in tensors]


@contextmanager
def _opened(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The open safetensors files, by name."""
    with ExitStack() as stack:
        yield {file.name: stack.enter_context(safe_open(file, framework="pt")) for file in files}


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A directory to write to, which becomes `target` if nothing raises and is gone otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        yield directory
        directory.chmod(DIRECTORY_MODE)
        for path in (*directory.iterdir(), directory):
            _sync(path)
        directory.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _sync(path: Path) -> None:
    """Make a file, or the names in a directory, survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
