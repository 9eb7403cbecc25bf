"""Is there speech in a clip, where, and is its level fit for recognition?

Silence and noise are told cheaply; the rest by a small neural network, Silero VAD, on the CPU.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import WorldError
from pipeline.job import SAMPLE_RATE
from pipeline.media.sound.levels import QUIET
from pipeline.media.sound.vad import raised

Samples = NDArray[np.float32]

_FRAME = 512  # samples, for level and flatness
_SILENT = -60.0  # dBFS; below it there is nothing to hear
_CLIPPED_AT = 0.999  # of full scale
_MAX_CLIPPED = 0.001  # share of the samples
#: Of the samples of speech, the loudest 0.5 % lie above some level. Where speech was clipped and then mixed with other
#: channels, its tops are flat: more than so many times 0.5 % lie above 0.9 of that level (2.4 at most in good speech).
_LOUDEST, _FLAT_TOPS = 99.5, 3.0
_FLAT = 0.3  # spectral flatness of noise; voices stay far below, white noise is at 0.56
_SPECKS = 0.6  # seconds of speech; so little, in...
_MUCH_SOUND = 10.0  # ...more than these seconds of sound, is a tone of an instrument taken for a voice
_SHORT = 3.0  # seconds; a shorter clip may be a single word, and is given the benefit of the doubt
_TOUCH = 0.2  # seconds of speech in a stretch, or more; less is the edge of what is said before or after it
_LENIENT = {"threshold": 0.4, "min_speech_duration_ms": 100}
_STRICT = {"threshold": 0.5, "min_speech_duration_ms": 250}


@dataclass(frozen=True, slots=True)
class Activity:
    """Where speech is, in seconds from the start of the clip, and remarks: `no_speech`, `quiet`, `clipped`."""

    spans: tuple[tuple[float, float], ...]
    flags: tuple[str, ...] = ()


def assess(clip: Samples) -> Activity:
    """Look for speech in a clip of at most 30 s: mono, 16 kHz, float32 in [-1, 1], shape (samples,).

    May be called from several threads at once. Raises WorldError when the libraries it needs are missing.
    """
    flags = ("clipped",) if is_clipped(clip) else ()
    padded = np.pad(clip, (0, max(0, 2 * _FRAME - len(clip))))
    level = _levels(padded)
    if is_silent(level) or is_noise(_flatness(padded), level):
        return Activity((), ("no_speech", *flags))
    spans = _voiced(raised(clip, float(np.percentile(level, 95))))
    if is_only_specks(spans, level):
        return Activity((), ("no_speech", *flags))
    if not flags and has_flat_tops(clip, spans):
        flags = ("clipped",)
    return Activity(spans, ("quiet", *flags) if speech_level(level, spans) < QUIET else flags)


def within_speech(start: float, end: float, spans: tuple[tuple[float, float], ...]) -> tuple[float, float]:
    """A stretch of time without the silence at its ends; as it is where hardly any speech is in it.

    Models put the end of a phrase anywhere in the silence behind it, which may be long in a clip that is packed.
    """
    inside = [(max(start, first), min(end, last)) for first, last in spans]
    inside = [(first, last) for first, last in inside if last - first >= _TOUCH]
    return (inside[0][0], inside[-1][1]) if inside else (start, end)


def is_clipped(clip: Samples) -> bool:
    """More samples at full scale than chance puts there."""
    return bool(len(clip)) and float(np.mean(np.abs(clip) >= _CLIPPED_AT)) > _MAX_CLIPPED


def has_flat_tops(clip: Samples, spans: tuple[tuple[float, float], ...]) -> bool:
    """Speech that was clipped before it was made quieter, as by the mixing of its channel with others."""
    parts = [np.abs(clip[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]) for start, end in spans]
    loudness = np.concatenate(parts) if parts else np.empty(0, np.float32)
    if not loudness.size:
        return False
    top = 0.9 * float(np.percentile(loudness, _LOUDEST))
    return float(np.mean(loudness >= top)) > _FLAT_TOPS * (1 - _LOUDEST / 100)


def is_silent(level: Samples) -> bool:
    """No frame is loud enough to be heard. `level` in dBFS, shape (frames,)."""
    return float(level.max()) < _SILENT


def is_noise(flatness: Samples, level: Samples) -> bool:
    """Every frame that can be heard has the flat spectrum of noise: not even a short voiced sound is in it."""
    return float(np.percentile(flatness[_heard(level)], 2)) > _FLAT


def is_only_specks(spans: tuple[tuple[float, float], ...], level: Samples) -> bool:
    """No speech at all, or so little of it in so much sound that it is none."""
    spoken = sum(end - start for start, end in spans)
    sound = float(np.count_nonzero(_heard(level))) * _FRAME / SAMPLE_RATE
    return not spoken or (spoken < _SPECKS and sound > _MUCH_SOUND)


def speech_level(level: Samples, spans: tuple[tuple[float, float], ...]) -> float:
    """dBFS of the louder half of what lies within the spans."""
    times = np.arange(len(level)) * _FRAME / SAMPLE_RATE
    inside = np.zeros(len(level), np.bool_)
    for start, end in spans:
        inside |= (times >= start) & (times < end)
    return float(np.percentile(level[inside] if inside.any() else level, 75))


def _heard(level: Samples) -> NDArray[np.bool_]:
    """The frames that stand out."""
    return level >= max(_SILENT, float(level.max()) - 20)


def _levels(clip: Samples) -> Samples:
    power = _librosa().feature.rms(y=clip, frame_length=2 * _FRAME, hop_length=_FRAME)[0]
    found: Samples = 20 * np.log10(np.maximum(power, 1e-5))
    return found


def _flatness(clip: Samples) -> Samples:
    found: Samples = _librosa().feature.spectral_flatness(y=clip, n_fft=2 * _FRAME, hop_length=_FRAME)[0]
    return found


def _voiced(clip: Samples) -> tuple[tuple[float, float], ...]:
    options = _LENIENT if len(clip) < _SHORT * SAMPLE_RATE else _STRICT
    found = _vad().get_speech_timestamps(clip, min_silence_duration_ms=300, speech_pad_ms=100, **options)
    return tuple((round(span["start"] / SAMPLE_RATE, 3), round(span["end"] / SAMPLE_RATE, 3)) for span in found)


@cache
def _librosa() -> Any:
    try:
        import librosa
    except ImportError as error:
        raise _missing("librosa") from error
    return librosa


@cache
def _vad() -> Any:
    """faster-whisper's copy of Silero; its session runs on one thread."""
    try:
        from faster_whisper import vad
    except ImportError as error:
        raise _missing("faster-whisper") from error
    return vad


def _missing(name: str) -> WorldError:
    return WorldError(f"{name} is not installed, which tells speech from other sound: pip install 'reelmill[local]'")
