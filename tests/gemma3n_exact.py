"""Continuous batching against `model.generate` alone, at length: `python -m tests.gemma3n_exact --requests 2000`.

Random requests of every kind on a random checkpoint, in float32, through every layout of the decoder. Every token of
every request must be equal; the exit status tells.
"""

import argparse
import sys
import tempfile

import numpy as np

from tests.integration.gemma3n.driving import SHAPES, decoder, drive, wrong
from tests.integration.gemma3n.mixed import load
from tests.integration.gemma3n.pool import draw_cases, shuffled
from tests.tiny.random_checkpoint import build

CASES_PER_PROMPT = 5


def main() -> None:
    parser = argparse.ArgumentParser(description="compare continuous batching with model.generate alone")
    parser.add_argument("--requests", type=int, default=2000, help="request runs in all layouts together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    each = -(-options.requests // len(SHAPES))

    with tempfile.TemporaryDirectory(prefix="reelmill-exact-") as folder:
        model, processor = load(build(folder))
    num_prompts = -(-each // CASES_PER_PROMPT)
    print(f"generating {num_prompts * CASES_PER_PROMPT} answers alone", flush=True)
    cases = draw_cases(model, processor, options.seed, num_prompts, CASES_PER_PROMPT)

    print(f"{'layout':<34} {'requests':>8} {'wrong':>6} {'useful rows':>12}")
    num_wrong = 0
    for number, (name, layout) in enumerate(SHAPES.items()):
        random = np.random.default_rng([options.seed, number])
        drawn = shuffled(cases, random, each)
        continuous = decoder(model, layout)
        bad = wrong(drawn, drive(continuous, [case.sequence for case in drawn], random))
        num_wrong += len(bad)
        share = continuous.counters.useful / max(1, continuous.counters.row_steps)
        print(f"{name:<34} {len(drawn):>8} {len(bad):>6} {share:>12.3f} {' '.join(bad[:5])}", flush=True)
    sys.exit(f"{num_wrong} requests differ" if num_wrong else None)


if __name__ == "__main__":
    main()
