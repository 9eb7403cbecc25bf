"""tiny-words: are the words right, end to end? Generated recordings and pictures through a fleet, whole and half model.

Recordings of 1 to 120 s as wav, mp3, opus and m4a, 8 to 48 kHz, mono and stereo; pictures as jpg, png and webp. All of
it is held out: the checkpoint never heard or saw these strings. A phrase counts when every word of it is right and
nothing stands between it and the next.
"""

import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.tiny.demo import mill, reelmill
from tests.tiny.media import Phrase, digits_recording, picture
from tests.tiny.scoring import exact_phrases

RECORDINGS, PICTURES = 200, 200
SUFFIXES = (".wav", ".mp3", ".opus", ".m4a")
RATES = (8_000, 16_000, 22_050, 44_100, 48_000)
OPUS_RATE = 48_000  # the codec has no other
PICTURE_SUFFIXES = (".jpg", ".png", ".webp")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDINGS
    # A mill of its own each time: it would answer the same files from what it has stored.
    folder = Path(tempfile.mkdtemp(prefix="reelmill-tiny-words-"))
    recordings = make_recordings(folder / "recordings", count)
    captions = make_pictures(folder / "pictures", min(count, PICTURES))
    figures: dict[str, float] = {}
    table = Table("what", "size", "number", "exact", box=None)
    os.environ |= {
        "REELMILL_ENGINE__NAME": "gemma3n",
        "REELMILL_ENGINE__MODEL": "tiny",
        "REELMILL_DATA_DIR": str(folder / "data"),
    }
    with mill():
        for size in ("whole", "half"):
            speech = score_recordings(recordings, folder / "recordings", size)
            pictures = score_pictures(captions, folder / "pictures", size)
            suffix = "" if size == "whole" else "_half"
            figures |= {f"exact_speech{suffix}": speech, f"exact_pictures{suffix}": pictures}
            num_phrases = sum(len(phrases) for phrases in recordings.values())
            table.add_row("spoken phrases", size, str(num_phrases), f"{speech:.2%}")
            table.add_row("pictures", size, str(len(captions)), f"{pictures:.2%}")
    Console().print(table)
    shutil.rmtree(folder)
    print(
        json.dumps({"benchmark": "tiny-words", "figures": {name: round(share, 4) for name, share in figures.items()}})
    )


def make_recordings(folder: Path, count: int) -> dict[str, list[Phrase]]:
    """Recordings by file name, with what is said in them."""
    folder.mkdir(parents=True)
    rng = random.Random(20)
    made: dict[str, list[Phrase]] = {}
    for number in range(count):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        rate = OPUS_RATE if suffix == ".opus" else rng.choice(RATES)
        seconds = 120 ** rng.random()
        name = f"{number:03d}{suffix}"
        made[name] = digits_recording(folder / name, number, seconds, rate=rate, channels=1 + number // 4 % 2)
    return made


def make_pictures(folder: Path, count: int) -> dict[str, str]:
    """Pictures by file name, with their captions."""
    folder.mkdir(parents=True)
    names = [f"{number:03d}{PICTURE_SUFFIXES[number % len(PICTURE_SUFFIXES)]}" for number in range(count)]
    return {name: picture(folder / name, seed=1_000 + number) for number, name in enumerate(names)}


def score_recordings(truth: dict[str, list[Phrase]], folder: Path, size: str) -> float:
    """Share of the phrases that are exact."""
    jobs = reelmill("run", "--task", "transcribe", "--variant", size, folder)
    given = {Path(job["name"]).name: job["text"] for job in jobs}
    right = sum(exact_phrases([phrase.text for phrase in said], given[name]) for name, said in truth.items())
    return right / sum(len(said) for said in truth.values())


def score_pictures(truth: dict[str, str], folder: Path, size: str) -> float:
    """Share of the captions that are exact."""
    jobs = reelmill("run", "--task", "caption", "--variant", size, folder)
    given = {Path(job["name"]).name: job["text"] for job in jobs}
    return sum(given[name] == caption for name, caption in truth.items()) / len(truth)


if __name__ == "__main__":
    main()
