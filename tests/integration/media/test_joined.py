"""Files whose clock begins anew, as where recordings were joined byte by byte: nothing of them is lost in silence."""

import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import PermanentError
from pipeline.job import Window
from pipeline.media import clocks
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.windows import choose_windows
from tests.integration.media.conftest import cut
from tests.integration.media.films import B_FRAMES, WHOLE, film, frames_of, sampled

STREAMS = {
    "mpegts": (*B_FRAMES, "-c:a", "mp2", "-f", "mpegts"),
    "mpeg": ("-c:v", "mpeg2video", "-c:a", "mp2", "-f", "vob"),
    "m2ts": (*B_FRAMES, "-c:a", "ac3", "-mpegts_m2ts_mode", "1", "-f", "mpegts"),
}
WEBM = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus", "-f", "webm")


def part(folder: Path, ffmpeg: Ffmpeg, colour: str, *options: str, seconds: int = 10) -> bytes:
    """A film of one colour, with a tone in all but the first of each five seconds."""
    tone = f"aevalsrc='0.3*sin(2*PI*500*t)*gt(mod(t,5),1)':d={seconds}"
    inputs = ["-f", "lavfi", "-i", f"color={colour}:s=64x48:r=25:d={seconds}", "-f", "lavfi", "-i", tone]
    path = folder / colour
    subprocess.run([str(ffmpeg.ffmpeg), "-v", "error", "-y", *inputs, *options, str(path)], check=True, timeout=60)
    return path.read_bytes()


def joined(folder: Path, ffmpeg: Ffmpeg, *options: str) -> Path:
    path = folder / "joined"
    path.write_bytes(part(folder, ffmpeg, "red", *options) + part(folder, ffmpeg, "blue", *options))
    return path


@pytest.mark.parametrize("name", STREAMS)
def test_both_halves_of_joined_recordings_are_seen_and_heard(name: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = joined(tmp_path, ffmpeg, *STREAMS[name])
    info = probe(path, ffmpeg)
    assert choose_windows(path, info, 4, ffmpeg) == (WHOLE,)
    for choice, times in (("fps=1", range(20)), ("fps=0.5", range(0, 20, 2)), ("scene=100", (0, 10))):
        frame_cut, groups = sampled(film(path, ffmpeg, choice))
        frames = frames_of(groups)
        assert [frame.time for frame in frames] == pytest.approx(list(times), abs=0.1)
        assert (frame_cut.missing, frame_cut.flags) == (None, ())
        assert frame_cut.end == pytest.approx(20, abs=0.1)
        reds = [Image.open(BytesIO(frame.image)).convert("RGB").getpixel((9, 9))[0] > 128 for frame in frames]  # type: ignore[index]
        assert reds == [frame.time < 9.9 for frame in frames]
    window_cut, clips = cut(path, info, WHOLE, ffmpeg)
    assert (window_cut.missing, window_cut.flags) == (None, ())
    assert window_cut.end == pytest.approx(20, abs=0.1)
    assert clips[-1].end > 19


def test_parts_may_be_joined_in_the_middle_of_a_packet(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    first, second = (part(tmp_path, ffmpeg, colour, *STREAMS["mpegts"]) for colour in ("red", "blue"))
    path = tmp_path / "joined"
    path.write_bytes(first[:-100] + second)
    assert clocks.go_back(path, "mpegts")
    assert len(frames_of(sampled(film(path, ffmpeg))[1])) == 20


@pytest.mark.parametrize("offset", ["0", "95438"])
def test_a_clock_that_goes_on_is_none_that_begins_anew(offset: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """The second one wraps, as each such clock does after 26.5 hours."""
    for name in ("mpegts", "m2ts", "mpeg"):
        data = part(tmp_path, ffmpeg, "red", *STREAMS[name], "-output_ts_offset", offset)
        path = tmp_path / "alone"
        path.write_bytes(data)
        assert not clocks.go_back(path, name.replace("m2ts", "mpegts"))


@pytest.mark.parametrize("is_live", [False, True])
def test_what_follows_a_matroska_file_is_missing(is_live: bool, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = joined(tmp_path, ffmpeg, *WEBM, *(("-live", "1") if is_live else ()))
    if is_live:  # it tells no length
        with pytest.raises(PermanentError, match="several files, one written behind the other"):
            probe(path, ffmpeg)
        return
    info = probe(path, ffmpeg)
    window_cut, _ = cut(path, info, WHOLE, ffmpeg)
    frame_cut, groups = sampled(film(path, ffmpeg))
    assert len(frames_of(groups)) == 10
    for one in (window_cut, frame_cut):
        assert one.missing is not None
        assert one.end == pytest.approx(10, abs=0.1)
        assert one.missing_until == pytest.approx(20, abs=0.1)


def test_a_window_of_a_job_that_was_divided_before_gives_what_it_gave(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = joined(tmp_path, ffmpeg, *STREAMS["mpegts"])
    frame_cut, groups = sampled(film(path, ffmpeg), Window(index=0, start=0, end=5))
    assert [round(frame.time) for frame in frames_of(groups)] == list(range(5))
    assert frame_cut.end == 5
