"""The ladder of the GPU sweep: the same requests, decoded in one more clever way on each rung."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from pipeline.engines.gemma3n.continuous import ContinuousDecoder
from pipeline.engines.gemma3n.host_embeddings import HostEmbeddings
from pipeline.engines.gemma3n.running import shape
from pipeline.engines.gemma3n.sequences import Finished
from pipeline.engines.gemma3n.sequences import Sequence as Request
from pipeline.engines.gemma3n.shape import Compile
from pipeline.engines.gemma3n.static import StaticDecoder

BUCKET = 64  # slots are as long as the longest sequence, in whole buckets
WARM_TOKENS = 3  # of each answer in the warm-up: the step is captured in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way to decode."""

    name: str
    how: Literal["alone", "static", "continuous"]
    compile: Compile = "none"
    fast_prefill: bool = False
    host_embeddings: bool = False


LADDER = (
    Rung(name="plain generate, one by one", how="alone"),
    Rung(name="static batch", how="static"),
    Rung(name="continuous, eager", how="continuous"),
    Rung(name="+ CUDA graphs", how="continuous", compile="graph"),
    Rung(name="+ fast prefill", how="continuous", compile="graph", fast_prefill=True),
    Rung(name="+ host embeddings", how="continuous", compile="graph", fast_prefill=True, host_embeddings=True),
)


def uncaptured(rung: Rung) -> Rung:
    """The rung where there is no GPU: its steps are eager, and its name says so."""
    if rung.compile == "none":
        return rung
    return replace(rung, name=f"{rung.name} (eager)", compile="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Of one run over all requests of a batch."""

    seconds: float
    seconds_per_step: float


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(model: Any, rung: Rung, requests: Sequence[Request]) -> Timing:
    """Run a batch once to warm up, then once with the clock. Raises RuntimeError when an answer is not whole."""
    if rung.how == "continuous":
        return _continuous(model, rung, requests)
    groups = [[request] for request in requests] if rung.how == "alone" else [list(requests)]
    return _generated(StaticDecoder(model), groups)


def decoder(model: Any, rung: Rung, slots: int, longest: int) -> ContinuousDecoder:
    """Laid out as the engine lays it out on a GPU, but for what the rung says, and with slots no longer than needed."""
    length = -(-longest // BUCKET) * BUCKET
    usual = shape(length, slots, on_gpu=True)
    return ContinuousDecoder(model, replace(usual, view=0, compile=rung.compile, fast_prefill=rung.fast_prefill))


def move_embeddings_to_host(model: Any) -> None:
    """Let a model look its per-layer embeddings up in host memory, and free their place on the device."""
    text = model.model.language_model
    table = text.embed_tokens_per_layer.weight.detach().to("cpu", copy=True)
    text.register_module("embed_tokens_per_layer", HostEmbeddings(table, text.embed_tokens_per_layer))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def answers(running: ContinuousDecoder, requests: Sequence[Request]) -> dict[str, tuple[int, ...]]:
    """Tokens by request."""
    running.admit(requests)
    tokens: dict[str, tuple[int, ...]] = {}
    while running.running:
        for name, outcome in running.step().items():
            tokens[name] = _whole(outcome)
    return tokens


def _continuous(model: Any, rung: Rung, requests: Sequence[Request]) -> Timing:
    longest = max(request.num_prompt_tokens + request.max_tokens for request in requests)
    running = decoder(model, rung, len(requests), longest)
    answers(running, [replace(request, id=f"warm {request.id}", max_tokens=WARM_TOKENS) for request in requests])
    counters = running.counters
    prefilled = counters.prefill_rows + len(requests)
    running.admit(requests)
    steps: list[float] = []
    synchronise()
    began = time.perf_counter()
    while running.running:
        only_decodes = counters.prefill_rows == prefilled
        at = time.perf_counter()
        ended = running.step()  # ends with the tokens on the host: the device is done with it
        if only_decodes and not ended:
            steps.append(time.perf_counter() - at)
        for outcome in ended.values():
            _whole(outcome)
    seconds = time.perf_counter() - began
    return Timing(seconds=seconds, seconds_per_step=sorted(steps)[len(steps) // 2])


def _generated(static: StaticDecoder, groups: Sequence[list[Request]]) -> Timing:
    """Steps are what an answer takes beyond its first token, by the difference of two runs."""

    def run(part: Sequence[Request]) -> None:
        for outcome in static.generate(part):
            _whole(outcome)

    short = [[replace(request, max_tokens=1) for request in group] for group in groups[:1]]
    run(short[0])
    first = _seconds(lambda: run(short[0]))
    began = [_seconds(lambda group=group: run(group)) for group in groups]  # type: ignore[misc]
    num_steps = groups[0][0].max_tokens - 1
    return Timing(seconds=sum(began), seconds_per_step=(began[0] - first) / num_steps)


def _seconds(work: Callable[[], None]) -> float:
    synchronise()
    began = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - began


def _whole(outcome: Any) -> tuple[int, ...]:
    if not isinstance(outcome, Finished):
        raise RuntimeError(f"no answer: {outcome}")
    return outcome.tokens
