"""What a checkpoint says of itself, read without torch: how long a clip may be, how large a picture is.

A machine that only cuts media asks this. Where it does not have the checkpoint, the figures of the published Gemma 3n
models hold.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import WorldError
from pipeline.job import SAMPLE_RATE, SegmentLimits

ARCHITECTURE = "Gemma3nForConditionalGeneration"
SAMPLES_PER_TOKEN = 2_560  # 160 ms of sound for each soft token (model card: 6.25 tokens per second)
CHARACTERS_PER_TOKEN = 3  # of English text, and on the safe side; the engine counts exactly
#: Share of the context that a piece of text may fill: the rest is for the prompt and the answer.
TEXT_SHARE = 0.4  # a translation may take as many tokens as its text, or more
IMAGE_SHARE = 0.75
CONFIG_FILE, PROCESSOR_FILE = "config.json", "processor_config.json"
OWN_LIMITS_FILE = "limits.json"  #: beside config.json: what a checkpoint was trained on, if that is less than it takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Defaults: `google/gemma-3n-E4B-it` and `-E2B-it`."""

    audio_tokens: int = 188  #: of one clip, whatever its length
    image_tokens: int = 256
    image_pixels: int = 768
    context_tokens: int = 32_768
    characters_per_token: int = CHARACTERS_PER_TOKEN
    own: dict[str, Any] = field(default_factory=dict)  #: fields of SegmentLimits

    def limits(self, context_tokens: int) -> SegmentLimits:
        """How large a segment may be when a slot holds `context_tokens`."""
        context = min(context_tokens, self.context_tokens)
        usual = SegmentLimits(
            clip_seconds=min(30.0, self.audio_tokens * SAMPLES_PER_TOKEN / SAMPLE_RATE),
            images=max(1, int(context * IMAGE_SHARE) // self.image_tokens),
            image_pixels=self.image_pixels,
            image_fit="stretch",  # its processor makes a square of any picture
            text_characters=max(100, int(context * TEXT_SHARE) * self.characters_per_token),
        )
        return SegmentLimits.model_validate({**usual.model_dump(), **self.own})


def read(directory: Path) -> Facts:
    """The facts of a checkpoint directory. Raises WorldError when it is no Gemma 3n checkpoint."""
    config = _read_json(directory / CONFIG_FILE)
    if ARCHITECTURE not in config.get("architectures", []):
        raise WorldError(
            f"{directory} is no Gemma 3n checkpoint: its {CONFIG_FILE} names {config.get('architectures')}, "
            f"not {ARCHITECTURE}"
        )
    text = config.get("text_config", {})
    image = _read_json(directory / PROCESSOR_FILE).get("image_processor", {}) if _has(directory, PROCESSOR_FILE) else {}
    usual = Facts()
    vocabulary = text.get("vocab_size", 262_400)
    return Facts(
        audio_tokens=config.get("audio_soft_tokens_per_image", usual.audio_tokens),
        image_tokens=config.get("vision_soft_tokens_per_image", usual.image_tokens),
        image_pixels=image.get("size", {}).get("height", usual.image_pixels),
        context_tokens=text.get("max_position_embeddings", usual.context_tokens),
        # A vocabulary of some hundred words spells most text letter by letter.
        characters_per_token=CHARACTERS_PER_TOKEN if vocabulary > 10_000 else 1,
        own=_read_json(directory / OWN_LIMITS_FILE) if _has(directory, OWN_LIMITS_FILE) else {},
    )


def _has(directory: Path, name: str) -> bool:
    return (directory / name).is_file()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise WorldError(f"the checkpoint is incomplete: {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise WorldError(f"the checkpoint is damaged: {path} is no JSON ({error})") from error
    return document if isinstance(document, dict) else {}
