"""How many rows go through decode steps for each token that is wanted: continuous batching against static batches.

Requests of every kind with answers of forced, uniformly drawn lengths, 8 of them at a time, the tail included, when the
last ones run out and slots stay empty. Counters, not times: they are the same on any machine. Before anything counts, a
sample must get the tokens that it gets alone, from both sides.
"""

import json
import sys
import tempfile
from typing import Any

import numpy as np

from pipeline.engines.gemma3n.sequences import Finished, Sequence
from pipeline.engines.gemma3n.shape import Counters
from pipeline.engines.gemma3n.static import StaticDecoder
from tests.integration.gemma3n.driving import decoder
from tests.integration.gemma3n.mixed import KINDS, generate_alone, load, random_prompt
from tests.tiny.random_checkpoint import build

REQUESTS = 400
SLOTS = 8
LENGTHS = (8, 64)  # tokens of an answer: shortest, longest
PROMPTS = 40  # different ones; the counts depend on lengths alone
SAMPLE = 16

Answers = dict[str, tuple[int, ...]]


def figures(requests: int = REQUESTS) -> dict[str, float]:
    """Ratios and shares by name; prints a table."""
    with tempfile.TemporaryDirectory(prefix="reelmill-decode-waste-") as folder:
        model, processor = load(build(folder))
    sequences = drawn(processor, requests)
    continuous = _continuous(model, sequences)
    static = _static(model, sequences)
    _same_as_alone(model, sequences, continuous[1], static[1])

    found: dict[str, float] = {}
    print(
        f"{'':<12} {'steps':>6} {'row-steps':>10} {'useful':>8} {'row-steps / useful':>19} {'prefilled / useful':>19}"
    )
    for name, (counters, _) in {"continuous": continuous, "static": static}.items():
        waste = counters.row_steps / counters.useful
        prefill = counters.prefill_tokens / counters.prefill_useful
        counts = f"{counters.steps:>6} {counters.row_steps:>10} {counters.useful:>8}"
        print(f"{name:<12} {counts} {waste:>19.3f} {prefill:>19.3f}")
        suffix = "" if name == "continuous" else "_static"
        found |= {f"row_steps_over_useful{suffix}": round(waste, 4), f"prefill_over_useful{suffix}": round(prefill, 4)}
    return found


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    print(json.dumps({"benchmark": "decode-waste", "figures": figures(requests)}))


def drawn(processor: Any, requests: int) -> list[Sequence]:
    """Requests that nothing ends but their length."""
    random = np.random.default_rng(4)
    prompts = [random_prompt(processor, random, KINDS[number % len(KINDS)]) for number in range(PROMPTS)]
    lengths = random.integers(LENGTHS[0], LENGTHS[1] + 1, requests).tolist()
    order = random.integers(0, PROMPTS, requests).tolist()
    return [
        prompts[prompt].sequence(str(number), length, min_tokens=length)
        for number, (prompt, length) in enumerate(zip(order, lengths, strict=True))
    ]


def _continuous(model: Any, sequences: list[Sequence]) -> tuple[Counters, Answers]:
    continuous = decoder(model, {"slots": SLOTS, "ahead": SLOTS, "view": 128})
    continuous.admit(sequences)
    answers: Answers = {}
    while continuous.running:
        answers |= {name: _tokens(one) for name, one in continuous.step().items()}
    return continuous.counters, answers


def _static(model: Any, sequences: list[Sequence]) -> tuple[Counters, Answers]:
    """In order of arrival."""
    static = StaticDecoder(model)
    answers: Answers = {}
    for start in range(0, len(sequences), SLOTS):
        batch = sequences[start : start + SLOTS]
        answers |= {one.id: _tokens(end) for one, end in zip(batch, static.generate(batch), strict=True)}
    return static.counters, answers


def _tokens(end: Any) -> tuple[int, ...]:
    if not isinstance(end, Finished):
        raise SystemExit(f"a request failed: {end}")
    return end.tokens


def _same_as_alone(model: Any, sequences: list[Sequence], *sides: Answers) -> None:
    """Stop unless a sample gets from every side what it gets alone, and each answer has the length it was given."""
    wrong_length = [one.id for one in sequences for side in sides if len(side[one.id]) != one.max_tokens]
    sample = sequences[:: max(1, len(sequences) // SAMPLE)]
    differ = [one.id for one in sample if any(side[one.id] != generate_alone(model, one) for side in sides)]
    if wrong_length or differ:
        raise SystemExit(f"the sides do not agree: {wrong_length[:5]} {differ[:5]}; their steps cannot be compared")


if __name__ == "__main__":
    main()
