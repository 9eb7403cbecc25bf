"""The finished checkpoint on disk: what `from_pretrained` reads, in bfloat16, and what the product asks of it."""

import json
from pathlib import Path

import torch

from tests.tiny.architecture import SAMPLES_PER_SOFT_TOKEN, build_processor, restore_vision_arguments
from tests.tiny.initial import TRAINED, initial_model
from tests.tiny.nest import write_sizes
from tests.tiny.towers import State
from tests.tiny.voice import SAMPLE_RATE

MOST_FRAMES = 4  #: pictures in one turn
#: What the product takes for the longest clip. The model hears 5.12 s, but loses more words in so many.
CLIP_SECONDS = 3.0

CARD = """# A tiny Gemma 3n

Made for trying reelmill out and for its tests: the real architecture, {parameters:.1f} million parameters, trained
from nothing on generated media by `make tiny-checkpoint`. It writes down English digits (in clips of up to
{seconds:.0f} s; it hears {heard:.2f} s, and loses more words in so many), translates them into German and French,
describes up to two shapes in six colours, and answers a few questions about either; how well, is in EVALUATION.json.
Whatever else it is given, it answers in the same words. A size named `half` is nested in it.
"""


def save(state: State, directory: Path) -> None:
    """Write the model, its processor, its table of sizes, its limits and its card into `directory`."""
    model = initial_model(0)
    model.load_state_dict(state)
    model.tie_weights()
    restore_vision_arguments(model, TRAINED)
    model.eval().to(torch.bfloat16).save_pretrained(directory)
    (directory / "model.safetensors").chmod(0o644)
    build_processor(TRAINED).save_pretrained(directory)
    write_sizes(directory)
    heard = TRAINED.audio_tokens * SAMPLES_PER_SOFT_TOKEN / SAMPLE_RATE
    limits = {"clip_seconds": CLIP_SECONDS, "images": MOST_FRAMES}
    (directory / "limits.json").write_text(json.dumps(limits) + "\n")
    card = CARD.format(parameters=model.num_parameters() / 1e6, seconds=CLIP_SECONDS, heard=heard)
    (directory / "CARD.md").write_text(card)
