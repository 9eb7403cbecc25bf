"""The exam of a tiny checkpoint: `python -m tests.tiny.evaluate [DIRECTORY] [--share 0.1]` writes EVALUATION.json."""

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, Gemma3nForConditionalGeneration

from pipeline.engines.gemma3n.variants import own_sizes
from pipeline.engines.gemma3n.views import view
from tests.tiny.answers import score
from tests.tiny.architecture import restore_vision_arguments
from tests.tiny.exam import Ask, main_parts, other_parts
from tests.tiny.initial import TRAINED

SHIPPED = Path(__file__).resolve().parents[2] / "pipeline" / "engines" / "gemma3n" / "tiny"
SEED = 7_000


def load(directory: Path, dtype: torch.dtype) -> tuple[Gemma3nForConditionalGeneration, Any]:
    """The checkpoint's model and processor."""
    model = Gemma3nForConditionalGeneration.from_pretrained(directory, dtype=dtype).eval()
    restore_vision_arguments(model, TRAINED)
    return model, AutoProcessor.from_pretrained(directory)


def half_of(model: Gemma3nForConditionalGeneration, directory: Path) -> Gemma3nForConditionalGeneration:
    """The size `half` that the checkpoint brings along, as a view of it."""
    return view(model, own_sizes(directory)["half"])


def examine(model: Any, processor: Any, parts: Mapping[str, tuple[Ask, int]], share: float) -> list[dict[str, Any]]:
    """A row for each part: the exam is the same for every model."""
    rows = []
    for what, (ask, count) in parts.items():
        rng = random.Random(f"{SEED} {what}")
        questions = [ask(rng) for _ in range(max(1, round(count * share)))]
        rows.append({"what": what, **asdict(score(model, processor, questions))})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def evaluate(directory: Path, share: float = 1.0) -> list[dict[str, Any]]:
    """Every row of the exam: both sizes in float32 on everything, in bfloat16 on the main parts."""
    rows: list[dict[str, Any]] = []
    for dtype, parts in ((torch.float32, main_parts() | other_parts()), (torch.bfloat16, main_parts())):
        model, processor = load(directory, dtype)
        for size, sized in (("whole", model), ("half", half_of(model, directory))):
            print(size, dtype, flush=True)
            found = examine(sized, processor, parts, share)
            rows += [{"size": size, "dtype": str(dtype).removeprefix("torch."), **row} for row in found]
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--share", type=float, default=1.0, help="of the questions of each part")
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = evaluate(parsed.directory, parsed.share)
    lines = ",\n".join(json.dumps(row) for row in rows)
    (parsed.directory / "EVALUATION.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
