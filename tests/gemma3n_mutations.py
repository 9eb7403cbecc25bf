"""Whether the comparison with `model.generate` alone can see bugs: `python -m tests.gemma3n_mutations`.

The gate for an upgrade of transformers: without a planted bug nothing may differ, with each of them something must.
"""

import sys
import tempfile

from tests.integration.gemma3n.mixed import load
from tests.integration.gemma3n.mutations import MUTATIONS
from tests.integration.gemma3n.pool import draw_cases
from tests.integration.gemma3n.revealing import num_differing
from tests.tiny.random_checkpoint import build

PROMPTS = 20
CASES_PER_PROMPT = 2


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="reelmill-mutations-") as folder:
        model, processor = load(build(folder))
    cases = draw_cases(model, processor, 11, PROMPTS, CASES_PER_PROMPT)
    print(f"{'planted bug':<50} {'differ':>6} of {len(cases)}", flush=True)
    failures = []
    sound = num_differing(model, cases)
    print(f"{'none':<50} {sound:>6}", flush=True)
    if sound:
        failures.append(f"{sound} requests differ without a planted bug")
    for name, mutation in MUTATIONS.items():
        with mutation(model):
            seen = num_differing(model, cases)
        print(f"{name:<50} {seen:>6}", flush=True)
        if not seen:
            failures.append(f"not seen: {name}")
    sys.exit("; ".join(failures) or None)


if __name__ == "__main__":
    main()
