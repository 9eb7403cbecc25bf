"""From a checkpoint's files to a model on its device. transformers' own classes; never remote code, never pickles."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from transformers import AutoProcessor, Gemma3nForConditionalGeneration
from transformers.utils import logging

from pipeline.engines.gemma3n.checkpoint import Checkpoint, fingerprint
from pipeline.engines.gemma3n.host_embeddings import keep_on_host
from pipeline.errors import WorldError
from pipeline.job import Origin
from pipeline.settings import Engine as EngineSettings

ADAPTER_WEIGHTS = "adapter_model.safetensors"
VERSIONS = ("transformers", "torch", "timm")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in evaluation mode on its device, and the processor that belongs to it."""

    model: Gemma3nForConditionalGeneration
    processor: Any
    path: Path


def load(checkpoint: Checkpoint, settings: EngineSettings) -> tuple[Loaded, Origin]:
    """Read a checkpoint. Raises WorldError that says what to do when the device or the files are unfit."""
    logging.disable_progress_bar()
    where = device(settings)
    dtype = precision(settings, where)
    with _plainly(f"the checkpoint {checkpoint.path} cannot be loaded"):
        processor = AutoProcessor.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=False)
        model = Gemma3nForConditionalGeneration.from_pretrained(
            checkpoint.path,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            attn_implementation="sdpa",
        ).eval()
    adapter = None
    if settings.adapter is not None:
        model, adapter = _adapted(model, settings.adapter)
    if settings.host_embeddings:
        keep_on_host(model, checkpoint.path)
    with _plainly(f"the model does not fit on {where}"):
        model = model.to(where)
    if settings.threads and where == "cpu":
        torch.set_num_threads(settings.threads)
    origin = Origin(
        engine="gemma3n",
        model=settings.model,
        revision=checkpoint.revision,
        versions={name: version(name) for name in VERSIONS},
        adapter=adapter,
        precision=f"{str(dtype).removeprefix('torch.')} on {where}",
    )
    return Loaded(model, processor, checkpoint.path), origin


def device(settings: EngineSettings) -> Literal["cpu", "cuda"]:
    """The device that the settings mean on this machine. Raises WorldError when they want a GPU and there is none."""
    if settings.device == "cpu" or (settings.device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise WorldError(
            "REELMILL_ENGINE__DEVICE is cuda, but torch sees no GPU: check `nvidia-smi`, and that torch is a CUDA "
            f"build (this one: {torch.__version__})"
        )
    return "cuda"


def precision(settings: EngineSettings, where: str) -> torch.dtype:
    if settings.precision == "auto":
        return torch.bfloat16 if where == "cuda" else torch.float32
    return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32


def device_bytes(model: Gemma3nForConditionalGeneration) -> int:
    """Bytes of weights on the model's device; the per-layer embeddings of the host are not among them."""
    tensors = {tensor.data_ptr(): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _adapted(model: Gemma3nForConditionalGeneration, adapter: str) -> tuple[Gemma3nForConditionalGeneration, str]:
    """The model with a LoRA adapter merged into its weights, and the adapter's name with its hash."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise WorldError('peft is not installed, which adapters need: pip install "reelmill[gemma]"') from error
    path = _adapter_directory(adapter)
    if not (path / ADAPTER_WEIGHTS).is_file():
        raise WorldError(
            f"the adapter {adapter} has no {ADAPTER_WEIGHTS}; other formats can hold code, and are not loaded"
        )
    with _plainly(f"the adapter {adapter} does not fit the model"):
        adapted = PeftModel.from_pretrained(model, str(path), use_safetensors=True)
        _check_adapter(adapted, path / ADAPTER_WEIGHTS)
        merged = adapted.merge_and_unload()
    return merged.eval(), f"{adapter}@{fingerprint(path)[:16]}"


def _check_adapter(adapted: torch.nn.Module, weights: Path) -> None:
    """peft only warns when weights find no place, and would leave the model as it was."""
    with safe_open(weights, framework="pt") as tensors:
        given = set(tensors.keys())
    placed = {name.replace(".default.", ".") for name, _ in adapted.named_parameters() if ".lora_" in name}
    if given != placed:
        raise WorldError(
            f"{weights} was made for another model: {len(given - placed)} of its tensors have no place in this one, "
            f"{len(placed - given)} places are left empty"
        )


def _adapter_directory(adapter: str) -> Path:
    path = Path(adapter).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    with _plainly(f"there is no directory {adapter}, and the hub has no such adapter for this machine"):
        return Path(snapshot_download(adapter, allow_patterns=["adapter_config.json", ADAPTER_WEIGHTS]))


@contextmanager
def _plainly(what: str) -> Iterator[None]:
    """Turn what the libraries raise while loading into one message. Their errors have no class in common."""
    try:
        yield
    except WorldError:
        raise
    except Exception as error:
        raise WorldError(f"{what}: {type(error).__name__}: {error}") from error
