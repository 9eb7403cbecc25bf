"""Speech of the tiny world: espeak-ng, called in process through the library that the `espeakng-loader` wheel carries.

espeak-ng keeps one voice per process and no locks: one thread may speak at a time.
"""

import ctypes
import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import espeakng_loader
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

SAMPLE_RATE = 16_000
_ESPEAK_RATE = 22_050

ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc", "en-gb-x-gbclan")
SPEAKERS = ("", "+m1", "+m2", "+m3", "+m5", "+m6", "+f1", "+f2", "+f4")
#: Speakers that training never hears.
NEW_SPEAKERS = ("+m4", "+m7", "+f3", "+f5")

# Constants of espeak-ng's speak_lib.h.
_SYNCHRONOUS_RETRIEVAL = 2
_RATE, _PITCH, _WORD_GAP = 1, 3, 7
_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Who speaks and how."""

    name: str
    words_per_minute: int = 150
    pitch: int = 50  #: 0 .. 99
    word_gap: int = 0  #: silence between words, in units of 10 ms at the default rate


def a_voice(rng: random.Random, speakers: Sequence[str] = SPEAKERS) -> Voice:
    return Voice(
        name=rng.choice(ACCENTS) + rng.choice(speakers),
        words_per_minute=rng.randint(115, 190),
        pitch=rng.randint(25, 75),
        word_gap=rng.choice((0, 0, 1, 3, 6)),
    )


def speak(text: str, voice: Voice) -> NDArray[np.float32]:
    """Mono speech at SAMPLE_RATE in [-1, 1], shape (samples,). Raises ValueError for a voice that does not exist."""
    library, heard = _library()
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice.name!r}")
    for parameter, value in ((_RATE, voice.words_per_minute), (_PITCH, voice.pitch), (_WORD_GAP, voice.word_gap)):
        library.espeak_SetParameter(parameter, value, 0)
    heard.clear()
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
    sound = np.concatenate(heard).astype(np.float32) / 32768
    return resample_poly(sound, SAMPLE_RATE // 50, _ESPEAK_RATE // 50).astype(np.float32)


@functools.cache
def _library() -> tuple[ctypes.CDLL, list[NDArray[np.int16]]]:
    """The initialised library, and the list that its callback fills while it speaks."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS_RETRIEVAL, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate != _ESPEAK_RATE:
        raise RuntimeError(f"espeak-ng gives {rate} samples a second, expected {_ESPEAK_RATE}")
    heard: list[NDArray[np.int16]] = []

    def hear(samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int | None) -> int:
        del events
        if count:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(hear)
    library.espeak_SetSynthCallback(callback)
    library.hear = callback  # the library keeps only its address
    return library, heard
