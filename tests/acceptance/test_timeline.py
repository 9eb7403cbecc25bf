"""A film in captions with the words beside them, through the real command line."""

import json
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import srt

from pipeline.media.ffmpeg import Ffmpeg
from pipeline.settings import Settings
from tests.command import ECHO, reelmill
from tests.media_samples import noise_bursts, write_wav


def film(folder: Path) -> Path:
    """Red for 100 seconds, blue for 32, with noise like speech."""
    sound, path = write_wav(folder / "sound.wav", noise_bursts(132)), folder / "film.mkv"
    pictures = [f"color={colour}:s=64x48:r=2:d={seconds}" for colour, seconds in (("red", 100), ("blue", 32))]
    inputs = [part for picture in pictures for part in ("-f", "lavfi", "-i", picture)]
    argv = ["-nostdin", "-v", "error", *inputs, "-i", str(sound), "-filter_complex", "[0:v][1:v]concat[v]"]
    argv += ["-map", "[v]", "-map", "2:a", "-c:v", "libx264", "-c:a", "libmp3lame", str(path)]
    subprocess.run([str(Ffmpeg.locate(Settings()).ffmpeg), *argv], check=True, timeout=120)
    return path


def test_a_film_has_one_timeline_the_same_in_one_process_and_in_a_fleet(tmp_path: Path) -> None:
    path = film(tmp_path)
    made: list[dict[str, bytes]] = []
    for mode in ([], ["--in-process"]):
        out = tmp_path / f"out{len(made)}"
        done = reelmill(
            *["run", "--task", "caption", "--speech", "--data-dir", tmp_path / f"data{len(made)}"],
            *["-o", out, *mode, path],
            **ECHO,
            REELMILL_CUTTING__WINDOW_SECONDS="60",
        )
        assert done.returncode == 0, done.stderr
        made.append({found.suffix: found.read_bytes() for found in out.iterdir()})
    assert made[0] == made[1]

    segments = json.loads(made[0][".json"])["segments"]
    assert [segment["start"] for segment in segments] == sorted(segment["start"] for segment in segments)
    captions = [segment for segment in segments if segment["kind"] == "frames"]
    assert len(captions) < 132 / 8, "of 17 groups of frames, most look like the one before"
    assert all(one["end"] <= other["start"] for one, other in pairwise(captions))
    assert all(one["text"] != other["text"] for one, other in pairwise(captions))
    assert (captions[0]["start"], captions[-1]["end"]) == (pytest.approx(0, abs=0.1), pytest.approx(132, abs=0.1))

    cues = list(srt.parse(made[0][".srt"].decode()))
    first = [cue.start.total_seconds() for cue in cues if cue.content.startswith("[")]
    last = [cue.end.total_seconds() for cue in cues if cue.content.endswith("]")]
    shown = [time for times in zip(first, last, strict=True) for time in times]
    assert shown == pytest.approx([caption[side] for caption in captions for side in ("start", "end")], abs=0.002)
    assert f"[00:00:00 - 00:0{int(captions[0]['end']) // 60}" in made[0][".txt"].decode()
