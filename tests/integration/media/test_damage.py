"""Files that are cut off, broken or empty: what can be read is read, the rest is named."""

from pathlib import Path

import pytest

from pipeline.errors import PermanentError
from pipeline.job import Window
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.windows import choose_windows
from tests.integration.media.conftest import cut
from tests.integration.media.films import film, sampled
from tests.media_samples import beeps, encode, write_wav

WHOLE = Window(index=0, start=0, end=None)
DECLARING = {
    "a.wav": (),
    "a.flac": (),
    "a.mp3": ("-b:a", "128k"),
    "a.aiff": (),
    "a.m4a": ("-movflags", "faststart"),
    "a.mka": ("-c:a", "libopus"),
    "a.webm": ("-c:a", "libopus"),
    "a.flv": ("-c:a", "aac"),
}


def cut_off(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("name", DECLARING)
def test_what_a_cut_off_file_promises_is_missing_and_the_rest_is_kept(
    name: str, talking: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = cut_off(encode(ffmpeg, talking, tmp_path / name, *DECLARING[name]), 0.4)
    info = probe(path, ffmpeg)
    window_cut, clips = cut(path, info, WHOLE, ffmpeg)
    assert window_cut.missing is not None
    assert window_cut.missing.error == "permanent"
    assert "the file is cut off: its header promises 100.0 s of sound, only" in window_cut.missing.reason
    assert window_cut.missing_until == pytest.approx(100, abs=0.1)
    assert 30 < window_cut.end < 50
    assert clips[-1].end > window_cut.end - 5


@pytest.mark.parametrize("sound", [(), ("-c:a", "mp3", "-q:a", "4"), ("-c:a", "pcm_s16le")])
def test_an_avi_that_is_cut_off_tells_what_is_missing(
    sound: tuple[str, ...], talking: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    streams = ("-map", "1:v", *(("-map", "0:a") if sound else ()), "-c:v", "mpeg4", *sound)
    path = encode(ffmpeg, talking, tmp_path / "a.avi", *streams, video_seconds=100)
    for share, until in ((1, None), (0.4, pytest.approx(100, abs=0.2))):
        info = probe(cut_off(path, share), ffmpeg)
        frame_cut, _ = sampled(film(path, ffmpeg))
        assert frame_cut.missing_until == until
        if sound:
            window_cut, _ = cut(path, info, WHOLE, ffmpeg)
            assert window_cut.missing_until == until
            assert window_cut.end == pytest.approx(100 * share, abs=4)


def test_a_video_whose_sound_is_in_an_unknown_codec_is_seen(talking: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = encode(ffmpeg, talking, tmp_path / "a.mkv", "-c:a", "aac", "-t", "4", video_seconds=4)
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    frame_cut, (group,) = sampled(film(path, ffmpeg))
    assert (len(group.frames), frame_cut.flags) == (4, ("sound_unknown",))


@pytest.mark.parametrize("name", ["a.ogg", "a.ts", "a.aac"])
def test_a_format_that_promises_nothing_is_read_as_far_as_it_goes(
    name: str, talking: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = cut_off(encode(ffmpeg, talking, tmp_path / name), 0.4)
    window_cut, clips = cut(path, probe(path, ffmpeg), WHOLE, ffmpeg)
    assert window_cut.missing is None
    assert clips[-1].end > 30


def test_every_window_of_a_cut_off_file_tells_what_is_missing_from_it(
    talking: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = cut_off(encode(ffmpeg, talking, tmp_path / "a.flac"), 0.4)
    info = probe(path, ffmpeg)
    for window, end, until in (
        (Window(index=0, start=0, end=30), 30, None),
        (Window(index=1, start=30, end=60), 40, 60),
        (Window(index=2, start=60, end=None), 60, 100),
    ):
        window_cut, clips = cut(path, info, window, ffmpeg)
        assert window_cut.end == pytest.approx(end, abs=2)
        assert window_cut.missing_until == until
        assert bool(clips) == (window.index < 2)


def test_a_window_behind_the_end_of_a_file_that_promises_nothing_is_empty(
    talking: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = encode(ffmpeg, talking, tmp_path / "a.aac")
    window_cut, clips = cut(path, probe(path, ffmpeg), Window(index=3, start=130, end=None), ffmpeg)
    assert (clips, window_cut.end, window_cut.missing, window_cut.flags) == ([], 130, None, ())


def test_damage_in_the_middle_is_flagged_and_the_times_after_it_stay_true(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    source = write_wav(tmp_path / "source", beeps(60, [1, 50]))
    path = encode(ffmpeg, source, tmp_path / "a.mka", "-c:a", "mp3")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = b"\xaa" * 20_000
    path.write_bytes(data)
    window_cut, clips = cut(path, probe(path, ffmpeg), WHOLE, ffmpeg)
    assert window_cut.flags == ("decode_errors",)
    assert clips[-1].start == pytest.approx(49.8, abs=0.06)


def test_an_mp4_without_its_index_is_refused(talking: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = cut_off(encode(ffmpeg, talking, tmp_path / "a.m4a"), 0.5)
    with pytest.raises(PermanentError, match=r"index \(the moov atom\) is missing"):
        probe(path, ffmpeg)


def test_an_empty_file_is_refused(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / "empty"
    path.touch()
    with pytest.raises(PermanentError, match="the file is empty"):
        probe(path, ffmpeg)


def test_a_header_alone_is_refused(talking: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / "header"
    path.write_bytes(encode(ffmpeg, talking, tmp_path / "a.flac").read_bytes()[:60])
    with pytest.raises(PermanentError):
        cut(path, probe(path, ffmpeg), WHOLE, ffmpeg)


def test_a_promise_of_sound_without_any_is_refused(talking: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / "header"
    path.write_bytes(talking.read_bytes()[:44])
    with pytest.raises(PermanentError, match=r"no sound could be decoded|header cannot be read"):
        cut(path, probe(path, ffmpeg), WHOLE, ffmpeg)


def test_video_without_sound_is_media_without_sound(beeping: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = encode(ffmpeg, beeping, tmp_path / "a.mkv", "-an", "-map", "1:v", "-c:v", "mpeg4", video_seconds=2)
    info = probe(path, ffmpeg)
    assert (info.kind, info.audio) == ("video", None)


def test_a_very_short_sound_is_one_clip(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = write_wav(tmp_path / "short", beeps(0.2, [0]))
    info = probe(path, ffmpeg)
    (window,) = choose_windows(path, info, 600, ffmpeg)
    _, (clip,) = cut(path, info, window, ffmpeg)
    assert (clip.start, clip.end) == (0, 0.2)
