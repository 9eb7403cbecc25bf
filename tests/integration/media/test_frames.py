"""Frames of a video have their exact times, and are the same ones whichever way the video is cut into windows."""

import subprocess
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import PermanentError
from pipeline.job import Window
from pipeline.media import arguments
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.video.frames import FrameCut
from pipeline.payload import Frame
from tests.integration.media.films import B_FRAMES, NAMES, WHOLE, film, first_of_each_cell, frames_of, listed, sampled
from tests.media_samples import beeps, encode, write_wav


@pytest.mark.parametrize("name", NAMES)
def test_times_are_exactly_those_of_the_frames_in_the_file(name: str, films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    times = listed(films[name], ffmpeg)
    for rate in (0.3, 1.0, 10.0):
        frame_cut, groups = sampled(film(films[name], ffmpeg, f"fps={rate}"))
        assert [frame.time for frame in frames_of(groups)] == first_of_each_cell(times, rate)
        assert (frame_cut.missing, frame_cut.flags) == (None, ())
        assert frame_cut.end == pytest.approx(float(times[-1]), abs=0.1)


@pytest.mark.parametrize("rate", ["24", "30", "60", "30000/1001"])
@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_no_frame_is_lost_where_many_begin_with_their_cells(
    container: str, rate: str, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = tmp_path / f"a.{container}"
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-f", "lavfi", "-i", f"testsrc=s=64x48:r={rate}:d=4"]
    subprocess.run([*argv, *B_FRAMES, str(path)], check=True, timeout=60)
    times = listed(path, ffmpeg)
    assert len(times) == round(4 * Fraction(rate))
    for wanted in (1, 2, 3, 6, 10, 24, 30, 60):
        frames = frames_of(sampled(film(path, ffmpeg, f"fps={wanted}", side=16))[1])
        assert [frame.time for frame in frames] == first_of_each_cell(times, wanted)


def test_a_picture_that_changes_its_size_again_and_again_is_read_to_its_end(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-f", "lavfi", "-i"]
    shots = []
    for size in ("64x48", "96x48"):
        shots.append(tmp_path / size)
        made = [*argv, f"testsrc=s={size}:r=10:d=0.8", *B_FRAMES, "-f", "h264", str(shots[-1])]
        subprocess.run(made, check=True, timeout=60)
    flipping, path = tmp_path / "flipping", tmp_path / "a.mkv"
    flipping.write_bytes(b"".join(shot.read_bytes() for shot in shots) * 20)
    joined = ["-f", "h264", "-r", "10", "-i", str(flipping), "-c", "copy", "-bsf:v", "setts=ts=N/10/TB", str(path)]
    subprocess.run([*argv[:3], *joined], check=True, timeout=60)
    for window in (WHOLE, Window(index=0, start=0, end=30)):
        frames = frames_of(sampled(film(path, ffmpeg), window)[1])
        assert [frame.time for frame in frames] == list(range(30 if window.end else 32))


@pytest.mark.parametrize("name", NAMES)
def test_windows_give_together_what_one_gives(name: str, films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    path = films[name]
    for rate, borders in ((1.0, (3, 6)), (0.7, (2.48, 4.123, 7.001))):
        whole = frames_of(sampled(film(path, ffmpeg, f"fps={rate}"))[1])
        parts: list[Frame] = []
        for start, end in pairwise((0.0, *borders, None)):
            frame_cut, groups = sampled(film(path, ffmpeg, f"fps={rate}"), Window(index=0, start=start or 0.0, end=end))
            assert frame_cut.missing is None
            assert end is None or frame_cut.end == end
            parts += frames_of(groups)
        assert parts == whole


@pytest.mark.parametrize(("name", "sound"), [("a.ts", ("-c:a", "aac")), ("silent.ts", ("-an",)), ("a.mpg", ("-an",))])
def test_no_frame_is_lost_where_decoding_begins_between_two_key_frames(
    name: str, sound: tuple[str, ...], tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    beeping = write_wav(tmp_path / "sound", beeps(40, [1]))
    coded = (
        ("-c:v", "mpeg2video", "-g", "100", "-bf", "2", "-f", "vob") if name == "a.mpg" else (*B_FRAMES, "-g", "200")
    )
    path = encode(ffmpeg, beeping, tmp_path / name, "-map", "1:v", "-map", "0:a", *coded, *sound, video_seconds=40)
    whole = frames_of(sampled(film(path, ffmpeg))[1])
    assert len(whole) == 40
    parts: list[Frame] = []
    for start, end in ((0.0, 19.0), (19.0, 33.4), (33.4, None)):
        frame_cut, groups = sampled(film(path, ffmpeg), Window(index=0, start=start, end=end))
        assert frame_cut.flags == ()
        parts += frames_of(groups)
    assert parts == whole


def test_groups_touch_and_the_last_ends_where_the_video_ends(films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    frame_cut, groups = sampled(film(films["even.mp4"], ffmpeg))
    assert [(group.start, group.end, len(group.frames)) for group in groups] == [(0, 4, 4), (4, 8, 4), (8, 10, 2)]
    assert frame_cut.end == 10
    _, (first, second) = sampled(film(films["even.mp4"], ffmpeg, most=3), Window(index=1, start=2.5, end=7.75))
    assert [(group.start, group.end, len(group.frames)) for group in (first, second)] == [(3, 6, 3), (6, 7.75, 2)]


def test_a_frame_is_what_the_file_shows_at_its_time(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """The picture gets brighter by the frame."""
    path = tmp_path / "a.mkv"
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-f", "lavfi", "-i", "color=black:s=32x32:r=10:d=10"]
    argv += ["-vf", "geq=lum='16+2*N':cb=128:cr=128", "-c:v", "ffv1", str(path)]
    subprocess.run(argv, check=True, timeout=60)
    for frame in frames_of(sampled(film(path, ffmpeg, "fps=2.5"))[1]):
        brightness = np.asarray(Image.open(BytesIO(frame.image))).mean()
        assert brightness == pytest.approx(2 * round(frame.time * 10) * 255 / 219, abs=2)


def test_a_video_that_is_held_sideways_is_shown_upright(films: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / "turned.mp4"
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-display_rotation", "90", "-i", str(films["even.mp4"])]
    subprocess.run([*argv, "-c", "copy", str(path)], check=True, timeout=60)
    upright, straight = (
        np.asarray(Image.open(BytesIO(sampled(film(one, ffmpeg))[1][0].frames[0].image)), int)
        for one in (path, films["even.mp4"])
    )
    assert upright.shape == (64, 48, 3)
    assert np.abs(upright - np.rot90(straight)).mean() < 3


@pytest.mark.parametrize(("side", "size"), [(24, (24, 18)), (33, (32, 24)), (500, (64, 48))])
def test_a_frame_is_scaled_down_to_fit_and_never_up(
    side: int, size: tuple[int, int], films: dict[str, Path], ffmpeg: Ffmpeg
) -> None:
    frame = sampled(film(films["even.mp4"], ffmpeg, side=side))[1][0].frames[0]
    image = Image.open(BytesIO(frame.image))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", size)


def test_a_still_before_a_border_is_not_taken_for_a_cut_off_file(films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    frame_cut, groups = sampled(film(films["uneven.mkv"], ffmpeg), Window(index=0, start=0, end=6))
    assert frames_of(groups)[-1].time < 4
    assert (frame_cut.end, frame_cut.missing) == (6, None)
    empty, groups = sampled(film(films["uneven.mkv"], ffmpeg), Window(index=1, start=4, end=6))
    assert (groups, empty.end, empty.missing) == ([], 6, None)


def test_what_a_cut_off_video_promises_is_missing_and_the_rest_is_kept(
    films: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = tmp_path / "cut-off"
    data = films["a.webm"].read_bytes()
    path.write_bytes(data[: len(data) // 2])
    last = listed(path, ffmpeg)[-1]
    frame_cut, groups = sampled(film(path, ffmpeg))
    assert frame_cut.missing is not None
    assert "the file is cut off: its header promises 10.0 s of video, only" in frame_cut.missing.reason
    assert frame_cut.missing_until == pytest.approx(10, abs=0.1)
    assert last <= frame_cut.end <= last + 1
    assert len(frames_of(groups)) >= 3
    for window, until in ((Window(index=0, start=0, end=9), 9), (Window(index=1, start=9, end=None), None)):
        assert sampled(film(path, ffmpeg), window)[0].missing_until == until


def test_damage_is_flagged(films: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    data = bytearray(films["b-frames.mp4"].read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\xaa" * 3000
    path = tmp_path / "damaged"
    path.write_bytes(data)
    assert sampled(film(path, ffmpeg))[0].flags == ("decode_errors",)


def test_a_file_whose_video_cannot_be_decoded_is_refused(
    films: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = tmp_path / "broken"
    data = bytearray(films["b-frames.mp4"].read_bytes())
    first = data.index(b"mdat") + 4
    data[first : data.rindex(b"moov") - 4] = bytes(data.rindex(b"moov") - 4 - first)
    path.write_bytes(data)
    with pytest.raises(PermanentError, match="no frame could be decoded"):
        sampled(film(path, ffmpeg))


def test_a_video_that_hid_its_length_is_stopped_at_the_limit(films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    path = films["even.mp4"]
    strict = replace(ffmpeg, limits=ffmpeg.limits.model_copy(update={"duration_seconds": 5}))
    frame_cut = FrameCut(replace(film(path, ffmpeg, "fps=2"), ffmpeg=strict), WHOLE)
    with pytest.raises(PermanentError, match="it holds more than 5 s of video"):
        list(frame_cut)


def test_frames_of_a_playlist_are_not_read(films: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / "hostile.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:{films['a.ts']}\n#EXT-X-ENDLIST\n")
    asked = arguments.Frames(stream=0, origin=0.0, rate=1.0, first_cell=0, filters=())
    for demuxer in ("mov", "matroska", "mpegts", "avi"):
        argv = arguments.frames(ffmpeg.ffmpeg, path, demuxer, 0, 2, asked=asked)
        assert ffmpeg.run(argv, 1_000_000)[0] == b""
