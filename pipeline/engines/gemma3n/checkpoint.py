"""Where a checkpoint is: in a directory, beside this file, or on the model hub. Nothing is loaded here."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.engines.gemma3n.facts import CONFIG_FILE
from pipeline.errors import WorldError
from pipeline.settings import Engine as EngineSettings

TINY = "tiny"
TINY_DIRECTORY = Path(__file__).parent / "tiny"
INSTALL = 'pip install "reelmill[gemma]"'
#: Files of a hub repository that are taken: never code, never pickled weights.
PATTERNS = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model")
WEIGHTS = "*.safetensors"

_WHOLE_BYTES = 64 * 1024 * 1024  # a file up to this size is hashed whole
_SAMPLES, _SAMPLE_BYTES = 64, 1024 * 1024  # of a larger one, evenly spread and its ends among them


@dataclass(frozen=True, slots=True)
class Checkpoint:
    path: Path
    revision: str  #: the hub's commit, or a hash of the weights


def local_directory(model: str) -> Path | None:
    """The directory that a model setting means; None when it names a model of the hub."""
    if model == TINY:
        return TINY_DIRECTORY
    path = Path(model).expanduser()
    if path.is_dir() or model.startswith(("/", ".", "~")) or model.count("/") != 1:
        return path
    return None


def locate(settings: EngineSettings) -> Checkpoint:
    """Find the checkpoint that the settings name; fetches it when it is on the hub.

    Raises WorldError that says what to do when it is missing, gated, incomplete or not in safetensors.
    """
    directory = local_directory(settings.model)
    if directory is None:
        return _from_hub(settings.model, settings.revision)
    if not directory.is_dir():
        raise WorldError(f"there is no directory {directory} (REELMILL_ENGINE__MODEL)")
    return Checkpoint(directory, _checked(directory, directory.name if directory.parent.name == "snapshots" else None))


def fingerprint(directory: Path, pattern: str = WEIGHTS) -> str:
    """Sha256 over a directory's weights: all of a small file; of a large one its size and 64 MiB spread over it."""
    digest = hashlib.sha256()
    for path in sorted(directory.glob(pattern)):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_BYTES:
                digest.update(file.read())
                continue
            for number in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _checked(directory: Path, commit: str | None) -> str:
    if not (directory / CONFIG_FILE).is_file():
        raise WorldError(f"{directory} is no checkpoint: it has no {CONFIG_FILE}")
    if not any(directory.glob(WEIGHTS)):
        raise WorldError(f"{directory} has no weights in safetensors; other formats can hold code and are not loaded")
    return commit or fingerprint(directory)


def _from_hub(model: str, revision: str | None) -> Checkpoint:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    except ImportError as error:
        raise WorldError(f"huggingface_hub is not installed: {INSTALL}") from error
    try:
        path = Path(snapshot_download(model, revision=revision, allow_patterns=list(PATTERNS)))
    except (GatedRepoError, RepositoryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise WorldError(_way_out(model, error)) from error
    return Checkpoint(path, _checked(path, path.name))  # the hub's cache names a snapshot after its commit


def _way_out(model: str, error: Exception) -> str:
    return (
        f"the model {model} could not be fetched ({type(error).__name__}). Gemma's weights are given to whoever "
        f"accept its licence: (1) accept it at https://huggingface.co/{model}; (2) make a token at "
        "https://huggingface.co/settings/tokens and put it into HF_TOKEN (or run `hf auth login`) on this machine; "
        "(3) start again. Without a way to the hub, copy the checkpoint's files onto the machine and set "
        "REELMILL_ENGINE__MODEL to their directory"
    )
