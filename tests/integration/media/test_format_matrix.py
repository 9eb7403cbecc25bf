"""Every kind of file that is accepted is told for what it is, sounds as it should and looks as it should."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.job import MediaInfo, SegmentLimits, Window
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.sound.pcm import Pcm
from pipeline.media.video.choice import Choice
from pipeline.media.video.frames import FrameCut
from pipeline.media.video.sampling import Film
from tests.integration.media.matrix import CASES, COLOURS, FIRST, FPS, LEVEL, SECOND, SECONDS, SILENCE, Case
from tests.integration.media.matrix_files import make
from tests.integration.media.test_frames import first_of_each_cell, listed

RATE = 16_000  # Hz, of what comes out
Samples = NDArray[np.float64]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Callable[[str], Path]:
    """Makes a file of the matrix."""
    folder = tmp_path_factory.mktemp("matrix")
    return lambda name: make(name, folder, ffmpeg)


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_what_it_is_and_sounds_and_looks_right(
    name: str, made: Callable[[str], Path], ffmpeg: Ffmpeg
) -> None:
    case, path = CASES[name], made(name)
    info = probe(path, ffmpeg)
    _is_told(info, case)
    if case.audio:
        pcm = Pcm(path, info, 0, None, ffmpeg)
        _sounds_right(np.frombuffer(b"".join(pcm), "<i2") / 32_768, case)
        assert (pcm.ending.code, pcm.ending.stderr) == (0, "")
    if case.video:
        _looks_right(path, info, case, ffmpeg)


def _is_told(info: MediaInfo, case: Case) -> None:
    assert (info.kind, info.demuxer) == ("video" if case.video else "sound", case.demuxer)
    assert info.audio_streams == (0 if not case.audio else 2 if case.decoy else 1)
    assert info.video_streams == (0 if not case.video else 2 if case.decoy else 1)
    if info.audio is not None:
        told = info.audio.codec, info.audio.sample_rate, info.audio.channels
        assert told == (case.audio, case.rate, case.channels)
    if info.video is not None:
        assert (info.video.codec, info.video.width, info.video.height) == (case.video, *case.size)
    longest = max(case.seconds + case.late if case.audio else 0, SECONDS if case.video else 0)
    assert info.duration is None or info.duration == pytest.approx(longest, abs=max(0.1, 2 * case.padding))


def _sounds_right(heard: Samples, case: Case) -> None:
    """Tones of the right pitch and level at the right time, silence between them, and nothing behind them."""
    late, seconds = case.late, case.seconds
    assert len(heard) / RATE == pytest.approx(late + seconds, abs=case.padding + 0.02)
    assert np.abs(_between(heard, 0, late - case.padding)).max(initial=0) < 0.02
    if seconds <= SILENCE[1]:
        _is_tone(_between(heard, late + 0.05, late + min(seconds, SILENCE[0]) - 0.05), FIRST, LEVEL, 1.5)
        return
    _is_tone(_between(heard, late + 0.1, late + SILENCE[0] - 0.1), FIRST, LEVEL, case.loudness)
    assert np.abs(_between(heard, late + SILENCE[0] + 0.1, late + SILENCE[1] - 0.1)).max() < 0.02
    second = _between(heard, late + SILENCE[1] + 0.1, late + seconds - 0.1)
    _is_tone(second, SECOND, LEVEL / 2, 15 if case.fades else case.loudness)
    rising = _between(heard, late + SILENCE[0] + 0.1, late + seconds)
    onset = late + SILENCE[0] + 0.1 + int(np.argmax(np.abs(rising) > LEVEL / 8)) / RATE
    assert onset == pytest.approx(late + SILENCE[1], abs=case.padding)


def _between(heard: Samples, start: float, end: float) -> Samples:
    return heard[max(0, round(start * RATE)) : max(0, round(end * RATE))]


def _is_tone(heard: Samples, hertz: float, level: float, decibels: float) -> None:
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard)), 4 * RATE))
    assert int(np.argmax(spectrum)) / 4 == pytest.approx(hertz, abs=3)
    gain = 20 * np.log10(np.sqrt(2 * np.mean(heard**2)) / level)
    assert gain == pytest.approx(0, abs=decibels)


def _looks_right(path: Path, info: MediaInfo, case: Case, ffmpeg: Ffmpeg) -> None:
    """Each colour where and when it was drawn, at the times that the frames have in the file."""
    limits = SegmentLimits(images=100, image_pixels=768)
    cut = FrameCut(Film(path, info, Choice("fps", 4.0), limits, ffmpeg), Window(index=0, start=0, end=None))
    frames = list(cut.frames())
    assert (cut.missing, cut.flags) == (None, ())
    times = listed(path, ffmpeg)
    # No muxer moves a picture by more than the start of the sound that is written before it.
    assert [float(time) for time in times] == pytest.approx([number / FPS for number in range(len(times))], abs=0.065)
    assert [frame.time for frame in frames] == first_of_each_cell(times, 4.0)
    for frame in frames:
        shown = np.asarray(Image.open(BytesIO(frame.image)), int)
        height, width, _ = shown.shape
        assert (width, height) == (case.size[0] // 2 * 2, case.size[1] // 2 * 2)
        place = min(range(len(times)), key=lambda number: abs(times[number] - frame.time)) * 2 // FPS
        for column, colour in ((width // 4, COLOURS[place % 4]), (3 * width // 4, COLOURS[(place + 1) % 4])):
            for row in (4, height // 2, height - 5):
                assert np.abs(shown[row, column] - colour).max() <= case.tolerance, (frame.time, row, column)


def test_the_matrix_is_wide() -> None:
    assert len(CASES) >= 40
    assert {case.demuxer for case in CASES.values()} >= {"wav", "w64", "mp3", "mov", "matroska", "mpegts"}
