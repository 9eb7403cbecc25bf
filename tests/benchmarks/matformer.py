"""Sizes as views of one loaded model against the same sizes as checkpoints of their own, on random tiny weights.

Equality and memory only: how fast a size is, and how good, are questions for the real weights on a GPU.
"""

import json
import tempfile
from pathlib import Path

import torch

from pipeline.engines.gemma3n.slicing import slice_checkpoint
from pipeline.engines.gemma3n.variants import Layers
from pipeline.engines.gemma3n.views import view
from tests.integration.gemma3n.mixed import load
from tests.integration.gemma3n.size_checks import (
    TOLERANCE,
    difference,
    extra_bytes,
    greedy_tokens,
    logits,
    mixed_batch,
    random_size,
)
from tests.tiny.random_checkpoint import build

SEEDS = range(5)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="reelmill-matformer-") as folder:
        checkpoint = build(Path(folder) / "parent")
        parent, processor = load(checkpoint)
        batch = mixed_batch(processor)
        before = logits(parent, batch)
        print(f"{'widths':<36} {'skipped':<10} {'difference':>10} {'extra bytes':>12}")
        differences, extras = [], []
        for seed in SEEDS:
            size = random_size(Layers.of(parent.config), seed)
            small = view(parent, size)
            sliced = load(slice_checkpoint(checkpoint, Path(folder) / size.name, size).path)[0]
            differences.append(difference(logits(small, batch), logits(sliced, batch)))
            extras.append(extra_bytes(small, parent))
            if differences[-1] > TOLERANCE or greedy_tokens(small, batch) != greedy_tokens(sliced, batch):
                raise SystemExit(f"the view of {size} and its slice are not the same model")
            skipped = ", ".join(map(str, sorted(size.skipped)))
            print(f"{size.widths!s:<36} {skipped:<10} {differences[-1]:>10.1e} {extras[-1]:>12}", flush=True)
        if not torch.equal(logits(parent, batch), before):
            raise SystemExit("the views changed their parent")
    figures = {"max_logit_difference": max(differences), "extra_bytes": max(extras)}
    print(json.dumps({"benchmark": "matformer", "figures": figures}))


if __name__ == "__main__":
    main()
