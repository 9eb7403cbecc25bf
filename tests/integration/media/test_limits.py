"""Each limit on media: real files that are beyond it, refused by the stages themselves, with the setting named."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from pipeline.engines import Capabilities
from pipeline.errors import LimitError, PipelineError, ResourceError
from pipeline.job import Job, Media, Options, SegmentLimits
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.settings import Cutting, Limits, Settings, Video
from pipeline.stages.source import MediaSource
from pipeline.store import DirectoryStore
from tests.media_samples import beeps, encode, write_wav

JOBS = itertools.count()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("limits")
    sound = write_wav(folder / "sound", beeps(6, at=(1, 4)))
    coded = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-shortest")
    Image.new("RGB", (100, 50)).save(folder / "picture", "PNG")
    shades = [Image.new("L", (10, 10), shade) for shade in range(0, 250, 50)]
    shades[0].save(folder / "pages", "TIFF", save_all=True, append_images=shades[1:])
    (folder / "text").write_text("words " * 100)
    return {
        "sound": sound,
        "film": encode(ffmpeg, sound, folder / "film.mp4", *coded, video_seconds=6),
        # Written as it comes: no length in the header, so that only decoding can tell.
        "live": encode(ffmpeg, sound, folder / "live.mkv", *coded, "-live", "1", video_seconds=6),
        "picture": folder / "picture",
        "pages": folder / "pages",
        "text": folder / "text",
    }


@pytest.fixture
def refusal(files: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg) -> Callable[..., PipelineError]:
    """What stops a job on one of the files under such limits: `prepare`, else the cutting of its windows."""
    store = DirectoryStore(tmp_path / "bucket")
    engine = Capabilities(
        kinds=frozenset({"sound", "image", "text"}),
        limits=SegmentLimits(images=4, image_pixels=64),
        max_batch=1,
        max_cost=1,
    )

    def stopped(name: str, limits: Limits, **options: Any) -> PipelineError:
        cache = MediaCache(tmp_path / "cache", 10**9)
        strict = replace(ffmpeg, limits=limits)
        source = MediaSource(store, cache, strict, cutting=Cutting(), video=Video(), engine=engine)
        job = job_on(store, files[name], **options)
        with pytest.raises((LimitError, ResourceError)) as caught:
            cut_whole(source, job)
        return caught.value

    return stopped


def job_on(store: DirectoryStore, path: Path, task: str = "ask", **options: Any) -> Job:
    from pipeline import keys
    from pipeline.store import file_sha256

    sha256 = file_sha256(path)
    store.upload(keys.media("default", sha256), path)
    media = Media(name=path.name, key=keys.media("default", sha256), sha256=sha256, size=path.stat().st_size)
    chosen = Options(question="What?", **options)
    return Job(
        id=f"j{next(JOBS)}", task=task, media=media, options=chosen, engine="echo", submitted_at=datetime.now(UTC)
    )


def cut_whole(source: MediaSource, job: Job) -> None:
    windows = source.prepare(job)
    for window in windows.windows:
        with source.cut(job, windows, window) as pieces:
            list(pieces)


@pytest.mark.parametrize(
    ("name", "limit", "words"),
    [
        ("text", {"file_bytes": 599}, "size 600 bytes, allowed 599 bytes"),
        ("text", {"text_bytes": 599}, "size of a text 600 bytes, allowed 599 bytes"),
        ("sound", {"duration_seconds": 5}, "duration 6 s, allowed 5 s"),
        ("live", {"duration_seconds": 5}, "holds more than 5 s of"),
        ("film", {"streams": 1}, "streams 2, allowed 1"),
        ("sound", {"channels": 1}, "channels 2, allowed 1"),
        ("sound", {"sample_rate": 44_099}, "sample rate 44,100 Hz, allowed 44,099 Hz"),
        ("sound", {"channel_samples": 500_000}, "samples in all channels 529,200, allowed 500,000"),
        ("live", {"channel_samples": 441_000}, "holds more than 5 s of sound"),
        ("film", {"pixels": 3_071}, "pixels of a frame 3,072, allowed 3,071"),
        ("picture", {"pixels": 4_999}, "pixels 5,000, allowed 4,999"),
        ("picture", {"picture_bytes": 50}, "allowed 50 bytes"),
        ("pages", {"pages": 4}, "pages 5, allowed 4"),
        ("film", {"frame_rate": 24}, "frames a second 25, allowed 24"),
        ("film", {"frames": 5}, "frames of a job 6, allowed 5"),
        ("live", {"frames": 5}, "holds more than 5 frames to look at"),
        ("film", {"process_output_bytes": 30_000}, "output of a media process"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_with_the_setting_that_raises_it(
    name: str, limit: dict[str, float], words: str, refusal: Callable[..., PipelineError]
) -> None:
    (setting,) = limit
    refused = refusal(name, Limits(**limit))  # type: ignore[arg-type]
    assert isinstance(refused, LimitError)
    assert words in refused.reason
    assert refused.reason.endswith(f"(REELMILL_LIMITS__{setting.upper()})")
    assert refused.setting == setting


def test_more_frames_a_second_are_more_frames_of_a_job(refusal: Callable[..., PipelineError]) -> None:
    assert "frames of a job 60, allowed 59" in refusal("film", Limits(frames=59), frames="fps=10").reason


def test_a_process_that_takes_too_long_names_the_setting(refusal: Callable[..., PipelineError]) -> None:
    refused = refusal("film", Limits(process_seconds=0.001))
    assert isinstance(refused, ResourceError), "trying again, on a machine with less to do, may help"
    assert "REELMILL_LIMITS__PROCESS_SECONDS" in refused.reason


@pytest.mark.parametrize("setting", Limits.model_fields)
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_what_limits_nothing_is_no_limit(setting: str, value: float) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate({setting: value})


def test_too_little_memory_to_start_is_no_limit_either() -> None:
    with pytest.raises(ValidationError):
        Limits(process_bytes=250_000_000)


def test_tags_of_a_file_may_be_a_book_and_those_of_its_streams_have_a_limit(
    files: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    told = tmp_path / "tags"
    told.write_text(f";FFMETADATA1\nlyrics={'la ' * 3_000_000}\n")
    long = ("-i", str(told), "-map", "0:a", "-map_metadata", "1")
    assert probe(encode(ffmpeg, files["sound"], tmp_path / "a.mp3", *long), ffmpeg).duration == pytest.approx(
        6, abs=0.1
    )
    ogg = encode(ffmpeg, files["sound"], tmp_path / "a.ogg", *long, "-c:a", "flac")
    with pytest.raises(LimitError, match=r"8,000,000 bytes of .*REELMILL_LIMITS__HEADER_BYTES"):
        probe(ogg, ffmpeg)
    assert probe(ogg, replace(ffmpeg, limits=Limits(header_bytes=20_000_000))).audio is not None


def test_every_limit_can_be_raised_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.limits import variable
    from pipeline.settings import load

    first = 10**9  # a media process cannot start with much less memory
    for number, setting in enumerate(Limits.model_fields, start=first):
        monkeypatch.setenv(variable(setting), str(number))
    found = [int(value) for value in load().limits.model_dump().values()]
    assert found == list(range(first, first + len(Limits.model_fields)))
    assert Settings().limits == load().limits
