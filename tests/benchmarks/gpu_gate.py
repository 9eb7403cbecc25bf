"""The gate of the GPU sweep: every rung of the ladder gives the same tokens, in float32."""

from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3nForConditionalGeneration

from pipeline.engines.gemma3n.sequences import Finished
from pipeline.engines.gemma3n.sequences import Sequence as Request
from pipeline.engines.gemma3n.static import StaticDecoder
from tests.benchmarks.full_size_model import clip_features, clip_request, picture_request, pixels
from tests.benchmarks.gpu_ladder import LADDER, answers, decoder, move_embeddings_to_host, uncaptured
from tests.tiny.architecture import Sizes
from tests.tiny.random_checkpoint import build

SLOTS = 3
PROMPTS = ((208, 24), (240, 5))  # tokens of a clip's prompt and of its answer
PICTURES = ((40, 24), (70, 9))


def check_tokens(folder: Path, device: str) -> str:
    """Stop unless all rungs give the eager decoder's tokens on a tiny random model.

    More requests than slots, so that slots are filled anew. Returns how many requests `generate` gives the same tokens
    for alone: there sums are made in another order, which one token in thousands may not bear.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    sizes = Sizes()
    model: Any = Gemma3nForConditionalGeneration.from_pretrained(
        build(folder, sizes=sizes), dtype=torch.float32, attn_implementation="sdpa"
    )
    model = model.to(device).eval()
    requests = _requests(model.config, sizes)
    alone = {request.id: _alone(model, request) for request in requests}
    longest = max(request.num_prompt_tokens + request.max_tokens for request in requests)
    eager, *others = [rung if device == "cuda" else uncaptured(rung) for rung in LADDER if rung.how == "continuous"]
    expected = answers(decoder(model, eager, SLOTS, longest), requests)
    for rung in others:
        if rung.host_embeddings:
            move_embeddings_to_host(model)
        given = answers(decoder(model, rung, SLOTS, longest), requests)
        different = [name for name, tokens in expected.items() if given[name] != tokens]
        if different:
            raise SystemExit(f"{rung.name}: other tokens than the eager decoder's for {', '.join(different)}")
    num_same = sum(expected[name] == tokens for name, tokens in alone.items())
    return f"{num_same} of {len(requests)} requests"


def _requests(config: Any, sizes: Sizes) -> list[Request]:
    clips = [
        clip_request(config, f"clip {number}", clip_features(number), *lengths)
        for number, lengths in enumerate(PROMPTS * 2)
    ]
    pictures = [
        picture_request(config, f"picture {number}", pixels(sizes.pixels, number), *lengths)
        for number, lengths in enumerate(PICTURES * 2)
    ]
    return [request for pair in zip(clips, pictures, strict=True) for request in pair]


def _alone(model: Any, request: Request) -> tuple[int, ...]:
    (outcome,) = StaticDecoder(model).generate([request])
    if not isinstance(outcome, Finished):
        raise SystemExit(f"{request.id} has no answer alone: {outcome}")
    return outcome.tokens
