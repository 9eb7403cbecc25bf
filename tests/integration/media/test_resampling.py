"""How true the sound is after resampling: against the best that soxr can do, and with tones beyond the new limit."""

import math
from pathlib import Path

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.selftest import resampler
from pipeline.media.sound.pcm import Pcm
from tests.media_samples import write_wav
from tests.spoken import PHRASES, phrase
from tests.spoken import RATE as SPOKEN_RATE

RATE = 16_000
Samples = NDArray[np.float64]


def decoded(samples: Samples, rate: int, path: Path, ffmpeg: Ffmpeg) -> Samples:
    write_wav(path, np.round(samples * 32767).astype("<i2")[:, None], rate)
    pcm = b"".join(Pcm(path, probe(path, ffmpeg), 0, None, ffmpeg))
    return np.frombuffer(pcm, "<i2").astype(np.float64) / 32767


def below(samples: Samples, hz: float) -> Samples:
    """Only the part of the spectrum under `hz`."""
    spectrum = np.fft.rfft(samples)
    spectrum[round(hz * len(samples) / RATE) :] = 0
    return np.fft.irfft(spectrum, len(samples))


def level(samples: Samples) -> float:
    return 10 * math.log10(float(np.mean(samples**2)) + 1e-20)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_speech_is_as_true_as_16_bits_allow(rate: int, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    if resampler(ffmpeg) != "soxr":
        pytest.skip("this ffmpeg was built without soxr")
    said = np.concatenate([phrase(text) for text in PHRASES]).astype(np.float64)
    sound = soxr.resample(said / np.abs(said).max() * 0.9, SPOKEN_RATE, rate, "VHQ")
    rounded = np.round(sound * 32767) / 32767
    best = soxr.resample(rounded, rate, RATE, "VHQ")
    found = decoded(sound, rate, tmp_path / "speech.wav", ffmpeg)
    length = min(len(best), len(found))
    best, found = below(best[:length], 7000), below(found[:length], 7000)
    assert level(best) - level(found - best) >= 70
    assert float(found @ best / (best @ best)) == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
@pytest.mark.parametrize("hz", [8_200, 9_500])
def test_a_tone_beyond_the_new_limit_is_gone(rate: int, hz: int, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    tone = 0.5 * np.sin(2 * np.pi * hz * np.arange(2 * rate) / rate)
    found = decoded(tone, rate, tmp_path / "tone.wav", ffmpeg)[RATE // 2 : RATE * 3 // 2]
    assert level(found) - level(tone) < -60


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_a_tone_keeps_its_level_and_its_pitch(rate: int, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate)
    found = decoded(tone, rate, tmp_path / "tone.wav", ffmpeg)[RATE // 2 : RATE * 3 // 2]
    assert found.std() / tone.std() == pytest.approx(1.0, abs=0.01)
    assert int(np.argmax(np.abs(np.fft.rfft(found)))) == 1000
