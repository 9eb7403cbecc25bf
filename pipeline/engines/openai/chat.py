"""A request as the body of a chat completion. Pure; base64 and JSON are CPU work for the caller's own thread."""

import base64
import io
import json
import wave
from typing import Any

import numpy as np

from pipeline.engines import Clip, Image, Part, Request, Sound, Turn
from pipeline.job import SAMPLE_RATE

ROLES = {"system": "system", "user": "user", "model": "assistant"}


def completion(request: Request, model: str) -> bytes:
    """The body of `POST /chat/completions`: JSON, greedy, media inside it."""
    body = {
        "model": model,
        "messages": [message(turn) for turn in request.turns],
        "max_tokens": request.max_tokens,
        "temperature": 0,
    }
    return json.dumps(body).encode()


def message(turn: Turn) -> dict[str, Any]:
    """A turn; its parts keep their order. Mere words are a string, the form that every server takes."""
    if len(turn.parts) == 1 and isinstance(turn.parts[0], str):
        return {"role": ROLES[turn.role], "content": turn.parts[0]}
    return {"role": ROLES[turn.role], "content": [_part(part) for part in turn.parts]}


def wav(clip: Clip) -> bytes:
    """A clip as a 16-bit mono WAV file; exact for what was 16-bit before."""
    samples = np.clip(np.round(clip * 32768), -32768, 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Sound(clip):
            return {"type": "input_audio", "input_audio": {"data": _base64(wav(clip)), "format": "wav"}}
        case Image(data):
            return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_base64(data)}"}}
        case words:
            return {"type": "text", "text": words}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
