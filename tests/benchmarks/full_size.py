"""A whole E2B on this machine: one clip of 30 s and one picture of 768 pixels through continuous batching, in bfloat16.

The weights are random, so the answers mean nothing: this shows that the published size loads, fits and runs, and how
slow it is without a GPU. Both requests decode together, each to a fixed length. The encoders compute in float32.
"""

import json
import resource
import statistics
import time

import torch

from pipeline.engines.gemma3n.continuous import ContinuousDecoder
from pipeline.engines.gemma3n.sequences import Finished, Sequence
from pipeline.engines.gemma3n.shape import Shape
from tests.benchmarks.full_size_model import (
    PICTURE_PIXELS,
    clip_features,
    clip_request,
    e2b,
    picture_request,
    pixels,
    random_model,
    towers_in_float32,
)

CLIP_TOKENS = (208, 100)  # of the prompt, of the answer
PICTURE_TOKENS = (276, 60)
KIB_PER_GIB = 1024**2


def main() -> None:
    began = time.perf_counter()
    config = e2b()
    model = random_model(config, "cpu", torch.bfloat16)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    towers_in_float32(model)
    build_seconds = time.perf_counter() - began
    requests = [
        clip_request(config, "clip", clip_features(), *CLIP_TOKENS),
        picture_request(config, "picture", pixels(PICTURE_PIXELS), *PICTURE_TOKENS),
    ]
    decoder = ContinuousDecoder(model, Shape(slots=2, max_length=384, ahead=2))
    seconds = run(decoder, requests)

    num_tokens = CLIP_TOKENS[1] + PICTURE_TOKENS[1]
    together = seconds[1 : PICTURE_TOKENS[1] - 1]  # steps in which both requests decode and nothing else happens
    figures = {
        "tokens_per_second": round(num_tokens / sum(seconds), 2),
        "decode_tokens_per_second": round(2 / statistics.median(together), 2),
        "encode_and_prefill_seconds": round(seconds[0] - statistics.median(together), 1),
        "seconds_per_step": round(statistics.median(together), 3),
        "build_seconds": round(build_seconds, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB, 2),
        "threads": torch.get_num_threads(),
    }
    print(f"E2B, random weights, {num_parameters / 1e9:.2f} billion parameters, bfloat16, {figures['threads']} threads")
    print(f"clip {CLIP_TOKENS[0]} tokens in, {CLIP_TOKENS[1]} out; picture {PICTURE_TOKENS[0]} in, {PICTURE_TOKENS[1]}")
    for name, value in figures.items():
        print(f"{name:<28} {value:>8}")
    print(json.dumps({"benchmark": "full-size", "figures": figures}))


def run(decoder: ContinuousDecoder, requests: list[Sequence]) -> list[float]:
    """Seconds of each step. The first one encodes, prefills and decodes; stops unless every answer is whole."""
    lengths = {request.id: request.max_tokens for request in requests}
    decoder.admit(requests)
    seconds: list[float] = []
    while decoder.running:
        began = time.perf_counter()
        ended = decoder.step()
        seconds.append(time.perf_counter() - began)
        for name, outcome in ended.items():
            if not isinstance(outcome, Finished) or len(outcome.tokens) != lengths[name]:
                raise SystemExit(f"the {name} came to no whole answer: {outcome!r}")
    return seconds


if __name__ == "__main__":
    main()
