"""What is taken for speech, and where it is cut: how full clips are, cuts inside speech, words where nobody speaks.

The truth is talk made by a program (`tests/spoken.py`): plain, and over babble, music and noise 10 dB below it, with
ordinary pauses and with short ones. What is no speech goes through the whole mill with the whisper engine, and real
speech twice, with the gate and without.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.media.sound.cutting import Segmenter, SpeechClip
from pipeline.media.sound.levels import FRAMES_PER_SECOND
from pipeline.media.sound.vad import Samples, speech_probabilities
from pipeline.media.windows import place_border
from pipeline.sample import speech_sample
from tests.benchmarks.sides import reelmill
from tests.media_samples import write_wav
from tests.speech import TWO_CITIES, librivox, normalised, word_error_rate
from tests.spoken import RATE, VOICES, Sound, Talk, babble, music, noise, over, pcm, talk

SECONDS = 600
NUM_VOICES = 4
SNR = 10.0  # dB
CLIP_SECONDS = 30.0
PAUSES = {"ordinary": (0.3, 1.5), "short": (0.25, 0.5)}  # seconds
SLACK = 0.01  # seconds; the truth is no finer
BORDER_SECONDS = 10


@dataclass(slots=True)
class Tally:
    """Of one kind of talk."""

    clips: int = 0
    fill: float = 0.0
    cuts: int = 0
    lost: float = 0.0
    asked: float = 0.0  #: seconds of sound that the detector was asked about
    cpu: float = 0.0  #: seconds of CPU


def main() -> None:
    under = {
        "": None,
        "babble": babble(SECONDS),
        "music": music(SECONDS),
        "white noise": noise(SECONDS),
        "pink noise": noise(SECONDS, colour=0.5),
    }
    print(f"{'talk':<24} {'clips':>6} {'fill':>6} {'cuts inside':>12} {'lost s':>7} {'asked':>7} {'CPU s/h':>8}")
    tallies: dict[tuple[str, str], Tally] = {}
    for pauses in PAUSES:
        for name, sound in under.items():
            tally = tallies[pauses, name] = tallied(pauses, sound)
            share, cost = tally.asked / (SECONDS * NUM_VOICES), tally.cpu * 3600 / (SECONDS * NUM_VOICES)
            label = f"{pauses} pauses{f', {name}' if name else ''}"
            counts = f"{tally.clips:>6} {tally.fill / tally.clips:>6.3f} {tally.cuts:>12} {tally.lost:>7.3f}"
            print(f"{label:<24} {counts} {share:>7.1%} {cost:>8.2f}", flush=True)
    words = words_on_non_speech(music(60), noise(60), noise(60, colour=0.5))
    gated, free = (word_errors(gate) for gate in ("vad", "none"))
    print(f"words where nobody speaks {words}, word error rate with the gate {gated:.1%}, without {free:.1%}")
    plain = tallies["ordinary", ""]
    figures = {
        "mean_clip_fill": round(plain.fill / plain.clips, 3),
        "mean_clip_fill_in_noise": round(_mean_fill([tallies["ordinary", name] for name in under if name]), 3),
        "cuts_inside_speech": sum(tally.cuts for tally in tallies.values()),
        "lost_speech_seconds": round(sum(tally.lost for tally in tallies.values()), 3),
        "words_on_non_speech": words,
        "wer_gate_minus_no_gate": round(gated - free, 4),
    }
    print(json.dumps({"benchmark": "speech-gate", "figures": figures}))


def tallied(pauses: str, under: Sound | None) -> Tally:
    """Talk of several voices over one background, cut into clips and windows."""
    tally = Tally()
    for number, voice in enumerate(VOICES[:NUM_VOICES]):
        said = talk(SECONDS, pauses=PAUSES[pauses], seed=number, voice=voice)
        said = said if under is None else over(said, under, SNR)
        before = time.process_time()
        clips = cut(said, tally)
        tally.cpu += time.process_time() - before
        tally.clips += len(clips)
        tally.fill += sum(clip.end - clip.start for clip in clips) / CLIP_SECONDS
        edges = [time for clip in clips for time in (clip.start, clip.end)]
        tally.cuts += sum(is_inside(said, edge) for edge in (*edges, *borders(said)))
        tally.lost += lost_seconds(said, clips)
    return tally


def cut(said: Talk, tally: Tally) -> list[SpeechClip]:
    def detect(samples: Samples) -> Samples:
        tally.asked += len(samples) / RATE
        return speech_probabilities(samples)

    segmenter = Segmenter(0, CLIP_SECONDS, detect)
    return [*segmenter.feed(pcm(said.sound)), *segmenter.finish()]


def borders(said: Talk) -> Iterator[float]:
    """Where windows would begin, if one were due in every other 10 s."""
    for start in range(0, round(said.seconds) - BORDER_SECONDS, 2 * BORDER_SECONDS):
        piece = said.sound[start * RATE : (start + BORDER_SECONDS) * RATE]
        yield start + place_border(pcm(piece), speech_probabilities)


def is_inside(said: Talk, time: float) -> bool:
    """Whether a time lies within a phrase."""
    return any(first / RATE + SLACK < time < end / RATE - SLACK for first, end in said.spans)


def lost_seconds(said: Talk, clips: list[SpeechClip]) -> float:
    """Speech that is in no clip."""
    spoken, kept = np.zeros(len(said.sound), np.bool_), np.zeros(len(said.sound), np.bool_)
    for first, end in said.spans:
        spoken[first:end] = True
    for clip in clips:
        kept[round(clip.start * RATE) : round(clip.end * RATE) + RATE // FRAMES_PER_SECOND] = True
    return float(np.count_nonzero(spoken & ~kept)) / RATE


def words_on_non_speech(*sounds: Sound) -> int:
    """Words that come out of the whole mill for sound without speech, and for silence."""
    with tempfile.TemporaryDirectory(prefix="reelmill-speech-gate-") as folder:
        files = [
            write_wav(Path(folder) / f"{number}.wav", np.frombuffer(pcm(sound), "<i2")[:, None], RATE)
            for number, sound in enumerate((*sounds, np.zeros(60 * RATE, np.float32)))
        ]
        texts, _ = reelmill(files, Path(folder) / "data", "--in-process")
    return sum(len(text.split()) for text in texts)


def word_errors(gate: str) -> float:
    """Word error rate of the whole mill on real speech, with a gate of that name."""
    spoken = [*librivox(), (speech_sample(), TWO_CITIES)]
    os.environ["REELMILL_SPEECH__GATE"] = gate
    with tempfile.TemporaryDirectory(prefix="reelmill-speech-gate-") as folder:
        texts, _ = reelmill([path for path, _ in spoken], Path(folder), "--in-process")
    del os.environ["REELMILL_SPEECH__GATE"]
    counts = [len(normalised(reference).split()) for _, reference in spoken]
    wrong = [word_error_rate(reference, text) for (_, reference), text in zip(spoken, texts, strict=True)]
    return sum(rate * count for rate, count in zip(wrong, counts, strict=True)) / sum(counts)


def _mean_fill(tallies: list[Tally]) -> float:
    return sum(tally.fill for tally in tallies) / sum(tally.clips for tally in tallies)


if __name__ == "__main__":
    main()
