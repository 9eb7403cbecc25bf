"""What the decoders take and give, as tensors: token ids, extracted clips and pictures in, tokens out."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One clip's log-mel features, extracted ALONE.

    The feature extractor counts more frames as sound when it pads a clip to its batch mates, so that a clip extracted
    in a batch gives other answers than alone.
    """

    features: Tensor  #: float32, shape (frames, mel bins), on the host
    mask: Tensor  #: bool, shape (frames,), True where there is sound

    @property
    def num_frames(self) -> int:
        return int(self.features.shape[0])


@dataclass(eq=False, kw_only=True, slots=True)
class Sequence:
    """One request on its way through a decoder. All tensors are on the host."""

    id: str
    ids: Tensor  #: the prompt: int64, shape (tokens,), with a placeholder for every soft token
    clips: tuple[Clip, ...] = ()
    pixels: Tensor | None = None  #: float, shape (images, 3, height, width)
    max_tokens: int
    min_tokens: int = 0  #: tokens before which none of `stop` is chosen
    stop: frozenset[int] = frozenset()  #: all ids that end it; the model's own are not added

    @property
    def num_images(self) -> int:
        return 0 if self.pixels is None else int(self.pixels.shape[0])

    @property
    def num_prompt_tokens(self) -> int:
        return int(self.ids.shape[0])

    @property
    def has_media(self) -> bool:
        return bool(self.clips) or self.pixels is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a sequence became. The token that ended it is the last one."""

    id: str
    tokens: tuple[int, ...]
    why: Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a model takes, and how long a sequence may get in its slot."""

    max_length: int | None  #: prompt and answer together; None: whatever the model bears
    vocabulary: int
    image_token: int
    image_tokens: int  #: soft tokens of one picture
    audio_token: int
    audio_tokens: int  #: soft tokens of one clip, whatever its length
    mel_bins: int
    frames_per_token: int

    @classmethod
    def of(cls, config: Any, max_length: int | None) -> "Limits":
        """Limits of a `Gemma3nConfig`."""
        audio = config.audio_config
        time_strides = [stride[0] for stride in audio.sscp_conv_stride_size]
        return cls(
            max_length=max_length,
            vocabulary=config.text_config.vocab_size,
            image_token=config.image_token_id,
            image_tokens=config.vision_soft_tokens_per_image,
            audio_token=config.audio_token_id,
            audio_tokens=config.audio_soft_tokens_per_image,
            mel_bins=audio.input_feat_size,
            frames_per_token=prod(time_strides) * audio.conf_reduction_factor,
        )


def refusal(sequence: Sequence, limits: Limits) -> str | None:
    """Why a sequence cannot be answered, in plain words; None when it can.

    Everything is checked that would fail alone or, worse, pass in a batch and spoil its batch mates.
    """
    reason = _refused_ids(sequence.ids, limits.vocabulary) or _refused_length(sequence, limits.max_length)
    if reason is None and sequence.pixels is not None:
        reason = _refused_pixels(sequence.pixels)
    if reason is None:
        reason = next(filter(None, (_refused_clip(clip, limits) for clip in sequence.clips)), None)
    return reason or _refused_placeholders(sequence, limits)


def _refused_ids(ids: Tensor, vocabulary: int) -> str | None:
    if ids.dtype != torch.int64 or ids.ndim != 1 or ids.device.type != "cpu":
        return f"the prompt is not a row of int64 ids on the host but {_described(ids)}"
    if not len(ids):
        return "the prompt is empty"
    if int(ids.min()) < 0 or int(ids.max()) >= vocabulary:
        return f"the prompt holds ids that the model does not have (it has 0 to {vocabulary - 1})"
    return None


def _refused_length(sequence: Sequence, max_length: int | None) -> str | None:
    prompt, answer = sequence.num_prompt_tokens, sequence.max_tokens
    if not 0 <= sequence.min_tokens <= answer or answer < 1:
        return f"an answer of {sequence.min_tokens} to {answer} tokens makes no sense"
    if max_length is not None and prompt + answer > max_length:
        return f"{prompt} prompt tokens and up to {answer} answer tokens are more than the {max_length} of a slot"
    return None


def _refused_pixels(pixels: Tensor) -> str | None:
    if not pixels.is_floating_point() or pixels.ndim != 4 or pixels.shape[1] != 3 or not len(pixels):
        return f"the pictures are not float pixels of shape (images, 3, height, width) but {_described(pixels)}"
    if not bool(pixels.isfinite().all()):
        return "the pictures hold pixels that are not numbers"
    return None


def _refused_clip(clip: Clip, limits: Limits) -> str | None:
    features, mask = clip.features, clip.mask
    if features.dtype != torch.float32 or features.ndim != 2 or features.shape[1] != limits.mel_bins:
        return f"a clip is not float32 features of shape (frames, {limits.mel_bins}) but {_described(features)}"
    if mask.dtype != torch.bool or mask.shape != features.shape[:1]:
        return f"the mask of a clip of {clip.num_frames} frames is {_described(mask)}"
    most = limits.audio_tokens * limits.frames_per_token
    if clip.num_frames > most:
        return f"a clip has {clip.num_frames} frames, the model hears {most}"
    if not bool(mask.any()):
        return "a clip holds no sound"
    if not bool(features.isfinite().all()):
        return "a clip holds features that are not numbers"
    return None


def _refused_placeholders(sequence: Sequence, limits: Limits) -> str | None:
    wanted: Items[tuple[str, int, int, int]] = (
        ("pictures", limits.image_token, sequence.num_images, limits.image_tokens),
        ("clips", limits.audio_token, len(sequence.clips), limits.audio_tokens),
    )
    for name, token, number, each in wanted:
        places = int((sequence.ids == token).sum())
        if places != number * each:
            return f"the prompt has {places} places for the soft tokens of {number} {name}, not {number * each}"
    return None


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}"
