"""From the turns of a conversation to what the decoders take: token ids, features of each clip alone, pixels."""

import io
import threading
from collections.abc import Sequence as Items
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pictures

from pipeline.engines import Clip as Samples
from pipeline.engines import Image, Part, Request, Turn
from pipeline.engines.gemma3n.facts import SAMPLES_PER_TOKEN
from pipeline.engines.gemma3n.sequences import Clip, Sequence
from pipeline.errors import PermanentError
from pipeline.job import SAMPLE_RATE

MIN_SAMPLES = SAMPLE_RATE // 10  # the convolutions of the audio tower need 32 ms
ROLES = {"system": "system", "user": "user", "model": "assistant"}
#: The feature extractor pads a clip to whole blocks of this many samples; cutting may round up by one.
BLOCK = 128
LEAST_ANSWER = 8  # tokens; a prompt that leaves fewer is refused


class Inputs:
    """Makes sequences from requests. May be called from several threads at once."""

    def __init__(self, processor: Any, *, stop: frozenset[int], max_length: int) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._stop = stop
        self._max_length = max_length
        self._max_samples = processor.audio_seq_length * SAMPLES_PER_TOKEN + BLOCK
        self._special = _special(self._tokenizer)
        self._lock = threading.Lock()  # a tokenizer must not be entered twice

    def sequence(self, request: Request) -> Sequence:
        """The sequence of a request. Raises PermanentError when the model cannot take it."""
        ids = self._ids(request.turns)
        clips = tuple(self._clip(samples) for samples in request.clips)
        images = request.images
        left = self._max_length - len(ids)
        if left < LEAST_ANSWER:
            raise PermanentError(
                f"the segment takes {len(ids)} tokens, and {self._max_length} are allowed for it and its answer "
                "together (REELMILL_ENGINE__CONTEXT_TOKENS)"
            )
        return Sequence(
            id=request.id,
            ids=ids,
            clips=clips,
            pixels=self._pixels(images) if images else None,
            max_tokens=min(request.max_tokens, left),
            stop=self._stop,
        )

    def text(self, tokens: Items[int]) -> str:
        """The words of an answer, without the tokens that frame it."""
        with self._lock:
            decoded: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return decoded.strip()

    def _ids(self, turns: Items[Turn]) -> torch.Tensor:
        messages = [
            {"role": ROLES[turn.role], "content": [self._content(part) for part in turn.parts]} for turn in turns
        ]
        processor = self._processor
        with self._lock:
            prompt: str = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            prompt = prompt.replace(processor.image_token, processor.full_image_sequence)
            prompt = prompt.replace(processor.audio_token, processor.full_audio_sequence)
            ids = self._tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return torch.tensor(ids, dtype=torch.int64)

    def _content(self, part: Part) -> dict[str, str]:
        if isinstance(part, str):
            return {"type": "text", "text": harmless(part, self._special)}
        return {"type": "image" if isinstance(part, Image) else "audio"}

    def _clip(self, samples: Samples) -> Clip:
        reason = refusal(samples, self._max_samples)
        if reason:
            raise PermanentError(reason)
        # Alone: padded to its batch mates, a clip would get other features.
        features = self._processor.feature_extractor(samples, return_tensors="np", sampling_rate=SAMPLE_RATE)
        return Clip(
            torch.from_numpy(np.asarray(features["input_features"][0], dtype=np.float32)),
            torch.from_numpy(np.asarray(features["input_features_mask"][0], dtype=np.bool_)),
        )

    def _pixels(self, images: Items[bytes]) -> torch.Tensor:
        """float32, shape (images, 3, height, width)."""
        pictures = [_decoded(data) for data in images]
        pixels: torch.Tensor = self._processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        return pixels


def refusal(samples: NDArray[Any], max_samples: int) -> str | None:
    """Why a clip cannot be heard, in plain words; None when it can. Each of these would spoil its batch mates."""
    if samples.dtype != np.float32 or samples.ndim != 1:
        return f"the clip is not mono float32 sound but {samples.dtype} of shape {samples.shape}"
    if len(samples) < MIN_SAMPLES:
        return f"the clip is {len(samples) / SAMPLE_RATE:.3f} s long, the model needs {MIN_SAMPLES / SAMPLE_RATE} s"
    if len(samples) > max_samples:
        return f"the clip is {len(samples) / SAMPLE_RATE:.2f} s long, the model hears {max_samples / SAMPLE_RATE:.2f} s"
    if not np.isfinite(samples).all():
        return "the clip holds samples that are not numbers"
    if float(np.abs(samples).max()) > 1.0:
        return "the clip is not within -1 and 1"
    return None


def harmless(text: str, special: Items[str]) -> str:
    """A user's text in which nothing reads as a token that frames turns or stands for media."""
    for token in special:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _special(tokenizer: Any) -> list[str]:
    """Every string that the tokenizer takes for one special token, as far as it could stand in a text on purpose."""
    marks = {*tokenizer.all_special_tokens, tokenizer.image_token, tokenizer.audio_token}
    marks |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted(mark for mark in marks if len(mark) > 1)


def _decoded(data: bytes) -> Pictures.Image:
    try:
        with Pictures.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as picture:
            picture.load()
            return picture if picture.mode == "RGB" else picture.convert("RGB")  # which would copy it
    except (OSError, ValueError) as error:
        raise PermanentError("the picture in the object store is damaged", str(error)) from error
