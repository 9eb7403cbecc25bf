"""What the whole local fleet costs: `reelmill run` on ten minutes of speech against its engine alone.

Both sides start a process and load the model within the measured time. Each round has a file of its own, since
reelmill does not transcribe the same file twice.
"""

import json
import statistics
import tempfile
import wave
from pathlib import Path

import numpy as np
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from pipeline.sample import speech_sample
from tests.benchmarks.sides import engine_alone, reelmill
from tests.speech import librivox, word_error_rate

SAMPLE_RATE = 16_000  # Hz
ROUNDS = 3
MINUTES = 10
PAUSE_SECONDS = (0.5, 2.0)  # between two readings: shortest, longest
MAX_WER = 0.1  # between the two texts: beyond it, the two sides did not do the same work


def main() -> None:
    recordings = [decode_audio(str(path)) for path in (*(path for path, _ in librivox()), speech_sample())]
    with tempfile.TemporaryDirectory(prefix="reelmill-run-overhead-") as folder:
        data_dir = Path(folder) / "data"
        warm_up = Path(folder) / "warm-up.wav"
        write(warm_up, recordings[0])
        reelmill([warm_up], data_dir)

        print(f"{'round':<6} {'reelmill s':>11} {'alone s':>9} {'WER between':>12}")
        pairs: list[tuple[float, float]] = []
        for number in range(1, ROUNDS + 1):
            file = Path(folder) / f"round-{number}.wav"
            write(file, joined(recordings, np.random.default_rng(number)))
            (text,), seconds = reelmill([file], data_dir)
            (text_alone,), seconds_alone = engine_alone([file])
            rate = word_error_rate(text_alone, text)
            print(f"{number:<6} {seconds:>11.1f} {seconds_alone:>9.1f} {rate:>12.1%}", flush=True)
            if rate >= MAX_WER:
                raise SystemExit(f"the two texts differ by {rate:.1%} of the words: the times cannot be compared")
            pairs.append((seconds, seconds_alone))

    through_seconds, alone_seconds = (statistics.median(times) for times in zip(*pairs, strict=True))
    figures = {
        # Within a round, both sides had the same file and, nearly, the same neighbours on the machine.
        "wall_over_engine_alone": round(statistics.median(through / alone for through, alone in pairs), 3),
        "wall_seconds": round(through_seconds, 1),
        "wall_seconds_alone": round(alone_seconds, 1),
    }
    print(json.dumps({"benchmark": "run-overhead", "figures": figures}))


def joined(recordings: list[NDArray[np.float32]], random: np.random.Generator) -> NDArray[np.float32]:
    """The recordings again and again in a random order with pauses between them, MINUTES long."""
    length = MINUTES * 60 * SAMPLE_RATE
    parts: list[NDArray[np.float32]] = []
    while sum(part.size for part in parts) < length:
        for index in random.permutation(len(recordings)):
            pause = np.zeros(int(random.uniform(*PAUSE_SECONDS) * SAMPLE_RATE), dtype=np.float32)
            parts += [recordings[index], pause]
    return np.concatenate(parts)[:length]


def write(path: Path, samples: NDArray[np.float32]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    main()
