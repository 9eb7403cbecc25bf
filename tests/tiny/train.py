"""Train the tiny checkpoint from nothing: `python -m tests.tiny.train [OUT]`.

Steps decide how long it takes, never the clock; what is drawn is drawn from fixed seeds.
"""

import argparse
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.tiny import (
    architecture,
    augment,
    clips,
    data,
    drawing,
    features,
    initial,
    language,
    nest,
    schedule,
    tokenizer,
    towers,
    turns,
    voice,
    world,
)
from tests.tiny.checkpoint import save
from tests.tiny.features import Features, compute_features
from tests.tiny.language import LanguageCourse, train_language_model
from tests.tiny.log import Log
from tests.tiny.stages import Stages, key
from tests.tiny.towers import State, TowerCourse, train_audio_tower, train_vision_tower

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "tiny"
SHIPPED = ROOT / "pipeline" / "engines" / "gemma3n" / "tiny"

CLIPS, QUIET_CLIPS, PICTURES = 12_000, 300, 16_000
DATA_SEED = 1
AUDIO_COURSE = TowerCourse(steps=1200, rate=2e-3)
VISION_COURSE = TowerCourse(steps=6000, rate=1e-3)
FEATURE_CLIPS = 16_384
LANGUAGE_COURSE = LanguageCourse(steps=4000, rate=1.5e-3)

_WORLD = (architecture, tokenizer, initial, world, data)
_SPEECH_KEY = key([*_WORLD, voice, clips, CLIPS, QUIET_CLIPS, DATA_SEED])
_PICTURES_KEY = key([*_WORLD, drawing, PICTURES, DATA_SEED])
_LEARNING = (augment, schedule, towers)
_TOWERS_KEY = key([_SPEECH_KEY, _PICTURES_KEY, *_LEARNING, AUDIO_COURSE, VISION_COURSE])
_FEATURES_KEY = key([_TOWERS_KEY, features, FEATURE_CLIPS])
_LANGUAGE_KEY = key([_FEATURES_KEY, language, turns, nest, LANGUAGE_COURSE])


def speech_of(stages: Stages) -> tuple[list[data.Speech], list[data.Speech]]:
    """Spoken and quiet clips of the training split."""
    return stages.run(
        "speech",
        lambda: (data.speech_samples(CLIPS, DATA_SEED), data.quiet_samples(QUIET_CLIPS, DATA_SEED)),
        [_SPEECH_KEY],
    )


def pictures_of(stages: Stages) -> list[data.Pixels]:
    """Pictures of the training split."""
    return stages.run("pictures", lambda: data.picture_samples(PICTURES, DATA_SEED), [_PICTURES_KEY])


def audio_tower_of(stages: Stages) -> State:
    torch.set_num_threads(1)
    log = Log(CACHE / "audio-tower.log")
    return stages.run(
        "audio-tower",
        lambda: train_audio_tower(AUDIO_COURSE, *speech_of(stages), log),
        [_SPEECH_KEY, *_LEARNING, AUDIO_COURSE],
    )


def vision_tower_of(stages: Stages) -> State:
    torch.set_num_threads(1)
    log = Log(CACHE / "vision-tower.log")
    return stages.run(
        "vision-tower",
        lambda: train_vision_tower(VISION_COURSE, pictures_of(stages), log),
        [_PICTURES_KEY, *_LEARNING, VISION_COURSE],
    )


def train_towers(stages: Stages) -> State:
    """Both towers at once, a process and a core for each."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        running = [pool.apply_async(tower, (stages,)) for tower in (audio_tower_of, vision_tower_of)]
        states = [one.get() for one in running]
    return {**states[0], **states[1]}


def features_of(stages: Stages) -> Features:
    towers_trained = train_towers(stages)
    return stages.run(
        "features",
        lambda: compute_features(
            towers_trained, *speech_of(stages), pictures_of(stages), clips=FEATURE_CLIPS, seed=DATA_SEED
        ),
        [_FEATURES_KEY],
    )


def language_model_of(stages: Stages) -> State:
    """All parameters of the finished model."""
    log = Log(CACHE / "language.log")
    unfinished = stages.folder / f"language-{_LANGUAGE_KEY}.unfinished"
    return stages.run(
        "language",
        lambda: train_language_model(LANGUAGE_COURSE, train_towers(stages), features_of(stages), log, unfinished),
        [_LANGUAGE_KEY],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=SHIPPED, help="folder of the finished checkpoint")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the stages that are done")
    parsed = parser.parse_args(arguments)
    stages = Stages(parsed.cache)
    speech_of(stages)
    pictures_of(stages)
    torch.set_num_threads(1)  # the tensors are too small for two threads to be faster
    save(language_model_of(stages), parsed.out)


if __name__ == "__main__":
    main()
