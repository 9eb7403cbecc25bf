"""A dry run says of every file what `prepare` would: the same refusals, in the same words, and the same media."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import keys, tasks
from pipeline.engines import Capabilities
from pipeline.engines.gemma3n.facts import Facts
from pipeline.errors import PermanentError
from pipeline.job import Job, Media, MediaInfo, Options, SegmentLimits
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.planning.estimate import Sizes
from pipeline.planning.look import Asked, Looker, Seen, in_order
from pipeline.settings import Cutting, Settings, Video
from pipeline.stages.source import MediaSource
from pipeline.store import DirectoryStore, file_sha256
from tests.media_samples import beeps, encode, noise_bursts, write_wav

OPTIONS = {
    "transcribe": Options(),
    "caption": Options(speech=True),
    "ask": Options(question="What?"),
    "translate": Options(to="de"),
    "summarize": Options(),
}
ENGINE = Capabilities(
    kinds=frozenset({"sound", "image", "text"}), limits=SegmentLimits(images=4), max_batch=1, max_cost=1
)
#: Small, so that some of the files are beyond them.
STRICT = {"duration_seconds": 8, "pixels": 100_000, "text_bytes": 5_000, "frames": 5}


@pytest.fixture(scope="session")
def ffmpeg() -> Ffmpeg:
    return Ffmpeg.locate(Settings())


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """A bit of everything: what will do, what is too large, what is broken, what poses as something else."""
    folder = tmp_path_factory.mktemp("archive")
    sound = write_wav(folder / "sound.wav", beeps(4, at=(1,)))
    write_wav(folder / "long.wav", beeps(9, at=(1,)))
    for suffix in ("mp3", "m4a", "flac", "ogg"):
        encode(ffmpeg, sound, folder / f"sound.{suffix}")
    coded = ("-c:v", "mpeg4", "-c:a", "aac", "-shortest")
    encode(ffmpeg, sound, folder / "film.mp4", *coded, video_seconds=4)
    encode(ffmpeg, sound, folder / "film.ts", *coded, video_seconds=4)
    encode(ffmpeg, sound, folder / "live.mkv", *coded, "-live", "1", video_seconds=4)
    encode(ffmpeg, sound, folder / "silent.mkv", "-map", "1:v", "-c:v", "mpeg4", video_seconds=7)
    data = (folder / "film.mp4").read_bytes()
    (folder / "no index.mp4").write_bytes(data[: len(data) // 2])
    (folder / "cut off.mp3").write_bytes((folder / "sound.mp3").read_bytes()[:5000])
    Image.linear_gradient("L").save(folder / "picture.png")
    Image.new("RGB", (400, 300)).save(folder / "large.jpg")
    frames = [Image.new("L", (8, 8), shade) for shade in range(0, 250, 50)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:], duration=200)
    frames[0].save(folder / "pages.tiff", save_all=True, append_images=frames[1:])
    (folder / "broken.png").write_bytes((folder / "picture.png").read_bytes()[:40])
    (folder / "text.txt").write_text("Some words.\n" * 10)
    (folder / "long.txt").write_text("Some words.\n" * 1000)
    (folder / "blank.txt").write_text(" \n")
    (folder / "bad.txt").write_bytes(b"words " * 20_000 + b"\xff\xff")
    (folder / "page.mp4").write_text("<html><video src=file:///etc/passwd></html>")
    (folder / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{sound}\n")
    (folder / "dice.mp3").write_bytes(np.random.default_rng(1).bytes(20_000))
    (folder / "empty.wav").write_bytes(b"")
    return folder


Verdict = str | MediaInfo


@pytest.mark.parametrize("task", sorted(OPTIONS))
def test_a_dry_run_refuses_what_prepare_refuses_in_the_same_words(
    task: str, archive: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    strict = replace(ffmpeg, limits=ffmpeg.limits.model_copy(update=STRICT))
    paths = sorted(archive.iterdir())
    prepared = {path.name: verdict_of_prepare(path, task, tmp_path, strict) for path in paths}
    looker = Looker(strict, Sizes(ENGINE.limits, Video(), Facts()), None)
    asked = [Asked(name=path.name, task=task, options=OPTIONS[task], place=path) for path in paths]
    rows = {row.name: row for row in looker.rows(asked, threads=4)}
    assert {name: row.refused or row.info for name, row in rows.items()} == prepared
    assert {row.work is None for row in rows.values() if row.refused} == {True}
    told = {verdict for verdict in prepared.values() if isinstance(verdict, str)}
    assert told, "some are refused"
    assert any(isinstance(verdict, MediaInfo) for verdict in prepared.values()), "and some are not"
    limits = {row.setting for row in rows.values() if row.setting}
    assert {"duration_seconds", "pixels", "text_bytes"} <= limits


def verdict_of_prepare(path: Path, task: str, folder: Path, ffmpeg: Ffmpeg) -> Verdict:
    """What becomes of a job on the file: the reason that it is refused with, or the media that it is."""
    source, job = source_of(path, task, folder, ffmpeg)
    try:
        return source.prepare(job).media
    except PermanentError as error:
        return error.reason


def source_of(path: Path, task: str, folder: Path, ffmpeg: Ffmpeg) -> tuple[MediaSource, Job]:
    """A job on the file, as it would be submitted."""
    store = DirectoryStore(folder / "bucket")
    cache = MediaCache(folder / "cache", 10**9)
    sha256 = file_sha256(path)
    store.upload(keys.media("default", sha256), path)
    media = Media(name=path.name, key=keys.media("default", sha256), sha256=sha256, size=path.stat().st_size)
    options = OPTIONS[task]
    tasks.check(task, options)
    job = Job(id="j", task=task, media=media, options=options, engine="echo", submitted_at=datetime.now(UTC))
    return MediaSource(store, cache, ffmpeg, cutting=Cutting(), video=Video(), engine=ENGINE), job


@pytest.mark.parametrize(("task", "seconds"), [("transcribe", 200), ("caption", 30), ("ask", 30)])
def test_an_estimate_is_near_what_cutting_gives(task: str, seconds: int, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    sound = write_wav(tmp_path / "sound.wav", noise_bursts(seconds))
    coded = ("-c:v", "mpeg4", "-c:a", "pcm_s16le")
    path = encode(ffmpeg, sound, tmp_path / "film.mkv", *coded, video_seconds=seconds)
    source, job = source_of(path, task, tmp_path, ffmpeg)
    windows = source.prepare(job)
    pieces = []
    for window in windows.windows:
        with source.cut(job, windows, window) as cut:
            pieces += list(cut)
    looker = Looker(ffmpeg, Sizes(ENGINE.limits, Video(), Facts()), None)
    found = looker.row(Asked(name="film", task=task, options=OPTIONS[task], place=path)).work
    assert found is not None
    assert found.segments == pytest.approx(len(pieces), rel=0.2)
    assert found.frames == sum(len(piece.payload.frames) for piece in pieces)


def test_a_file_that_goes_while_it_is_looked_at_is_told(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    looker = Looker(ffmpeg, Sizes(ENGINE.limits, Video(), Facts()), None)
    row = looker.row(Asked(name="a", task="ask", options=OPTIONS["ask"], place=tmp_path / "gone"))
    assert row.refused == "the file cannot be read: No such file or directory"


def test_a_name_counts_once_by_whatever_way_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    seen = Seen()
    asked = Asked(name="a", task="ask", options=OPTIONS["ask"], place=tmp_path / "a")
    assert seen.is_new(asked.identity)
    for again in (tmp_path / "." / "a", tmp_path / "link", tmp_path / ".." / tmp_path.name / "a"):
        assert not seen.is_new(replace(asked, name=str(again), place=again).identity)
    assert seen.is_new(replace(asked, task="summarize").identity), "another task is other work"
    assert seen.is_new(replace(asked, options=Options(question="Who?")).identity)


def test_order_is_kept_and_no_more_is_taken_than_is_in_hand() -> None:
    taken = itertools.count()
    gate = threading.Event()

    def items() -> Iterator[int]:
        for number in range(1000):
            next(taken)
            yield number

    def slow_at_first(number: int) -> int:
        if number == 0:
            gate.wait(10)
        return number

    made = in_order(items(), slow_at_first, threads=4)
    threading.Timer(0.3, gate.set).start()
    assert next(made) == 0
    assert next(taken) <= 40, "it waits for the first instead of reading on without end"
    assert list(made) == list(range(1, 1000))


#: VmHWM, as `ru_maxrss` knows of the memory of the process that this one was started by, too.
MEMORY = """
import re, sys
from pathlib import Path
from pipeline import cli
sys.argv = ["reelmill", "plan", "--totals", "--manifest", sys.argv[1]]
try:
    cli.main()
finally:
    print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_memory_does_not_grow_with_the_number_of_lines(tmp_path: Path) -> None:
    peaks = {}
    for lines in (1_000, 15_000):
        manifest = tmp_path / f"{lines}.jsonl"
        deep = "none/" * 200  # so that rows that are kept would be seen
        manifest.write_text("".join(f'{{"path": "{deep}{number}.mp3"}}\n' for number in range(lines)))
        argv = [sys.executable, "-c", MEMORY, str(manifest)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert f"{lines:,} refused" in done.stdout
        peaks[lines] = int(done.stdout.split()[-1])
    assert peaks[15_000] < 1.06 * peaks[1_000]
