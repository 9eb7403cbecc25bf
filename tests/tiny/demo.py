"""`make run ENGINE=gemma3n MODEL=tiny`: what the tiny checkpoint knows, on generated media, through the whole mill.

Prints what the media says beside what the mill made of it. Exit status 1 when too little is right.
"""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline import settings as configuration
from tests.tiny.media import digits_recording, picture, slide_show
from tests.tiny.scoring import exact_phrases
from tests.tiny.world import TRANSLATIONS, translated

REELMILL = str(Path(sys.executable).parent / "reelmill")
SECONDS, SLIDES, PICTURES = 180, 8, 6
ENOUGH = 0.9  # of what is compared


def main() -> None:
    folder = configuration.load().data_dir.absolute() / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pictures").mkdir(parents=True)
    print(f"Media is generated in {folder}", flush=True)
    phrases = digits_recording(folder / "digits.mp3", seed=1, seconds=SECONDS, rate=44_100, channels=2)
    slides = slide_show(folder / "slides.mp4", seed=2, num_slides=SLIDES)
    captions = {
        f"{number}.png": picture(folder / "pictures" / f"{number}.png", seed=10 + number) for number in range(PICTURES)
    }
    said = [phrase.text for phrase in phrases]
    scores: list[tuple[int, int]] = []
    with mill():
        (job,) = reelmill("run", "--task", "transcribe", folder / "digits.mp3")
        scores.append(_compared("transcribe: three minutes of spoken digits, mp3", said, job["text"]))
        (job,) = reelmill("run", "--task", "translate", "--to", "German", folder / "digits.mp3")
        german = [translated(tuple(phrase.split()), "German") for phrase in said]
        _compared("translate --to German", german, job["text"])
        (job,) = reelmill("run", "--task", "caption", "--speech", "--frames", "fps=0.25", folder / "slides.mp4")
        seen = " ".join(part["text"] for part in job["segments"] if part["kind"] == "frames")
        heard = " ".join(part["text"] for part in job["segments"] if part["kind"] == "sound")
        _compared("caption --speech: eight slides, what is seen", [slide.caption for slide in slides], seen)
        scores.append(_compared("... and what is said", [slide.phrase for slide in slides], heard))
        jobs = reelmill("run", "--task", "caption", folder / "pictures")
        print("\ncaption: a folder of pictures")
        given = {Path(job["name"]).name: job["text"] for job in jobs}
        for name, caption in captions.items():
            print(f"  {name}   {caption:<40} {given[name]}")
        scores.append((sum(given[name] == caption for name, caption in captions.items()), len(captions)))
        (job,) = reelmill("run", "--task", "ask", "--question", "How many shapes are there?", folder / "pictures/0.png")
        print(f"\nask: How many shapes are there? ({captions['0.png']})\n  {job['text']}")
        print("\nprovenance", json.dumps(job["provenance"], indent=1))
    right, compared = (sum(column) for column in zip(*scores, strict=True))
    print(
        f"\n{right} of {compared} phrases and captions exactly right. The tiny checkpoint knows spoken digits and drawn"
    )
    print(f"shapes, and nothing else; it translates digits into {' and '.join(TRANSLATIONS)}.")
    print(
        "The real model: REELMILL_ENGINE__NAME=gemma3n REELMILL_ENGINE__MODEL=google/gemma-3n-E4B-it reelmill run ..."
    )
    sys.exit(0 if right >= ENOUGH * compared else 1)


def _compared(title: str, expected: Sequence[str], text: str) -> tuple[int, int]:
    right = exact_phrases(expected, text)
    print(f"\n{title}: {right} of {len(expected)} exactly right")
    print(f"  it says    {' | '.join(expected)[:300]}")
    print(f"  the mill   {text[:300]}", flush=True)
    return right, len(expected)


def reelmill(*arguments: object) -> list[dict[str, Any]]:
    """The documents that a command prints. Its errors are shown as they are."""
    done = subprocess.run([REELMILL, *map(str, arguments), "--json"], stdout=subprocess.PIPE, text=True, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def mill() -> Iterator[None]:
    """A mill that stays up for all commands."""
    process = subprocess.Popen([REELMILL, "up", "--json"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            sys.exit(process.wait() or 1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    main()
