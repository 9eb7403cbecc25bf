"""Key frames alone, scenes, and frames that are sought one by one: exact times, and the same ones by windows."""

import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.job import Window
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.video import packets, seeking
from pipeline.media.video.choice import Choice, parse
from pipeline.payload import Frame
from tests.integration.media.films import B_FRAMES, film, first_of_each_cell, frames_of, listed, sampled

KINDS = (
    "b-frames.mp4",
    "uneven.mp4",
    "uneven.mkv",
    "late.mkv",
    "a.ts",
    "a.mpg",
    "interlaced.ts",
    "open-gop.mp4",
    "a.avi",
    "a.webm",
)
WITH_HOLES = ("uneven.mp4", "uneven.mkv", "late.mkv", "open-gop.mp4", "edited.mp4", "silent.ts", "a.avi")
CUTS = (5.0, 11.6, 18.2)  # seconds
#: What is seen moves, grows and flickers, as in a shot by hand.
SHOTS = ("mandelbrot", "smptehdbars,scroll=h=0.002", "mandelbrot,negate", "gradients=seed=3:speed=0.02")


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """24 s of moving, noisy pictures, with cuts."""
    path = tmp_path_factory.mktemp("movie") / "movie.mp4"
    bounds = (0.0, *CUTS, 24.0)
    inputs: list[str] = []
    for shot, (start, end) in zip(SHOTS, pairwise(bounds), strict=True):
        source, _, effect = shot.partition(",")
        sized = f"{source}{':' if '=' in source else '='}s=160x120:r=25"
        chain = f"{sized},{effect or 'null'},format=yuv420p,noise=alls=12:allf=t"
        inputs += ["-f", "lavfi", "-t", f"{end - start:.3f}", "-i", chain]
    joined = "".join(f"[{number}:v]" for number in range(len(SHOTS))) + f"concat=n={len(SHOTS)}"
    argv = [str(ffmpeg.ffmpeg), "-v", "error", *inputs, "-filter_complex", joined, *B_FRAMES, str(path)]
    subprocess.run(argv, check=True, timeout=120)
    return path


def by_windows(path: Path, ffmpeg: Ffmpeg, choice: str, borders: tuple[float, ...]) -> list[Frame]:
    parts: list[Frame] = []
    wanted = film(path, ffmpeg, choice)
    for start, end in pairwise((0.0, *borders, None)):
        frame_cut, groups = sampled(wanted, Window(index=0, start=start or 0.0, end=end))
        assert frame_cut.missing is None
        assert end is None or frame_cut.end == end
        parts += frames_of(groups)
    return parts


@pytest.mark.parametrize("name", KINDS)
def test_a_preview_holds_the_first_key_frame_of_each_cell(name: str, films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    path = films[name]
    times = listed(path, ffmpeg, keys_only=True)
    for rate in (0.3, 2.0):
        frame_cut, groups = sampled(film(path, ffmpeg, f"keyframes={rate}"))
        found = frames_of(groups)
        assert [frame.time for frame in found] == first_of_each_cell(times, rate)
        assert frame_cut.missing is None
        assert frame_cut.end == pytest.approx(10, abs=0.6)
        assert by_windows(path, ffmpeg, f"keyframes={rate}", (2.48, 7.001)) == found


def test_a_preview_of_a_cut_off_video_tells_what_is_missing(
    films: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = tmp_path / "cut-off"
    data = films["a.webm"].read_bytes()
    path.write_bytes(data[: len(data) // 2])
    frame_cut, _ = sampled(film(path, ffmpeg, "keyframes"))
    assert frame_cut.missing is not None
    assert frame_cut.missing_until == pytest.approx(10, abs=0.1)


def test_scenes_begin_at_the_first_frame_looked_at_after_each_cut(movie: Path, ffmpeg: Ffmpeg) -> None:
    found = [frame.time for frame in frames_of(sampled(film(movie, ffmpeg, "scene=100"))[1])]
    assert found == [0.0, 5.0, 12.0, 18.52]


def test_where_nothing_is_cut_a_frame_is_taken_now_and_then(movie: Path, ffmpeg: Ffmpeg) -> None:
    found = [frame.time for frame in frames_of(sampled(film(movie, ffmpeg, "scene=4"))[1])]
    assert found == [0.0, 4.0, 5.0, 8.0, 12.0, 16.0, 18.52, 20.0]


@pytest.mark.parametrize(
    "borders", [(4.9, 5.1), (10.0, 14.5), (11.6, 18.3), (8.0, 12.0, 18.5), (2.222, 4.0, 4.25, 19.999)]
)
def test_windows_find_the_scenes_that_one_pass_finds(borders: tuple[float, ...], movie: Path, ffmpeg: Ffmpeg) -> None:
    whole = frames_of(sampled(film(movie, ffmpeg, "scene=4"))[1])
    assert by_windows(movie, ffmpeg, "scene=4", borders) == whole


@pytest.mark.parametrize("name", ["uneven.mp4", "a.ts", "edited.mp4"])
def test_scenes_of_uneven_videos_do_not_depend_on_windows(name: str, films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    whole = frames_of(sampled(film(films[name], ffmpeg, "scene=3"))[1])
    assert len(whole) >= 3
    assert by_windows(films[name], ffmpeg, "scene=3", (3.3, 6.8)) == whole


@pytest.mark.parametrize("name", WITH_HOLES)
def test_frames_that_are_sought_are_those_of_one_pass(
    name: str, films: dict[str, Path], ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = films[name]
    passes = {rate: sampled(film(path, ffmpeg, f"fps={rate}")) for rate in (0.5, 0.9)}
    whole = {rate: frames_of(groups) for rate, (_, groups) in passes.items()}
    usual = {rate: frame_cut.end for rate, (frame_cut, _) in passes.items()}
    calls: list[float] = []

    def always(_video: object, _demuxer: str, step: float) -> bool:
        calls.append(step)
        return True

    monkeypatch.setattr(seeking, "is_worth_it", always)
    for rate, frames in whole.items():
        frame_cut, groups = sampled(film(path, ffmpeg, f"fps={rate}"))
        assert frames_of(groups) == frames
        assert (frame_cut.flags, frame_cut.missing) == ((), None)
        assert frame_cut.end == pytest.approx(usual[rate], abs=0.1)
        assert by_windows(path, ffmpeg, f"fps={rate}", (2.48, 5.0)) == frames
    assert len(calls) == 8


def test_what_lies_behind_the_end_that_a_header_tells_is_sought_too(
    films: dict[str, Path], ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = film(films["b-frames.mp4"], ffmpeg, "fps=0.5")
    whole = frames_of(sampled(wanted)[1])
    info = wanted.info.model_copy(update={"video": wanted.video.model_copy(update={"length": 5.0})})
    monkeypatch.setattr(seeking, "is_worth_it", lambda *_: True)
    assert frames_of(sampled(replace(wanted, info=info))[1]) == whole


def test_a_frame_a_rounding_error_before_its_cell_is_neither_lost_nor_there_twice(
    films: dict[str, Path], ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = film(films["even.mp4"], ffmpeg, "fps=0.5")
    early = replace(wanted, info=wanted.info.model_copy(update={"origin": wanted.info.origin + 1e-6}))
    times = [1.999999, 3.999999, 5.999999, 7.999999]
    assert [frame.time for frame in frames_of(sampled(early)[1])] == times
    monkeypatch.setattr("pipeline.media.video.scenes.distance", lambda *_: 0.0)
    scenes = replace(early, choice=Choice("scene", 0.5, 1000.0))
    taken = [frame.time for frame in frames_of(sampled(scenes, Window(index=1, start=3.999999, end=9.9))[1])]
    assert taken == [], "nothing new is seen, and there is no hole before it"
    monkeypatch.setattr(seeking, "is_worth_it", lambda *_: True)
    assert [frame.time for frame in frames_of(sampled(early)[1])] == times


def test_key_frames_are_measured_only_where_it_matters(films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    path = films["b-frames.mp4"]
    info = probe(path, ffmpeg)
    assert packets.key_frame_seconds(path, info, ffmpeg) == pytest.approx(1.2)
    small = packets.measured(path, info, parse("fps=0.1"), ffmpeg)
    assert small.video is not None
    assert small.video.key_frame_seconds is None, "64 x 48 pixels are decoded faster than a process starts"
    assert info.video is not None
    large = info.model_copy(update={"video": info.video.model_copy(update={"width": 1920, "height": 1080})})
    video = packets.measured(path, large, parse("fps=0.1"), ffmpeg).video
    assert video is not None
    assert video.key_frame_seconds == pytest.approx(1.2)
    assert seeking.is_worth_it(video, "mov", 10.0)
    assert not seeking.is_worth_it(video, "mov", 1.0)
