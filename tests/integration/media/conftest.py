"""The real programs, and a few samples that many tests share."""

from pathlib import Path

import pytest

from pipeline.errors import WorldError
from pipeline.job import MediaInfo, Window
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.sound.audio import SpeechClip, WindowCut
from pipeline.settings import Settings
from tests.conftest import unavailable
from tests.integration.media.films import make
from tests.media_samples import beeps, noise_bursts, write_wav


@pytest.fixture(scope="session")
def ffmpeg() -> Ffmpeg:
    try:
        return Ffmpeg.locate(Settings())
    except WorldError as error:
        unavailable(str(error))


@pytest.fixture(scope="session")
def beeping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 s of WAV with a beep at 1, 6, 11, ... 56 s."""
    return write_wav(tmp_path_factory.mktemp("media") / "beeping", beeps(60, range(1, 60, 5)))


@pytest.fixture(scope="session")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 s of WAV with noise bursts and gaps like speech."""
    return write_wav(tmp_path_factory.mktemp("media") / "talking", noise_bursts(100))


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> dict[str, Path]:
    return make(tmp_path_factory.mktemp("films"), ffmpeg)


def cut(
    path: Path, info: MediaInfo, window: Window, ffmpeg: Ffmpeg, clip_seconds: float = 30
) -> tuple[WindowCut, list[SpeechClip]]:
    """A window and its clips."""
    window_cut = WindowCut(path, info, window, clip_seconds, ffmpeg)
    clips = list(window_cut)
    return window_cut, clips
