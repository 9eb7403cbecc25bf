"""Many channels become one: nothing gets louder or clips, no dialogue is lost, and damage is remarked on."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.sound.pcm import Pcm
from pipeline.media.sound.speech import assess
from tests.spoken import PHRASES, RATE, Sound, phrase

LAYOUTS = {"mono": 1, "stereo": 2, "5.1": 6, "7.1": 8}
CENTRE = {"mono": 0, "stereo": 0, "5.1": 2, "7.1": 2}


@pytest.fixture(scope="module")
def speech() -> Sound:
    """Ten seconds of speech at -26 dBFS."""
    said = np.concatenate([phrase(text) for text in PHRASES])
    return said[: 10 * RATE]


def mixed(
    sound: NDArray[np.float32], layout: str, channels: list[int], folder: Path, ffmpeg: Ffmpeg, codec: str = "flac"
) -> NDArray[np.float32]:
    """What is decoded of a file with that sound in some of its channels."""
    every = np.zeros((len(sound), LAYOUTS[layout]), np.float32)
    every[:, channels] = sound[:, None]
    path = folder / f"{layout}.mka"
    raw = ["-f", "f32le", "-ar", str(RATE), "-ch_layout", layout, "-i", "-"]
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-y", *raw, "-c:a", codec, str(path)]
    subprocess.run(argv, input=every.tobytes(), check=True)
    pcm = b"".join(Pcm(path, probe(path, ffmpeg), 0, None, ffmpeg))
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def tone(level: float) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE)).astype(np.float32)


@pytest.mark.parametrize("codec", ["flac", "pcm_f32le", "aac"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_in_all_channels_keeps_its_level(layout: str, codec: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    found = mixed(tone(0.3), layout, list(range(LAYOUTS[layout])), tmp_path, ffmpeg, codec)
    middle = found[RATE // 2 : RATE * 3 // 2]
    assert middle.std() / (0.3 / np.sqrt(2)) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_loudest_sound_in_all_channels_does_not_clip(layout: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    found = mixed(tone(0.99), layout, list(range(LAYOUTS[layout])), tmp_path, ffmpeg)
    middle = found[RATE // 2 : RATE * 3 // 2]
    assert np.abs(middle).max() == pytest.approx(0.99, abs=0.005)
    assert np.mean(np.abs(middle) > 0.985) == pytest.approx(np.mean(np.abs(tone(0.99)) > 0.985), abs=0.01)


@pytest.mark.parametrize(("layout", "loss"), [("mono", 0), ("stereo", 6.0), ("5.1", 10.7), ("7.1", 12.9)])
def test_a_dialogue_in_one_channel_is_quieter_and_not_lost(
    layout: str, loss: float, speech: Sound, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    found = mixed(speech, layout, [CENTRE[layout]], tmp_path, ffmpeg)
    assert 20 * np.log10(speech.std() / found.std()) == pytest.approx(loss, abs=0.1)
    activity = assess(found)
    assert activity.flags == ()
    assert sum(end - start for start, end in activity.spans) > 8


@pytest.mark.parametrize(("gain_db", "flags"), [(-5, ()), (-22, ("quiet",))])
def test_a_dialogue_that_is_too_quiet_in_the_mix_is_remarked_on(
    gain_db: float, flags: tuple[str, ...], speech: Sound, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    assert assess(mixed(speech * np.float32(10 ** (gain_db / 20)), "5.1", [2], tmp_path, ffmpeg)).flags == flags


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("is_alone", [False, True])
def test_speech_that_was_clipped_before_the_mix_is_remarked_on(
    layout: str, is_alone: bool, speech: Sound, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    channels = [CENTRE[layout]] if is_alone else list(range(LAYOUTS[layout]))
    clipped = np.clip(speech * 12, -1, 1)
    assert np.mean(np.abs(clipped) == 1) > 0.02
    assert assess(mixed(clipped, layout, channels, tmp_path, ffmpeg)).flags == ("clipped",)
    assert assess(mixed(speech * 2, layout, channels, tmp_path, ffmpeg)).flags == ()
