"""Requests into a continuous decoder as a worker would bring them, at random times, and what came out."""

from collections.abc import Mapping
from collections.abc import Sequence as Items
from typing import Any

import numpy as np

from pipeline.engines.gemma3n.continuous import ContinuousDecoder
from pipeline.engines.gemma3n.sequences import Finished, Sequence
from pipeline.engines.gemma3n.shape import Shape
from pipeline.errors import PipelineError
from tests.integration.gemma3n.mixed import Case

MAX_LENGTH = 640  # the longest prompt of two clips and its answer fit

#: Every option, alone and with others.
SHAPES: dict[str, dict[str, Any]] = {
    "plain, 4 slots": {"slots": 4, "fast_prefill": False},
    "fast prefill, 8 slots": {"slots": 8},
    "encode ahead and view": {"slots": 4, "fast_prefill": False, "ahead": 8, "view": 128},
    "all at once": {"slots": 8, "ahead": 8, "view": 64, "chunk": 128, "prefill_tokens": 128},
    "chunks between decode steps": {"slots": 4, "fast_prefill": False, "chunk": 64, "prefill_tokens": 64},
    "chunks without a common length": {"slots": 8, "chunk": 100, "prefill_tokens": 1, "bucket": 7},
    "no padding": {"slots": 8, "bucket": 1, "prefill_rows": 8},
    "coarse buckets, wide passes": {"slots": 8, "bucket": 256, "prefill_rows": 8},
}


def decoder(model: Any, options: Mapping[str, Any]) -> ContinuousDecoder:
    return ContinuousDecoder(model, Shape(**{"max_length": MAX_LENGTH, **options}))


def drive(
    decoder: ContinuousDecoder, sequences: Items[Sequence], random: np.random.Generator, gap: float | None = None
) -> dict[str, Finished | PipelineError]:
    """Bring sequences in order, some steps apart, until all have ended; returns what they became, by id.

    gap: steps between two arrivals on average, 0 for a burst. What has arrived waits outside until slots are free, and
    the decoder is told of it.
    """
    gap = float(random.choice([0.0, 1.0, 4.0])) if gap is None else gap
    arrivals = np.floor(np.cumsum(random.exponential(gap, len(sequences)))) if gap else np.zeros(len(sequences))
    outside = list(zip(arrivals, sequences, strict=True))
    ended: dict[str, Finished | PipelineError] = {}
    number = 0
    while len(ended) < len(sequences):
        arrived = [sequence for arrival, sequence in outside if arrival <= number]
        joining = arrived[: decoder.free_slots]
        decoder.admit(joining)
        decoder.look_ahead(arrived[len(joining) :])
        outside = outside[len(joining) :]
        ended |= decoder.step()
        number += 1
        if number > 200 * (len(sequences) + 10):
            raise AssertionError(f"no end after {number} steps; {len(ended)} of {len(sequences)} ended")
    return ended


def wrong(cases: Items[Case], ended: Mapping[str, Finished | PipelineError]) -> list[str]:
    """Ids of the requests that did not get the tokens they get alone."""
    return [
        case.sequence.id
        for case in cases
        if not isinstance(one := ended[case.sequence.id], Finished) or one.tokens != case.expected
    ]
