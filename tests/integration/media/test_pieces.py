"""Pictures, frames, scenes and texts as the payloads of segments, through the real ffmpeg and Pillow."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.engines import Capabilities
from pipeline.errors import PermanentError
from pipeline.job import Job, Media, Options, SegmentLimits
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.sound.pcm import Pcm
from pipeline.payload import Piece
from pipeline.settings import Cutting, Settings, Video
from pipeline.stages.source import MediaSource
from pipeline.store import DirectoryStore, file_sha256
from tests.doubles import a_job
from tests.media_samples import beeps, encode, write_wav


@pytest.fixture(scope="module")
def ffmpeg() -> Ffmpeg:
    return Ffmpeg.locate(Settings())


@pytest.fixture
def source(tmp_path: Path, ffmpeg: Ffmpeg) -> MediaSource:
    limits = SegmentLimits(clip_seconds=5.0, images=4, image_pixels=64, text_characters=40)
    engine = Capabilities(kinds=frozenset({"sound", "image", "text"}), limits=limits, max_batch=1, max_cost=1)
    return MediaSource(
        DirectoryStore(tmp_path / "bucket"),
        MediaCache(tmp_path / "cache", 10**9),
        ffmpeg,
        cutting=Cutting(window_seconds=60),
        video=Video(frames_per_second=1),
        engine=engine,
    )


def job_on(path: Path, source: MediaSource, task: str, **options: object) -> Job:
    sha256 = file_sha256(path)
    media = Media(name=path.name, key=f"media/{sha256}", sha256=sha256, size=path.stat().st_size)
    source._store.upload(media.key, path)
    return a_job().model_copy(update={"media": media, "task": task, "options": Options.model_validate(options)})


def pieces_of(path: Path, source: MediaSource, task: str, **options: object) -> list[Piece]:
    job = job_on(path, source, task, **options)
    windows = source.prepare(job)
    found: list[Piece] = []
    for window in windows.windows:
        with source.cut(job, windows, window) as cut:
            found += list(cut)
            assert cut.missing is None
    return found


@pytest.fixture
def film(tmp_path: Path, ffmpeg: Ffmpeg) -> Path:
    """Ten seconds of pictures at 25 frames a second, with beeps."""
    sound = write_wav(tmp_path / "sound.wav", beeps(10, at=(1, 4, 8)))
    coded = ("-c:v", "libx264", "-c:a", "aac", "-shortest")
    return encode(ffmpeg, sound, tmp_path / "film.mp4", *coded, video_seconds=10)


def test_frames_come_at_the_rate_asked_for_with_the_times_of_the_file(
    film: Path, source: MediaSource, ffmpeg: Ffmpeg
) -> None:
    pieces = pieces_of(film, source, "caption", frames="fps=0.5")
    times = [frame.time for piece in pieces for frame in piece.payload.frames]
    command = [str(ffmpeg.ffprobe), "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time"]
    probed = subprocess.run([*command, "-of", "json", str(film)], capture_output=True, check=True)
    real = [float(frame["pts_time"]) for frame in json.loads(probed.stdout)["frames"]]
    assert times == [pytest.approx(next(at for at in real if at >= 2 * step - 1e-6)) for step in range(5)]
    assert [len(piece.payload.frames) for piece in pieces] == [4, 1]
    assert all(max(Image.open(io.BytesIO(frame.image)).size) <= 64 for frame in pieces[0].payload.frames)
    assert sum(piece.payload.covers for piece in pieces) == pytest.approx(10, abs=0.1)


def test_which_frames_are_looked_at_is_decided_once_and_stored(film: Path, source: MediaSource) -> None:
    for asked, stored in (("scene=4", "scene=4.0"), ("keyframes", "keyframes=1.0"), (None, "fps=1.0")):
        assert source.prepare(job_on(film, source, "caption", frames=asked)).frames == stored
    pieces = pieces_of(film, source, "caption", frames="keyframes", speech=True)
    times = [frame.time for piece in pieces for frame in piece.payload.frames]
    assert times == [0.0], "x264 sets key frames ten seconds apart"
    assert any(piece.payload.kind == "sound" for piece in pieces)
    with pytest.raises(PermanentError, match="no video stream number 1"):
        source.prepare(job_on(film, source, "caption", video_stream=1))


def test_the_same_film_gives_the_same_bytes(film: Path, source: MediaSource) -> None:
    assert pieces_of(film, source, "caption") == pieces_of(film, source, "caption")


def test_a_film_is_captioned_with_its_sound_beside_it(film: Path, source: MediaSource) -> None:
    pieces = pieces_of(film, source, "caption", speech=True)
    assert {piece.payload.kind for piece in pieces} == {"frames", "sound"}
    assert sum(piece.payload.covers for piece in pieces if piece.payload.kind == "sound") == 0


def test_a_silent_film_is_cut_into_windows_on_whole_seconds(
    tmp_path: Path, source: MediaSource, ffmpeg: Ffmpeg
) -> None:
    sound = write_wav(tmp_path / "sound.wav", beeps(1, at=()))
    options = ("-map", "1:v", "-c:v", "mpeg4", "-r", "2")
    path = encode(ffmpeg, sound, tmp_path / "film.mkv", *options, video_seconds=151)
    windows = source.prepare(job_on(path, source, "caption"))
    assert [window.start for window in windows.windows] == [0, 51, 101]
    assert windows.windows[-1].end is None
    times = [frame.time for piece in pieces_of(path, source, "caption") for frame in piece.payload.frames]
    assert times[:151] == list(range(151))
    assert times == sorted(set(times))


def test_a_segment_has_no_more_pictures_than_the_engine_and_the_settings_allow(film: Path, source: MediaSource) -> None:
    assert source.prepare(job_on(film, source, "caption")).limits.images == 4
    modest = MediaSource(
        source._store,
        source._cache,
        source._ffmpeg,
        cutting=Cutting(),
        video=Video(frames_per_segment=3),
        engine=Capabilities(
            kinds=frozenset({"image"}), limits=SegmentLimits(images=4, image_pixels=64), max_batch=1, max_cost=1
        ),
    )
    assert [len(piece.payload.frames) for piece in pieces_of(film, modest, "caption")] == [3, 3, 3, 1]


def test_the_sound_of_the_scenes_is_the_sound_of_the_film(film: Path, source: MediaSource, ffmpeg: Ffmpeg) -> None:
    pieces = pieces_of(film, source, "ask", question="What?", frames="fps=0.9")
    whole = b"".join(Pcm(film, probe(film, ffmpeg), 0, None, ffmpeg))
    assert b"".join(piece.payload.pcm for piece in pieces) == whole
    for piece in pieces[:-1]:
        assert piece.payload.pcm == whole[_byte(piece.start) : _byte(piece.end)]


def test_sound_goes_on_after_the_last_frame_of_a_film(tmp_path: Path, source: MediaSource, ffmpeg: Ffmpeg) -> None:
    sound = write_wav(tmp_path / "sound.wav", beeps(13, at=(1, 9)))
    path = encode(ffmpeg, sound, tmp_path / "film.mkv", "-c:v", "mpeg4", "-c:a", "flac", video_seconds=3)
    pieces = pieces_of(path, source, "ask", question="What?")
    assert [(piece.start, piece.end, len(piece.payload.frames)) for piece in pieces] == [
        (0, 5, 3),
        (5, 10, 0),
        (10, 13, 0),
    ]
    assert sum(piece.payload.seconds for piece in pieces) == 13


def _byte(seconds: float) -> int:
    return 2 * round(seconds * 16_000)


RUNS_DIFFER = 8  # MiB, between two runs of the same on a busy machine
MEMORY = """
import re, resource, sys
from pathlib import Path
from pipeline.job import SegmentLimits, Window
from pipeline.media.sound.along import Along
from pipeline.media.sound.audio import WindowSound
from pipeline.media.video.choice import Choice
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.video.frames import FrameCut
from pipeline.media.pieces import ScenePieces
from pipeline.media.probe import probe
from pipeline.media.video.sampling import Film
from pipeline.settings import Settings
ffmpeg, path = Ffmpeg.locate(Settings()), Path(sys.argv[1])
info, window = probe(path, ffmpeg), Window(index=0, start=0, end=None)
along = Along() if sys.argv[2] == "one process" else None
frames = FrameCut(Film(path, info, Choice("fps", 2.0), SegmentLimits(images=8), ffmpeg), window, along)
sound = WindowSound(path, info, window, ffmpeg, along=along)
pieces = ScenePieces(frames, sound, 0.0, most=8, clip_seconds=30)
for piece in pieces: pass
# A process inherits the peak of getrusage from the one that started it; this one is its own.
own = int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(pieces.end, own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


@pytest.mark.parametrize("processes", ["one process", "two processes"])
def test_memory_does_not_grow_with_the_film(processes: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    peaks: dict[int, float] = {}
    for minutes in (1, 5):
        sound = write_wav(tmp_path / "sound.wav", beeps(60 * minutes, at=(1,)))
        options = ("-vf", "scale=480:360", "-r", "2", "-c:v", "mpeg4", "-c:a", "flac")
        path = encode(ffmpeg, sound, tmp_path / f"{minutes}.mkv", *options, video_seconds=60 * minutes)
        argv = [sys.executable, "-c", MEMORY, str(path), processes]
        output = subprocess.run(argv, check=True, capture_output=True, timeout=300, cwd=os.getcwd()).stdout
        end, own, child = map(float, output.split())
        assert end == pytest.approx(60 * minutes, abs=1)
        assert child < 200
        peaks[minutes] = own
    assert peaks[5] <= 1.1 * peaks[1] + RUNS_DIFFER


def test_a_scene_holds_what_is_seen_and_heard_together(film: Path, source: MediaSource) -> None:
    pieces = pieces_of(film, source, "ask", question="What?")
    assert {piece.payload.kind for piece in pieces} == {"scene"}
    assert all(piece.payload.seconds <= 5 and len(piece.payload.frames) <= 4 for piece in pieces)
    assert sum(piece.payload.seconds for piece in pieces) == pytest.approx(10, abs=0.2)
    for piece in pieces:
        assert all(piece.start <= frame.time < piece.end for frame in piece.payload.frames)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff", "bmp"])
def test_a_picture_becomes_one_upright_jpeg_that_fits(tmp_path: Path, source: MediaSource, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.new("RGB", (300, 150), (200, 20, 30)).save(path)
    (piece,) = pieces_of(path, source, "caption")
    picture = Image.open(io.BytesIO(piece.payload.frames[0].image))
    assert (picture.format, picture.size, picture.mode) == ("JPEG", (64, 32), "RGB")
    red, green, blue = picture.getpixel((32, 16))
    assert abs(red - 200) < 12
    assert max(green, blue) < 50


def test_a_picture_is_turned_upright(tmp_path: Path, source: MediaSource) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30)).save(path, exif=exif)
    (piece,) = pieces_of(path, source, "caption")
    assert Image.open(io.BytesIO(piece.payload.frames[0].image)).size == (30, 60)


def test_a_picture_that_is_cut_off_is_refused(tmp_path: Path, source: MediaSource) -> None:
    path = tmp_path / "half.png"
    Image.effect_noise((200, 200), 50).save(path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(PermanentError):
        pieces_of(path, source, "caption")


def test_a_text_is_cut_between_sentences_and_nothing_is_lost(tmp_path: Path, source: MediaSource) -> None:
    path = tmp_path / "story.md"
    text = "This is one. This is another one. " * 4 + "\n\nThe end of it."
    path.write_text(text)
    pieces = pieces_of(path, source, "translate", to="de")
    assert all(len(piece.payload.text) <= 40 for piece in pieces)
    assert "".join(piece.payload.text for piece in pieces).split() == text.split()
    assert pieces[0].payload.text.rstrip().endswith(".")


def test_a_task_refuses_media_that_it_can_do_nothing_with(tmp_path: Path, source: MediaSource) -> None:
    path = tmp_path / "words.txt"
    path.write_text("only words")
    with pytest.raises(PermanentError, match="no sound"):
        pieces_of(path, source, "transcribe")
