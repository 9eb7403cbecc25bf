"""No clip and no window begins or ends inside speech, over babble, music and noise 10 dB below it: generated truth."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.media.sound.cutting import Segmenter, SpeechClip
from pipeline.media.sound.vad import Samples, speech_probabilities, voice
from pipeline.media.windows import place_border
from tests.spoken import RATE, VOICES, Sound, Talk, babble, music, noise, over, pcm, talk

SECONDS = 150
SLACK = 0.01  # seconds; the truth is no finer
UNDER: dict[str, Callable[[], Sound]] = {
    "babble": lambda: babble(SECONDS),
    "few voices": lambda: babble(SECONDS, seed=500, voices=4),
    "music": lambda: music(SECONDS),
    "white noise": lambda: noise(SECONDS),
    "pink noise": lambda: noise(SECONDS, colour=0.5),
}
PAUSES = {"ordinary": (0.3, 1.5), "short": (0.25, 0.5)}


@pytest.fixture(scope="module", params=[*UNDER, "nothing"])
def under(request: pytest.FixtureRequest) -> Sound | None:
    made = UNDER.get(request.param)
    return None if made is None else made()


def truth(under: Sound | None, pauses: str, number: int) -> Talk:
    said = talk(SECONDS, pauses=PAUSES[pauses], seed=number, voice=VOICES[number])
    return said if under is None else over(said, under, snr=10)


def cut(said: Talk, clip_seconds: float = 30) -> list[SpeechClip]:
    segmenter = Segmenter(0, clip_seconds, speech_probabilities)
    return [*segmenter.feed(pcm(said.sound)), *segmenter.finish()]


def inside(said: Talk, times: list[float]) -> list[float]:
    """The times that lie within a phrase."""
    return [time for time in times if any(a / RATE + SLACK < time < b / RATE - SLACK for a, b in said.spans)]


@pytest.mark.parametrize("pauses", PAUSES)
def test_no_clip_cuts_a_phrase_and_none_is_lost(under: Sound | None, pauses: str) -> None:
    for number in range(3):
        said = truth(under, pauses, number)
        clips = cut(said)
        assert inside(said, [time for clip in clips for time in (clip.start, clip.end)]) == []
        for first, end in said.spans:
            assert any(clip.start <= first / RATE + SLACK and end / RATE - SLACK <= clip.end for clip in clips)


def test_no_border_of_a_window_cuts_a_phrase(under: Sound | None) -> None:
    for pauses in PAUSES:
        said = truth(under, pauses, 4)
        for start in range(0, SECONDS - 10, 10):
            piece = pcm(said.sound[start * RATE : (start + 10) * RATE])
            assert inside(said, [start + place_border(piece, speech_probabilities)]) == []


@pytest.mark.parametrize("is_noisy", [False, True])
def test_clips_of_speech_with_ordinary_pauses_are_full(is_noisy: bool) -> None:
    said = talk(600, pauses=PAUSES["ordinary"])
    clips = cut(over(said, noise(600, colour=0.5), snr=10) if is_noisy else said)
    assert np.mean([clip.end - clip.start for clip in clips]) >= 0.85 * 30


def test_the_detector_hears_a_voice_and_hears_it_when_it_is_quiet() -> None:
    said = talk(20)
    frames = np.zeros(20 * 50, np.bool_)
    for first, end in said.spans:
        frames[first // 320 : end // 320] = True
    for gain in (1.0, 0.03):
        heard = voice(speech_probabilities, pcm(said.sound * np.float32(gain)))
        assert len(heard) == len(frames)
        assert np.median(heard[frames]) > 0.9
        assert np.median(heard[~frames]) < 0.1


def test_the_detector_is_the_one_that_faster_whisper_runs() -> None:
    from faster_whisper.vad import get_vad_model

    samples: Samples = over(talk(10), noise(10), snr=10).sound[: 300 * 512]
    theirs = get_vad_model()(samples).ravel()
    # They lose the end of the last chunk but one.
    assert speech_probabilities(samples)[:-2] == pytest.approx(theirs[:-2], abs=1e-5)
    assert len(speech_probabilities(samples[:600])) == 1
    assert len(speech_probabilities(samples[:100])) == 0
