"""Whole archives through the real command line: many formats, damaged and hostile files, and a recording of hours."""

import json
import struct
import subprocess
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.media.ffmpeg import Ffmpeg
from pipeline.settings import Settings
from tests.command import ECHO, documents, reelmill, started
from tests.media_samples import RATE, encode, noise_bursts, write_wav
from tests.watching import Seen, watch

HOURS = 3
SPEECH_A_MINUTE = 20  # seconds
MP3_BITS = 24_000  # a second
MP3 = ("-ac", "1", "-ar", "24000", "-b:a", str(MP3_BITS), "-write_xing", "0", "-id3v2_version", "0")

LONGEST_MESSAGE = 1000  # bytes
MOST_MEMORY = 400  # MiB, of one process of the prepare worker

#: Suffix, how ffmpeg makes it, and whether a picture goes with it.
FORMATS: dict[str, tuple[tuple[str, ...], bool]] = {
    "wav": ((), False),
    "aiff": ((), False),
    "flac": ((), False),
    "mp3": (("-b:a", "96k"), False),
    "ogg": (("-c:a", "libvorbis"), False),
    "opus": (("-c:a", "libopus"), False),
    "m4a": (("-c:a", "aac"), False),
    "webm": (("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"), True),
    "mkv": (("-c:v", "mpeg4", "-c:a", "flac"), True),
    "mp4": (("-c:v", "mpeg4", "-c:a", "aac"), True),
}
LENGTHS = (0.2, 1, 3, 10)  # seconds, of each format
LONG = {"mp3": 300, "flac": 120, "wav": 60}  # the fifth length
USUAL_LONG = 30

#: What is wrong with a file, and the words in which its reason must tell it.
BAD = {
    "empty.wav": "the file is empty",
    "cut off.wav": "the file is cut off",
    "cut off.m4a": "cut off or broken",
    "cut off.flac": "the file is cut off",
    "words.mp3": "the file has no sound",
    "playlist.mp4": "this is a playlist that points at other files",
    "list.mkv": "this is a playlist that points at other files",
    "dice.ogg": "not a media format",
    "bomb.flac": "beyond a limit: samples in all channels",
    "silent film.mp4": "the file has no sound",
}


@dataclass(frozen=True, slots=True)
class Run:
    """A finished `reelmill run --json`, and what was seen of it."""

    status: int
    jobs: dict[str, dict[str, Any]]  #: by the name of the file
    log: str  #: of the prepare worker
    seen: Seen


def run_watched(media: Path, folder: Path, *, seconds: float) -> Run:
    data = folder / "data"
    printed = folder / "printed.jsonl"
    with started("run", "--json", "--data-dir", data, media, log=printed, **ECHO) as process:
        seen = watch(process, data, seconds=seconds)
    found = [json.loads(line) for line in printed.read_text().splitlines()]
    jobs = {Path(job["name"]).name: job for job in found}
    assert len(jobs) == len(found), "one document per job"
    return Run(process.returncode, jobs, (data / "logs" / "prepare.log").read_text(), seen)


@pytest.fixture(scope="module")
def ffmpeg() -> Ffmpeg:
    return Ffmpeg.locate(Settings())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def lengths() -> dict[str, float]:
    """Seconds of each good file of the archive."""
    return {
        f"{number}.{suffix}": seconds
        for suffix in FORMATS
        for number, seconds in enumerate((*LENGTHS, LONG.get(suffix, USUAL_LONG)))
    }


@pytest.fixture(scope="module")
def canary(folder: Path) -> Path:
    """A healthy file that lies outside the archive and that nobody may read."""
    return write_wav(folder / "canary.wav", noise_bursts(3, seed=9))


@pytest.fixture(scope="module")
def archive(folder: Path, ffmpeg: Ffmpeg, lengths: dict[str, float], canary: Path) -> Path:
    """Sixty files, ten of them bad."""
    source = write_wav(folder / "source.wav", noise_bursts(max(lengths.values())))
    archive = folder / "archive"
    for name, seconds in lengths.items():
        suffix = Path(name).suffix[1:]
        options, has_video = FORMATS[suffix]
        target = archive / suffix / name
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = seconds if has_video else None
        encode(ffmpeg, source, target, *options, "-ac", "1", "-t", str(seconds), video_seconds=picture)
    plant_bad(archive, archive / "bad", canary, ffmpeg)
    return archive


def plant_bad(archive: Path, bad: Path, canary: Path, ffmpeg: Ffmpeg) -> None:
    bad.mkdir()
    (bad / "empty.wav").touch()
    for suffix in ("wav", "m4a", "flac"):
        whole = (archive / suffix / f"3.{suffix}").read_bytes()
        (bad / f"cut off.{suffix}").write_bytes(whole[: len(whole) // 3])
    (bad / "words.mp3").write_text("These are words, not sound.\n")
    (bad / "playlist.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{canary}\n#EXT-X-ENDLIST\n")
    (bad / "list.mkv").write_text(f"ffconcat version 1.0\nfile '{canary}'\n")
    (bad / "dice.ogg").write_bytes(np.random.default_rng(6).bytes(100_000))
    (bad / "bomb.flac").write_bytes(flac_bomb(hours=2))
    encode(ffmpeg, canary, bad / "silent film.mp4", "-an", "-map", "1:v", "-c:v", "mpeg4", video_seconds=2)
    assert {path.name for path in bad.iterdir()} == BAD.keys()


def flac_bomb(hours: int) -> bytes:
    """A small file of eight silent channels at 192 kHz, all of it good FLAC: 22 GB of sound an hour."""
    rate, channels, block = 192_000, 8, 16_384
    num_frames = hours * 3600 * rate // block
    total = num_frames * block
    packed = rate << 44 | (channels - 1) << 41 | 15 << 36 | total
    info = struct.pack(">HH", block, block) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    frames = [b"fLaC\x80\x00\x00\x22" + info]
    for number in range(num_frames):
        # Sync, fixed block size; 2^14 samples, 192 kHz; eight channels of 16 bits; each is one constant of 0.
        head = b"\xff\xf8\xe3" + bytes([(channels - 1) << 4 | 4 << 1]) + chr(number).encode("utf-8", "surrogatepass")
        frame = head + bytes([crc(head, 8, 0x07)]) + bytes(3 * channels)
        frames.append(frame + crc(frame, 16, 0x8005).to_bytes(2, "big"))
    return b"".join(frames)


def crc(data: bytes, bits: int, polynomial: int) -> int:
    table, value, mask = crc_table(bits, polynomial), 0, (1 << bits) - 1
    for byte in data:
        value = (value << 8 ^ table[value >> (bits - 8) ^ byte]) & mask
    return value


@cache
def crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> (bits - 1) & 1 else 0)
        table.append(value & (1 << bits) - 1)
    return table


@pytest.fixture(scope="module")
def sixty(archive: Path, folder: Path) -> Run:
    """The archive, run through a mill."""
    return run_watched(archive, folder, seconds=150)


def test_of_sixty_files_the_fifty_good_ones_are_done(sixty: Run, lengths: dict[str, float]) -> None:
    assert len(sixty.jobs) == 60
    done = {name: job for name, job in sixty.jobs.items() if job["status"] == "done"}
    assert done.keys() == lengths.keys(), {name: job["error"] for name, job in sixty.jobs.items()}
    for name, job in done.items():
        assert job["media_seconds"] == pytest.approx(lengths[name], abs=0.15), name
        assert "seconds of sound" in job["text"], name
        assert all(Path(path).stat().st_size for path in job["outputs"].values())


def test_the_ten_bad_ones_fail_each_with_its_reason_in_plain_words(sixty: Run) -> None:
    assert sixty.status == 1
    failed = {name: job["error"] for name, job in sixty.jobs.items() if job["status"] == "failed"}
    assert failed.keys() == BAD.keys()
    for name, words in BAD.items():
        assert words in failed[name], name
        assert "Error" not in failed[name], name


def test_a_playlist_brings_nothing_of_the_file_it_points_at(sixty: Run, canary: Path, folder: Path) -> None:
    (heard,) = documents(reelmill("run", "--json", "--in-process", "--data-dir", folder / "control", canary, **ECHO))
    digest = heard["text"].rpartition("digest ")[2]
    assert len(digest) == 9, "the control: when it is read, its digest is in the text"
    outputs = [path.read_text() for path in (folder / "data" / "transcripts").iterdir()]
    assert len(outputs) > 200
    for text in (*outputs, json.dumps(sixty.jobs)):
        assert digest not in text
        assert str(canary) not in text


def test_no_process_that_prepares_media_takes_much_memory(sixty: Run) -> None:
    print(f"peak of a prepare process: {sixty.seen.peak_memory:.0f} MiB")
    assert 20 < sixty.seen.peak_memory < MOST_MEMORY


@pytest.fixture(scope="module")
def three_hours(ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, float]:
    """The run of a recording of three hours, the same minute again and again; and the length of that minute."""
    folder = tmp_path_factory.mktemp("hours")
    talk = noise_bursts(60)
    talk[SPEECH_A_MINUTE * RATE :] //= 500
    minute = encode(ffmpeg, write_wav(folder / "minute.wav", talk), folder / "minute.mp3", *MP3)
    recording = folder / "recording.mp3"
    again = ("-stream_loop", str(60 * HOURS - 1), "-i", str(minute), "-c", "copy", str(recording))
    subprocess.run([str(ffmpeg.ffmpeg), "-nostdin", "-v", "error", *again], check=True, timeout=60)
    run = run_watched(recording, folder, seconds=180)
    return run, minute.stat().st_size * 8 / MP3_BITS


def test_three_hours_become_one_whole_transcript(three_hours: tuple[Run, float]) -> None:
    run, minute = three_hours
    (job,) = run.jobs.values()
    assert (run.status, job["status"], job["error"]) == (0, "done", None)
    assert job["media_seconds"] == pytest.approx(60 * HOURS * minute, abs=1)
    assert all(bool(segment["text"]) != ("no_speech" in segment["flags"]) for segment in job["segments"])
    segments = [segment for segment in job["segments"] if segment["text"]]
    assert all(segment["start"] < segment["end"] for segment in segments)
    assert all(before["end"] <= after["start"] for before, after in pairwise(segments))
    starts = [segment["start"] for segment in segments]
    for number in range(60 * HOURS):
        assert any(abs(start - number * minute) < 0.5 for start in starts), f"minute {number}"
    spoken = sum(segment["end"] - segment["start"] for segment in segments)
    assert spoken == pytest.approx(60 * HOURS * SPEECH_A_MINUTE, rel=0.1)


def test_windows_are_cut_side_by_side_and_answers_come_before_the_last_is_cut(
    three_hours: tuple[Run, float],
) -> None:
    seen = three_hours[0].seen
    assert seen.num_plans >= 6
    assert seen.windows_at_once >= 2
    assert seen.plans_at_first_answer is not None
    assert seen.plans_at_first_answer < seen.num_plans


def test_each_window_is_asked_for_about_once(three_hours: tuple[Run, float]) -> None:
    run, _ = three_hours
    asked = sum(1 for line in run.log.splitlines() if "Task cut[" in line and line.endswith("received"))
    assert run.seen.num_plans <= asked <= 2 * run.seen.num_plans


def test_the_memory_of_a_long_recording_is_that_of_a_short_one(three_hours: tuple[Run, float]) -> None:
    memory = three_hours[0].seen.memory
    third = len(memory) // 3
    print(
        f"peak of a prepare process: {max(memory):.0f} MiB; by thirds: "
        + ", ".join(f"{max(memory[part * third : (part + 1) * third]):.0f}" for part in range(3))
    )
    assert 20 < max(memory) < MOST_MEMORY
    assert max(memory[2 * third :]) < max(memory[third : 2 * third]) + 50


def test_every_message_on_the_live_queue_is_under_one_kilobyte(three_hours: tuple[Run, float], sixty: Run) -> None:
    for sizes in (three_hours[0].seen.message_sizes, sixty.seen.message_sizes):
        assert len(sizes) > 10
        assert max(sizes) < LONGEST_MESSAGE
