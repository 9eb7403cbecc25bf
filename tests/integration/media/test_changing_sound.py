"""Sound that changes its rate or its channels on the way, as recordings of broadcasts do: times stay true."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.job import SAMPLE_RATE as RATE
from pipeline.job import Window
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.sound.adts import changes_rate
from pipeline.media.sound.along import Along
from pipeline.media.sound.audio import WindowCut, WindowSound
from pipeline.media.video.frames import FrameCut
from pipeline.media.windows import choose_windows
from tests.integration.media.films import WHOLE, film
from tests.integration.media.test_times import decoded, onsets
from tests.media_samples import beeps, encode, write_wav

SECONDS = 20  # of each part
AT = (1, 4, 7, 10, 13, 16, 19)  # seconds of a part at which it beeps
SURROUND = ("-af", "pan=5.1|FL=c0|FR=c0|FC=c0|LFE=c0|BL=c0|BR=c0", "-ar", "48000")
STEREO, MONO, LOW = ("-ar", "48000"), ("-ac", "1", "-ar", "48000"), ("-ac", "1", "-ar", "22050")
#: How each part is encoded, by the name of the file. Those of a transport stream say where they begin.
JOINED: dict[str, list[tuple[str, ...]]] = {
    "stereo-mono.mp3": [(), LOW],
    "mono-stereo-mono.mp3": [("-ar", "24000", "-ac", "1"), STEREO, MONO],
    "tagged.mp3": [("-write_xing", "1", "-id3v2_version", "3"), LOW],
    "stereo-mono.aac": [STEREO, MONO],
    "stereo-5.1.ac3": [(), SURROUND],
    "stereo-5.1.ts": [("-c:a", "ac3", *STEREO), ("-c:a", "ac3", *SURROUND, "-output_ts_offset", "20")],
    "5.1-stereo-5.1.ts": [
        ("-c:a", "ac3", *SURROUND),
        ("-c:a", "ac3", *STEREO, "-output_ts_offset", "20"),
        ("-c:a", "ac3", *SURROUND, "-output_ts_offset", "40"),
    ],
    "hole.ts": [("-c:a", "mp2"), ("-c:a", "mp2", "-ac", "1", "-output_ts_offset", "23")],
    "stereo-mono.ts": [("-c:a", "aac", *STEREO), ("-c:a", "aac", *MONO, "-output_ts_offset", "20")],
}


@dataclass(frozen=True, slots=True)
class Joined:
    """Parts one after the other, as bytes: when it beeps in them, and where they end."""

    path: Path
    at: list[float]
    end: float


@pytest.fixture(scope="module", params=JOINED)
def joined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Joined:
    return join(request.param, tmp_path_factory.mktemp("joined"), ffmpeg)


def join(name: str, folder: Path, ffmpeg: Ffmpeg) -> Joined:
    sound = write_wav(folder / "sound", beeps(SECONDS, AT))
    path, end = folder / name, 0.0
    at: list[float] = []
    for options in JOINED[name]:
        bare = ("-write_xing", "0", "-id3v2_version", "0") if path.suffix == ".mp3" else ()
        part = encode(ffmpeg, sound, folder / f"part{path.suffix}", *bare, *options)
        alone = decoded(part, ffmpeg)
        start = float(options[-1]) if "-output_ts_offset" in options else end
        at += [start + time for time in onsets(alone)]
        end = start + len(alone) / RATE
        with path.open("ab") as file:
            file.write(part.read_bytes())
    return Joined(path, at, end)


def test_what_follows_a_change_keeps_its_time(joined: Joined, ffmpeg: Ffmpeg) -> None:
    whole = decoded(joined.path, ffmpeg)
    assert len(joined.at) == len(AT) * len(JOINED[joined.path.name])
    assert onsets(whole) == pytest.approx(joined.at, abs=0.05)
    assert len(whole) / RATE == pytest.approx(joined.end, abs=0.05)


@pytest.mark.parametrize(("start", "end"), [(15.0, 30.5), (18.02, 24.6), (22.5, 39.5), (32.2, None)])
def test_a_window_hears_what_one_pass_hears(start: float, end: float | None, joined: Joined, ffmpeg: Ffmpeg) -> None:
    part = decoded(joined.path, ffmpeg, start, None if end is None else end - start)
    until = joined.end if end is None else end
    assert start + len(part) / RATE == pytest.approx(until, abs=0.05)
    assert onsets(part, start) == pytest.approx([time for time in joined.at if start < time < until], abs=0.05)


@pytest.mark.parametrize("parts", [((), LOW), (LOW, ()), ((), LOW, MONO, LOW)])
def test_raw_aac_whose_rate_changes_is_one_window_with_true_times(
    parts: tuple[tuple[str, ...], ...], tmp_path: Path, ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ffmpeg's own clock runs at the rate of the first frame for ever."""
    monkeypatch.setitem(JOINED, "rates.aac", list(parts))
    joined = join("rates.aac", tmp_path, ffmpeg)
    info = probe(joined.path, ffmpeg)
    assert choose_windows(joined.path, info, 10, ffmpeg) == (WHOLE,)
    whole = decoded(joined.path, ffmpeg)
    assert onsets(whole) == pytest.approx(joined.at, abs=0.05)
    assert len(whole) / RATE == pytest.approx(joined.end, abs=0.05)
    clips = WindowCut(joined.path, info, WHOLE, 2.0, ffmpeg)
    assert [clip.start for clip in clips] == pytest.approx(joined.at, abs=0.4)
    assert clips.flags == ()


@pytest.mark.parametrize("parts", [((), LOW), (LOW, STEREO)])
def test_aac_in_a_transport_stream_whose_rate_changes_has_true_times_in_one_pass_and_is_remarked_on(
    parts: tuple[tuple[str, ...], ...], tmp_path: Path, ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ffmpeg makes up the times of most frames, by the rate of the first one; its borders of windows go by them."""
    starts = ((), ("-output_ts_offset", "20"))
    coded = [("-c:a", "aac", *part, *start) for part, start in zip(parts, starts, strict=True)]
    monkeypatch.setitem(JOINED, "rates.ts", coded)
    joined = join("rates.ts", tmp_path, ffmpeg)
    whole = decoded(joined.path, ffmpeg)
    assert onsets(whole) == pytest.approx(joined.at, abs=0.05)
    assert len(whole) / RATE == pytest.approx(joined.end, abs=0.05)
    info = probe(joined.path, ffmpeg)
    for start, end, flags in ((0, None, ("decode_errors",)), (25, 35, ("decode_errors",)), (3, 15, ())):
        clips = WindowCut(joined.path, info, Window(index=0, start=start, end=end), 2.0, ffmpeg)
        assert list(clips)
        assert clips.flags == flags


def test_raw_aac_of_one_rate_is_cut_into_windows_whatever_lies_between_its_frames(
    tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    joined = join("stereo-mono.aac", tmp_path, ffmpeg)
    assert len(choose_windows(joined.path, probe(joined.path, ffmpeg), 10, ffmpeg)) > 1
    whole = joined.path.read_bytes()
    junk = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
    joined.path.write_bytes(whole[:50_000] + junk + whole[50_000:])
    assert not changes_rate(joined.path)
    for content, expected in ((b"", False), (b"\xff\xf1" * 100, False), (b"\xff\xf1\x50\x80\x00\xe0\xfc" * 3, False)):
        joined.path.write_bytes(content)
        assert changes_rate(joined.path) is expected


def test_the_sound_around_a_change_is_whole_but_for_an_eighth_of_a_second(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    sound = write_wav(tmp_path / "sound", beeps(5, (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5)))
    path = tmp_path / "joined.mp3"
    with path.open("wb") as file:
        for options in ((), LOW):
            file.write(encode(ffmpeg, sound, tmp_path / "part.mp3", "-write_xing", "0", *options).read_bytes())
    level = np.abs(decoded(path, ffmpeg)[: 9 * RATE]).reshape(-1, RATE // 100).max(axis=1)
    silent = np.flatnonzero(level < 1000) / 100
    assert len(silent) <= 22  # the lead-ins of two encoders among them
    assert all(time < 0.1 or 4.8 < time < 5.2 for time in silent)


def test_the_clips_of_windows_keep_their_times(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    joined = join("stereo-mono.mp3", tmp_path, ffmpeg)
    info = probe(joined.path, ffmpeg)
    for split in (False, True):
        for window in (WHOLE, Window(index=1, start=17.5, end=32.7)):
            clips = WindowCut(joined.path, info, window, 2.0, ffmpeg, split=split)
            starts = [clip.start for clip in clips if clip.channel in (None, 1)]
            end = window.end or joined.end
            expected = [time for time in joined.at if window.start < time < end]
            assert starts == pytest.approx(expected, abs=0.4)
            assert (clips.end, clips.flags) == (pytest.approx(end, abs=0.05), ())


def test_sound_beside_a_picture_that_changes_its_size_keeps_its_time(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """The picture and the sound of one process share what is set up anew."""
    sound = write_wav(tmp_path / "sound", beeps(SECONDS, AT))
    listed = tmp_path / "list"
    coded = ("-c:v", "mpeg4", "-c:a", "libmp3lame", "-shortest")
    for number, options in enumerate((("-s", "64x48"), ("-s", "96x64", *LOW))):
        encode(ffmpeg, sound, tmp_path / f"{number}.avi", *coded, *options, video_seconds=SECONDS)
    listed.write_text("".join(f"file '{tmp_path}/{number}.avi'\n" for number in range(2)))
    path = tmp_path / "a.avi"
    joining = ["-f", "concat", "-safe", "0", "-i", str(listed), "-c", "copy", str(path)]
    subprocess.run([str(ffmpeg.ffmpeg), "-v", "error", *joining], check=True, timeout=60)
    wanted = film(path, ffmpeg, "fps=1")
    apart = decoded(path, ffmpeg)
    assert onsets(apart) == pytest.approx([start + time for start in (0, SECONDS) for time in AT], abs=0.1)
    for window in (WHOLE, Window(index=1, start=3.0, end=24.5), Window(index=1, start=24.5, end=None)):
        along = Along()
        heard = WindowSound(path, wanted.info, window, ffmpeg, along=along)
        frames = list(FrameCut(wanted, window, along).frames())
        together = np.frombuffer(b"".join(heard), "<i2").astype(float)
        end = len(apart) / RATE if window.end is None else window.end
        expected = [time for time in onsets(apart) if window.start < time < end]
        assert onsets(together, window.start) == pytest.approx(expected, abs=0.05)
        assert [frame.time for frame in frames] == pytest.approx(
            [float(time) for time in range(int(window.start + 0.99), int(end - 0.01) + 1)], abs=0.05
        )
