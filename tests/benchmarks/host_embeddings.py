"""What keeping the per-layer embeddings on the host changes: nothing in the logits; a few rows are fetched a step.

Random tiny weights on the CPU: the rows are those of any model, the time of a real bus is for a GPU to tell.
"""

import json
import tempfile
from pathlib import Path

from pipeline.engines.gemma3n.host_embeddings import keep_on_host
from pipeline.engines.gemma3n.variants import Layers
from pipeline.engines.gemma3n.views import view
from tests.integration.gemma3n.mixed import load
from tests.integration.gemma3n.size_checks import (
    NUM_TOKENS,
    difference,
    greedy_tokens,
    logits,
    mixed_batch,
    random_size,
)
from tests.tiny.random_checkpoint import build


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="reelmill-host-embeddings-") as folder:
        checkpoint = build(Path(folder) / "checkpoint")
        model, processor = load(checkpoint)
        batch, size = mixed_batch(processor), random_size(Layers.of(model.config), seed=1)
        before, tokens, of_view = logits(model, batch), greedy_tokens(model, batch), logits(view(model, size), batch)

        embeddings = keep_on_host(model, checkpoint)
        worst = max(
            difference(logits(model, batch), before),
            difference(logits(view(model, size), batch), of_view),
        )
        if worst or greedy_tokens(model, batch) != tokens:
            raise SystemExit(f"embeddings on the host give another model: logits differ by {worst}")

        prompt_tokens = batch["input_ids"].numel()
        embeddings.rows_fetched = 0
        logits(model, batch)
        prompt_rows = embeddings.rows_fetched
        greedy_tokens(model, batch)
        rows_per_step = (embeddings.rows_fetched - 2 * prompt_rows) / (NUM_TOKENS - 1)

    sequences = len(batch["input_ids"])
    print(f"{'':<10} {'tokens':>8} {'rows fetched':>13}")
    print(f"{'prompts':<10} {prompt_tokens:>8} {prompt_rows:>13}")
    print(f"{'a step':<10} {sequences:>8} {rows_per_step:>13.1f}")
    figures = {"max_logit_difference": worst, "rows_per_step": round(rows_per_step, 2), "rows_per_prompt": prompt_rows}
    print(json.dumps({"benchmark": "host-embeddings", "figures": figures}))


if __name__ == "__main__":
    main()
