"""Gemma 3n through the whole mill: the tiny checkpoint on generated media, held to the words that are in it."""

from pathlib import Path
from typing import Any

import pytest

from tests.command import documents, reelmill
from tests.tiny.media import digits_recording, picture, slide_show
from tests.tiny.scoring import exact_phrases
from tests.tiny.world import translated

TINY = {"REELMILL_ENGINE__NAME": "gemma3n", "REELMILL_ENGINE__MODEL": "tiny", "REELMILL_ENGINE__THREADS": "1"}
ENOUGH = 0.95  # of the phrases


def run(*arguments: object) -> list[dict[str, Any]]:
    done = reelmill("run", "--json", *arguments, **TINY)
    assert done.returncode == 0, done.stderr
    return documents(done)


@pytest.mark.parametrize("size", ["whole", "half"])
def test_a_fleet_and_one_process_give_the_same_bytes_and_the_right_words(tmp_path: Path, size: str) -> None:
    media = tmp_path / "media"
    media.mkdir()
    suffixes = ("mp3", "opus", "m4a", "wav")
    said = {
        f"{number}.{suffix}": [phrase.text for phrase in digits_recording(media / f"{number}.{suffix}", number, 12)]
        for number, suffix in enumerate(suffixes)
    }
    made: list[dict[str, bytes]] = []
    for mode in ([], ["--in-process"]):
        out = tmp_path / f"out{len(made)}"
        jobs = run("--variant", size, "-o", out, "--data-dir", tmp_path / f"data{len(made)}", *mode, media)
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    given = {Path(job["name"]).name: job["text"] for job in jobs}
    right = sum(exact_phrases(phrases, given[name]) for name, phrases in said.items())
    assert right >= ENOUGH * sum(map(len, said.values()))
    (origin,) = jobs[0]["provenance"]["origins"]
    assert (origin["engine"], origin["variant"], origin["precision"]) == ("gemma3n", size, "float32 on cpu")
    assert len(origin["revision"]) == 64
    assert len(origin["prompt"]) == 16


def test_every_task_goes_through_one_mill(tmp_path: Path) -> None:
    at = ("--data-dir", tmp_path / "data", "--in-process")
    slides = slide_show(tmp_path / "slides.mp4", seed=5, num_slides=4)
    (shown,) = run("--task", "caption", "--speech", "--frames", "fps=0.25", *at, tmp_path / "slides.mp4")
    seen = [segment["text"] for segment in shown["segments"] if segment["kind"] == "frames"]
    heard = " ".join(segment["text"] for segment in shown["segments"] if segment["kind"] == "sound")
    assert ", ".join(seen) == ", ".join(slide.caption for slide in slides)
    assert exact_phrases([slide.phrase for slide in slides], heard) >= 3

    caption = picture(tmp_path / "picture.webp", seed=1)
    (described,) = run("--task", "caption", *at, tmp_path / "picture.webp")
    assert described["text"] == caption
    assert set(described["outputs"]) == {"txt", "json"}, "a picture has no times"

    (tmp_path / "digits.txt").write_text("three nine four\n")
    (german,) = run("--task", "translate", "--to", "de", *at, tmp_path / "digits.txt")
    assert german["text"] == translated(("three", "nine", "four"), "German")

    question = ("--question", "How many shapes are there?")
    (counted,) = run("--task", "ask", *question, *at, tmp_path / "picture.webp")
    assert counted["text"] == ("two" if " of " in caption or " above " in caption else "one")

    (summary,) = run("--task", "summarize", *at, tmp_path / "slides.mp4")
    kinds = {segment["kind"] for segment in summary["segments"]}
    assert kinds == {"frames", "sound"}, "what it was made from stays with it"


def test_an_answer_that_cannot_fit_its_schema_fails_with_the_reason(tmp_path: Path) -> None:
    picture(tmp_path / "picture.png", seed=1)
    (tmp_path / "schema.json").write_text('{"type": "object", "required": ["shapes"]}')
    asked = ("--task", "ask", "--question", "What is seen?", "--schema", tmp_path / "schema.json")
    done = reelmill("run", "--json", "--in-process", "--data-dir", tmp_path, *asked, tmp_path / "picture.png", **TINY)
    assert done.returncode == 1
    (job,) = documents(done)
    assert job["status"] == "failed"
    assert "asked twice" in job["error"]
