"""How likely it is that somebody speaks, 32 ms at a time: Silero VAD, a small neural network, on one CPU thread.

faster-whisper brings the network as a file. It is run here without that package, whose import takes seconds and
memory that a worker that cuts media has no use for.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import WorldError
from pipeline.media.sound.levels import FRAME_SAMPLES, levels
from pipeline.settings import Speech

CHUNK = 512  # samples that get one probability
_CONTEXT = 64  # samples of the chunk before, that the network sees with each
_STATE = (1, 1, 128)  # of its memory, empty at the start
_LEVEL = -25.0  # dBFS; quieter sound is raised to it for the network
_MAX_GAIN = 30.0  # dB
_FILE = Path("assets") / "silero_vad_v6.onnx"

Samples = NDArray[np.float32]
#: From mono float32 samples at 16 kHz in [-1, 1] to the probability of speech in each whole chunk.
Detector = Callable[[Samples], Samples]


def detector(settings: Speech) -> Detector | None:
    """What the settings name; it loads the network when it is first asked. Raises WorldError when there is none."""
    if settings.gate == "none":
        return None
    _network()
    return speech_probabilities


def speech_probabilities(samples: Samples) -> Samples:
    """Probability of speech in each whole chunk, shape (samples // CHUNK,). The network starts without memory."""
    chunks = samples[: len(samples) // CHUNK * CHUNK].reshape(-1, CHUNK)
    if not len(chunks):
        return np.empty(0, np.float32)
    before = np.zeros((len(chunks), _CONTEXT), np.float32)
    before[1:] = chunks[:-1, -_CONTEXT:]
    state = np.zeros(_STATE, np.float32)
    found: Samples = _session().run(None, {"input": np.hstack((before, chunks)), "h": state, "c": state})[0]
    return found.reshape(-1)


def voice(detect: Detector, pcm: bytes | bytearray) -> Samples:
    """Probability of speech in each 20 ms frame of s16le PCM, shape (frames,); a last, shorter frame counts as one."""
    frames = levels(pcm)
    if not len(frames):
        return frames
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
    whole = np.pad(raised(samples, float(np.percentile(frames, 95))), (0, -len(samples) % CHUNK))
    middles = np.arange(len(frames)) * FRAME_SAMPLES + FRAME_SAMPLES // 2
    found: Samples = detect(whole)[np.minimum(middles, len(samples) - 1) // CHUNK]
    return found


def raised(samples: Samples, level: float) -> Samples:
    """Sound made loud enough for the network. `level`: of its louder parts, in dBFS."""
    gain = min(_LEVEL - level, _MAX_GAIN)
    return samples if gain <= 0 else np.clip(samples * np.float32(10 ** (gain / 20)), -1, 1)


def _network() -> Path:
    spec = find_spec("faster_whisper")
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / _FILE
    if path is None or not path.is_file() or find_spec("onnxruntime") is None:
        raise WorldError(
            "faster-whisper 1.2.1 is not installed, which brings the network that tells speech from other sound: "
            "pip install 'reelmill[local]', or set REELMILL_SPEECH__GATE=none to do without"
        )
    return path


@cache
def _session() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # memory goes back after each run
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(_network()), options, providers=["CPUExecutionProvider"])
