"""Healthy files of many formats: found, measured, cut at true times, and never called cut off."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.windows import choose_windows
from tests.integration.media.conftest import cut
from tests.integration.media.test_times import onsets
from tests.media_samples import encode

PICTURE = ("-c:v", "mpeg4")
#: name: demuxer, whether it promises a length, seconds of video beside it, options
FORMATS: dict[str, tuple[str, bool, float | None, tuple[str, ...]]] = {
    "a.wav": ("wav", True, None, ()),
    "a.w64": ("w64", False, None, ()),
    "a.aiff": ("aiff", True, None, ()),
    "a.caf": ("caf", False, None, ("-c:a", "pcm_s16le")),
    "a.au": ("au", True, None, ()),
    "a.flac": ("flac", True, None, ()),
    "cbr.mp3": ("mp3", True, None, ("-b:a", "128k")),
    "vbr.mp3": ("mp3", True, None, ("-q:a", "4")),
    "bare.mp3": ("mp3", False, None, ("-q:a", "4", "-write_xing", "0", "-id3v2_version", "0")),
    "vorbis.ogg": ("ogg", True, None, ("-c:a", "libvorbis")),
    "opus.ogg": ("ogg", True, None, ("-c:a", "libopus")),
    "a.m4a": ("mov", True, None, ()),
    "alac.m4a": ("mov", True, None, ("-c:a", "alac")),
    "fast.mp4": ("mov", True, 63, (*PICTURE, "-c:a", "aac", "-movflags", "faststart")),
    "pieces.mp4": ("mov", True, None, ("-movflags", "frag_keyframe+empty_moov", "-frag_duration", "1000000")),
    "a.aac": ("aac", False, None, ()),
    "a.mka": ("matroska", True, None, ("-c:a", "aac")),
    "video.mkv": ("matroska", True, 65, (*PICTURE, "-c:a", "aac")),
    "a.webm": ("matroska", True, 62, ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus")),
    "live.webm": ("matroska", False, None, ("-c:a", "libopus", "-live", "1")),
    "a.ac3": ("ac3", False, None, ()),
    "a.wma": ("asf", True, None, ()),
    "a.ts": ("mpegts", True, 63, ("-c:v", "mpeg2video", "-c:a", "mp2")),
    "aac.ts": ("mpegts", True, 63, ("-c:v", "mpeg2video", "-c:a", "aac")),
    "a.mpg": ("mpeg", True, 63, ("-c:v", "mpeg2video", "-c:a", "mp2", "-f", "vob")),
    "a.avi": ("avi", True, 63, (*PICTURE, "-c:a", "mp3")),
    "a.flv": ("flv", True, None, ("-c:a", "aac")),
    "a.amr": ("amr", False, None, ("-ar", "8000", "-ac", "1", "-c:a", "libopencore_amrnb")),
}
#: Decoders complain when they are dropped into the middle of these.
NOISY_SEEK = {"a.mpg"}
#: Seconds that a format may shift sound by: the start padding of an encoder, where no header tells it, and half a frame
#: of MP3 behind a place that was sought in an AVI, whose clock counts bytes.
SHIFT = {"a.wma": 0.05, "a.avi": 0.04}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


@pytest.mark.parametrize("name", FORMATS)
def test_a_healthy_file_is_cut_whole_and_at_true_times(name: str, beeping: Path, folder: Path, ffmpeg: Ffmpeg) -> None:
    demuxer, promises, video, options = FORMATS[name]
    path = encode(ffmpeg, beeping, folder / name, *options, video_seconds=video)
    info = probe(path, ffmpeg)
    assert info.demuxer == demuxer
    assert (info.video is not None) == (video is not None)
    assert (info.duration is not None) == promises
    assert info.duration is None or info.duration == pytest.approx(60, abs=0.2)

    windows = choose_windows(path, info, 20, ffmpeg)
    assert [window.index for window in windows] == list(range(len(windows)))
    assert windows[0].start == 0
    assert windows[-1].end is None
    assert len(windows) > 1 or name == "live.webm"
    assert all(one.end == other.start for one, other in pairwise(windows))

    found: list[float] = []
    for window in windows:
        window_cut, clips = cut(path, info, window, ffmpeg)
        assert window_cut.missing is None
        assert name in NOISY_SEEK or window_cut.flags == ()
        assert window_cut.end == pytest.approx(window.end or 60, abs=0.1 if window.end is None else 0.0)
        for clip in clips:
            found += onsets(np.frombuffer(clip.pcm, "<i2").astype(float), clip.start)
    assert found == pytest.approx(list(range(1, 60, 5)), abs=SHIFT.get(name, 0.03))
