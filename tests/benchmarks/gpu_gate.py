"""The gate of the GPU sweep: every rung of the ladder gives the tokens of `generate` alone, in float32."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3nForConditionalGeneration

from pipeline.engines.gemma3n.sequences import Finished
from pipeline.engines.gemma3n.sequences import Sequence as Request
from pipeline.engines.gemma3n.static import StaticDecoder
from tests.benchmarks.full_size_model import clip_features, clip_request, picture_request, pixels
from tests.benchmarks.gpu_ladder import LADDER, answers, decoder, move_embeddings_to_host
from tests.tiny.architecture import Sizes
from tests.tiny.random_checkpoint import build

SLOTS = 3
PROMPTS = ((208, 24), (240, 5))  # tokens of a clip's prompt and of its answer
PICTURES = ((40, 24), (70, 9))


def refuse_other_tokens(folder: Path, device: str) -> None:
    """Stop unless all rungs agree on a tiny random model. More requests than slots, so that slots are filled anew."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    sizes = Sizes()
    model: Any = Gemma3nForConditionalGeneration.from_pretrained(
        build(folder, sizes=sizes), dtype=torch.float32, attn_implementation="sdpa"
    )
    model = model.to(device).eval()
    requests = _requests(model.config, sizes)
    expected = {request.id: _alone(model, request) for request in requests}
    longest = max(request.num_prompt_tokens + request.max_tokens for request in requests)
    for rung in LADDER:
        if rung.how != "continuous":
            continue
        if rung.host_embeddings:
            move_embeddings_to_host(model)
        tried = rung if device == "cuda" else replace(rung, compile="none")
        given = answers(decoder(model, tried, SLOTS, longest), requests)
        different = [name for name, tokens in expected.items() if given[name] != tokens]
        if different:
            raise SystemExit(f"{rung.name}: other tokens than generate alone for {', '.join(different)}")


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
