"""Times are true and clips repeat, byte for byte, whichever way a file is cut into windows."""

import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.job import Window
from pipeline.media import arguments
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.sound.pcm import Pcm
from pipeline.media.windows import choose_windows
from tests.integration.media.conftest import cut
from tests.media_samples import beeps, encode, write_wav

WHOLE = Window(index=0, start=0, end=None)


def decoded(path: Path, ffmpeg: Ffmpeg, start: float = 0, length: float | None = None) -> np.ndarray:
    return np.frombuffer(b"".join(Pcm(path, probe(path, ffmpeg), start, length, ffmpeg)), "<i2").astype(float)


def onsets(sound: np.ndarray, start: float = 0) -> list[float]:
    """Seconds at which a beep begins."""
    level = np.sqrt(np.convolve(sound**2, np.ones(16) / 16, "same"))
    rises = np.flatnonzero((level[1:] > 2000) & (level[:-1] <= 2000)) / 16_000 + start
    return [float(rise) for index, rise in enumerate(rises) if index == 0 or rise - rises[index - 1] > 0.2]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", ("-c:v", "mpeg4", "-c:a", "aac")),
        ("a.mkv", ("-c:v", "mpeg4", "-c:a", "aac")),
        ("a.ts", ("-c:v", "mpeg2video", "-c:a", "mp2")),
        ("a.mpg", ("-c:v", "mpeg2video", "-c:a", "mp2", "-f", "vob")),
        ("a.mov", ("-c:v", "mpeg4", "-c:a", "pcm_s16le")),
    ],
)
@pytest.mark.parametrize("late", [0.5, 3.5])
def test_sound_that_starts_after_the_picture_keeps_its_time(
    name: str, options: tuple[str, ...], late: float, beeping: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = encode(ffmpeg, beeping, tmp_path / name, *options, video_seconds=66, late=late)
    expected = [second + late for second in range(1, 60, 5)]
    assert onsets(decoded(path, ffmpeg)) == pytest.approx(expected, abs=0.02)
    inside = [time for time in expected if 20 < time < 42]
    assert onsets(decoded(path, ffmpeg, 20, 22), 20) == pytest.approx(inside, abs=0.02)
    assert probe(path, ffmpeg).duration == pytest.approx(60 + late, abs=0.1)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
@pytest.mark.parametrize("start", [0, 18, 23.4])
def test_a_hole_in_the_sound_is_silence_and_what_follows_keeps_its_time(
    name: str, start: float, beeping: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    codec = "mp2" if name == "a.ts" else "aac"
    sound = encode(ffmpeg, beeping, tmp_path / "whole.mka", "-c:a", codec)
    hole = ("-c", "copy", "-bsf:a", "noise=drop=between(pts*tb\\,22.7\\,25.2)")
    path = encode(ffmpeg, sound, tmp_path / name, *hole)
    heard = onsets(decoded(path, ffmpeg, start, 40 - start), start)
    assert heard == pytest.approx([time for time in range(1, 40, 5) if time > start], abs=0.02)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp3", ("-q:a", "4")), ("a.m4a", ()), ("a.flac", ()), ("a.wav", ()), ("a.ogg", ("-c:a", "libvorbis"))],
)
def test_a_window_is_the_same_sound_as_that_stretch_of_the_whole(
    name: str, options: tuple[str, ...], beeping: Path, talking: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    source = beeping if name == "a.m4a" else talking  # AAC makes noise anew each time it is decoded
    path = encode(ffmpeg, source, tmp_path / name, *options)
    whole = decoded(path, ffmpeg)
    for start in (0.0, 20.0, 33.72):
        part = decoded(path, ffmpeg, start, 20)
        assert len(part) == 20 * 16_000
        first = round(start * 16_000)
        assert np.abs(part - whole[first : first + len(part)]).max() <= 40  # of 32,768


def test_healthy_sound_is_what_a_plain_pass_gives(talking: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """But for roundings: a plain pass mixes the channels after it has resampled each of them."""
    for name in ("a.mp3", "a.m4a", "a.flac"):
        path = encode(ffmpeg, talking, tmp_path / name)
        raw = encode(
            ffmpeg,
            path,
            tmp_path / "raw",
            "-ac",
            "1",
            "-af",
            "aresample=16000:resampler=soxr:precision=20",
            "-f",
            "s16le",
        )
        found, plain = decoded(path, ffmpeg), np.frombuffer(raw.read_bytes(), "<i2").astype(float)
        assert len(found) == len(plain)
        assert np.abs(found - plain).max() <= 1  # of 32,768


@pytest.mark.parametrize("resampler", sorted(arguments.RESAMPLERS))
@pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.flac"])
def test_stereo_to_mono_keeps_the_level(
    name: str, resampler: str, tmp_path: Path, ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.media.sound.pcm.resampler", lambda _: resampler)
    path = encode(ffmpeg, write_wav(tmp_path / "tone", beeps(3, [0, 0.5, 1, 1.5, 2, 2.5])), tmp_path / name)
    sound = decoded(path, ffmpeg)
    assert len(sound) == pytest.approx(3 * 16_000, abs=800)
    middle = sound[16_000:32_000]
    assert np.sqrt(np.mean(middle**2)) / (0.3 * 32767 / np.sqrt(2)) == pytest.approx(1.0, abs=0.01)


def test_without_soxr_the_fallback_is_used_and_flagged(
    talking: Path, ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.media.sound.pcm.resampler", lambda _: "swr")
    window_cut, clips = cut(talking, probe(talking, ffmpeg), WHOLE, ffmpeg)
    assert window_cut.flags == ("resampler_fallback",)
    assert clips


def test_windows_cover_the_file_and_their_clips_repeat(talking: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = encode(ffmpeg, talking, tmp_path / "a.mp3")
    info = probe(path, ffmpeg)
    windows = choose_windows(path, info, 30, ffmpeg)
    assert windows == choose_windows(path, info, 30, ffmpeg)
    assert [window.start for window in windows] == pytest.approx([0, 25, 50, 75], abs=5)
    runs = [[clip for window in windows for clip in cut(path, info, window, ffmpeg)[1]] for _ in range(2)]
    assert runs[0] == runs[1]
    assert all(one.end <= other.start for one, other in pairwise(runs[0]))
    assert sum(clip.end - clip.start for clip in runs[0]) > 90


def test_a_video_that_outlasts_its_sound_is_divided_to_its_end(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    source = write_wav(tmp_path / "source", beeps(3, [1]))
    path = encode(ffmpeg, source, tmp_path / "a.mp4", "-c:v", "mpeg4", "-c:a", "aac", video_seconds=60)
    windows = choose_windows(path, probe(path, ffmpeg), 20, ffmpeg)
    assert [(window.start, window.end) for window in windows] == [(0, 20), (20, 40), (40, None)]
    for window in windows[1:]:
        window_cut, clips = cut(path, probe(path, ffmpeg), window, ffmpeg)
        assert (clips, window_cut.missing) == ([], None)


def test_a_format_without_an_index_is_cut_into_six_windows_at_most(
    talking: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = encode(ffmpeg, talking, tmp_path / "a.mp3")
    assert len(choose_windows(path, probe(path, ffmpeg), 5, ffmpeg)) == 6
    many = choose_windows(talking, probe(talking, ffmpeg), 5, ffmpeg)
    assert len(many) == 20
    assert all(window.end is None or window.start < window.end for window in many)


def test_borders_lie_in_silence(talking: Path, ffmpeg: Ffmpeg) -> None:
    info = probe(talking, ffmpeg)
    for window in choose_windows(talking, info, 30, ffmpeg)[1:]:
        assert np.abs(decoded(talking, ffmpeg, window.start - 0.1, 0.2)).max() < 200


def test_the_bytes_of_a_clip_are_the_sound_at_its_times(talking: Path, ffmpeg: Ffmpeg) -> None:
    info = probe(talking, ffmpeg)
    _, clips = cut(talking, info, Window(index=1, start=30.5, end=80.0), ffmpeg)
    whole = decoded(talking, ffmpeg)
    for clip in clips:
        assert 30.5 <= clip.start < clip.end <= 80.0
        sound = np.frombuffer(clip.pcm, "<i2").astype(float)
        first = round(clip.start * 16_000)
        assert np.abs(sound - whole[first : first + len(sound)]).max() <= 40


def test_the_default_stream_of_several_is_decoded(beeping: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    silent = write_wav(tmp_path / "silent", beeps(60, []))
    both = ("-i", str(beeping), "-map", "0:a", "-map", "1:a", "-disposition:a:0", "0", "-disposition:a:1", "default")
    path = encode(ffmpeg, silent, tmp_path / "a.mka", *both)
    info = probe(path, ffmpeg)
    assert (info.audio.index, info.audio_streams) == (1, 2)
    _, clips = cut(path, info, WHOLE, ffmpeg)
    assert [clip.start for clip in clips] == pytest.approx([0.8, 30.8], abs=0.1)


def test_cover_art_is_no_video(beeping: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    art = tmp_path / "cover.png"
    art.write_bytes(b"")
    encode(ffmpeg, beeping, art, "-map", "1:v", "-frames:v", "1", video_seconds=1)
    picture = ("-i", str(art), "-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v:0", "attached_pic")
    path = encode(ffmpeg, beeping, tmp_path / "a.mp3", *picture)
    info = probe(path, ffmpeg)
    assert (info.demuxer, info.video is not None, info.duration) == ("mp3", False, pytest.approx(60, abs=0.1))


def test_a_hole_at_one_border_moves_no_other(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / "hole.mka"
    source = ["-f", "lavfi", "-i", "sine=300:r=8000:d=300", "-af", "aselect='not(between(t,44,106))'"]
    argv = [str(ffmpeg.ffmpeg), "-nostdin", "-v", "error", *source, "-c:a", "libopus", str(path)]
    subprocess.run(argv, check=True, timeout=60)
    starts = [window.start for window in choose_windows(path, probe(path, ffmpeg), 80, ffmpeg)]
    assert starts == [0, 75, pytest.approx(150, abs=5), pytest.approx(225, abs=5)]


def test_all_of_joined_flac_files_is_heard(beeping: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    one = encode(ffmpeg, beeping, tmp_path / "one.flac").read_bytes()
    path = tmp_path / "joined"
    path.write_bytes(one + one)
    assert choose_windows(path, probe(path, ffmpeg), 20, ffmpeg) == (WHOLE,)
    assert onsets(decoded(path, ffmpeg)) == pytest.approx(list(range(1, 120, 5)), abs=0.05)
