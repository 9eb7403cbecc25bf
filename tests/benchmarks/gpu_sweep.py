"""Batches 1 to 256 of clips and of pictures through a random E4B on one GPU, up the ladder from plain `generate`.

`python -m tests.benchmarks.gpu_sweep [DIRECTORY]` writes gpu-sweep.json and gpu-sweep.md into the directory ($OUT, or
the current one). Made for one H100 and eight minutes: what the time does not suffice for is told as such. Before any
figure, captured steps must give the tokens of eager ones on a tiny model in float32.

Answers have a fixed length. A batch is one of each slot, begun at once: what refilling slots gains is not in it.
`--dry-run` walks the same way on the CPU, with a tiny model, tiny batches and no graphs; its figures mean nothing.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from pipeline.engines.gemma3n.sequences import Sequence as Request
from tests.benchmarks.full_size_model import (
    PICTURE_PIXELS,
    clip_features,
    clip_request,
    e4b,
    picture_request,
    pixels,
    random_model,
)
from tests.benchmarks.gpu_gate import check_tokens
from tests.benchmarks.gpu_ladder import LADDER, Rung, measure, move_embeddings_to_host, synchronise, uncaptured
from tests.benchmarks.gpu_limits import (
    AUDIO,
    GIB,
    IMAGE,
    Row,
    Workload,
    key_value_bytes,
    markdown,
    share,
    step_limit,
)
from tests.tiny.architecture import Sizes, build_config

MINUTES = 8.0
LAST_START = 30.0  # seconds before the end after which nothing new begins
NO_GPU = "gpu-sweep needs a CUDA GPU, and torch sees none (--dry-run walks through it on the CPU)"
COPIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is swept, on what."""

    device: str
    dtype: torch.dtype
    config: Any
    picture_pixels: int
    batches: Sequence[int]
    workloads: Sequence[Workload]
    ladder: Sequence[Rung]
    copied_bytes: int
    limits_hold: bool  #: the computed limits are of this model


def the_plan() -> Plan:
    return Plan(
        device="cuda",
        dtype=torch.bfloat16,
        config=e4b(),
        picture_pixels=PICTURE_PIXELS,
        batches=(64, 16, 256, 1),  # what matters most first
        workloads=(AUDIO, IMAGE),
        ladder=LADDER,
        copied_bytes=4 * GIB,
        limits_hold=True,
    )


def dry_plan() -> Plan:
    sizes = Sizes()
    return Plan(
        device="cpu",
        dtype=torch.float32,
        config=build_config(sizes),
        picture_pixels=sizes.pixels,
        batches=(2, 1),
        workloads=tuple(replace(workload, answer_tokens=8) for workload in (AUDIO, IMAGE)),
        ladder=tuple(uncaptured(rung) for rung in LADDER),
        copied_bytes=GIB // 16,
        limits_hold=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Gemma 3n E4B on one GPU, by batch and by way to decode")
    parser.add_argument("directory", nargs="?", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--dry-run", action="store_true", help="the same way on the CPU with a tiny model")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="nothing new begins shortly before their end")
    asked = parser.parse_args()
    if not asked.dry_run and not torch.cuda.is_available():
        raise SystemExit(NO_GPU)
    logging.disable_progress_bar()
    deadline = time.monotonic() + asked.minutes * 60 - LAST_START
    plan = dry_plan() if asked.dry_run else the_plan()
    with tempfile.TemporaryDirectory(prefix="reelmill-gpu-sweep-") as folder:
        as_alone = check_tokens(Path(folder), plan.device)
    bandwidth = copy_bandwidth(plan)
    facts = the_facts(plan, bandwidth) | {"float32 gate": f"steps agree; as generate alone: {as_alone}"}
    rows: list[Row] = []
    try:
        sweep(plan, bandwidth, deadline, rows)
    finally:
        asked.directory.mkdir(parents=True, exist_ok=True)
        report = markdown(facts, rows)
        (asked.directory / "gpu-sweep.md").write_text(report)
        document = {"facts": facts, "rows": [asdict(row) for row in rows]}
        (asked.directory / "gpu-sweep.json").write_text(json.dumps(document, indent=2) + "\n")
    print(report)
    print(json.dumps({"benchmark": "gpu-sweep", "figures": figures(rows)}))


def sweep(plan: Plan, bandwidth: float, deadline: float, rows: list[Row]) -> None:
    """Add a row for each cell, in the order in which they are run."""
    model = random_model(plan.config, plan.device, plan.dtype)
    weight_bytes = decode_weight_bytes(model)
    on_device = [rung for rung in plan.ladder if not rung.host_embeddings]
    on_host = [rung for rung in plan.ladder if rung.host_embeddings]
    for ladder in (on_device, on_host):
        if ladder is on_host:
            move_embeddings_to_host(model)
        for batch in plan.batches:
            for workload in plan.workloads:
                requests = the_requests(plan, workload, batch)
                for rung in ladder:
                    if rung.how == "alone" and batch > 1:
                        continue  # one by one, a batch takes as many times as long as one
                    row = cell(plan, model, rung, workload, requests, deadline)
                    rows.append(with_limits(row, plan, workload, bandwidth, weight_bytes))
                    print(json.dumps(asdict(rows[-1])), flush=True)


def the_requests(plan: Plan, workload: Workload, batch: int) -> list[Request]:
    """Different words in each, the same clip or picture in all: the towers do not look who else is there."""
    lengths = (workload.prompt_tokens, workload.answer_tokens)
    if workload.name == AUDIO.name:
        clip = clip_features()
        return [clip_request(plan.config, str(number), clip, *lengths) for number in range(batch)]
    picture = pixels(plan.picture_pixels)
    return [picture_request(plan.config, str(number), picture, *lengths) for number in range(batch)]


def cell(plan: Plan, model: Any, rung: Rung, workload: Workload, requests: Sequence[Request], deadline: float) -> Row:
    """Measure one cell; memory that does not suffice, and time that is up, are notes and no end."""
    row = Row(workload=workload.name, batch=len(requests), rung=rung.name)
    if time.monotonic() > deadline:
        return replace(row, note="not run: no time left")
    if plan.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        timing = measure(model, rung, requests)
    except (RuntimeError, torch.OutOfMemoryError) as error:
        return replace(row, note=f"failed: {str(error).splitlines()[0][:120]}")
    return replace(
        row,
        units_per_second=len(requests) * workload.units / timing.seconds,
        steps_per_second=1 / timing.seconds_per_step if timing.seconds_per_step > 0 else None,
        peak_gib=torch.cuda.max_memory_allocated() / GIB if plan.device == "cuda" else None,
    )


def with_limits(row: Row, plan: Plan, workload: Workload, bandwidth: float, weight_bytes: float) -> Row:
    """The row with its shares of what is possible."""
    halfway = workload.prompt_tokens + workload.answer_tokens / 2
    per_sequence = key_value_bytes(plan.config.text_config, halfway, plan.dtype.itemsize)
    most_steps = step_limit(bandwidth, weight_bytes, row.batch, per_sequence)
    limit = workload.limits.get(row.batch) if plan.limits_hold else None
    return replace(
        row,
        over_limit=share(row.units_per_second, limit),
        over_bandwidth=share(row.steps_per_second, most_steps),
    )


def decode_weight_bytes(model: Any) -> int:
    """Bytes of weights that a decode step reads: all of the language model but its per-layer table."""
    text = model.model.language_model
    table = text.embed_tokens_per_layer.weight
    tensors = {id(weight): weight for weight in text.parameters() if weight is not table}
    return sum(weight.numel() * weight.element_size() for weight in tensors.values())


def copy_bandwidth(plan: Plan) -> float:
    """Bytes a second that a copy on the device reads and writes, the median of several."""
    source = torch.zeros(plan.copied_bytes, dtype=torch.uint8, device=plan.device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = []
    for _ in range(COPIES):
        synchronise()
        began = time.perf_counter()
        target.copy_(source)
        synchronise()
        seconds.append(time.perf_counter() - began)
    return 2 * plan.copied_bytes / statistics.median(seconds)


def the_facts(plan: Plan, bandwidth: float) -> dict[str, str]:
    """What a reader must know of the machine and of what was asked."""
    is_gpu = plan.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if is_gpu else f"{platform.processor() or 'CPU'}, a dry run",
        "copy bandwidth": f"{bandwidth / 1e9:.0f} GB/s read and written",
        "software": ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "timm")),
        "CUDA": str(torch.version.cuda) if is_gpu else "none",
        "model": f"random weights, {plan.config.text_config.num_hidden_layers} layers, {plan.dtype}",
        "limits": "computed for E4B on an H100 SXM" if plan.limits_hold else "none",
        **{
            workload.name: f"{workload.prompt_tokens} tokens in, {workload.answer_tokens} out, in {workload.unit}"
            for workload in plan.workloads
        },
    }


def figures(rows: Sequence[Row]) -> Mapping[str, float]:
    """The best rung of each cell, and what it gained over plain `generate`."""
    found: dict[str, float] = {}
    for row in rows:
        if row.units_per_second is None:
            continue
        name = f"{row.workload}_{row.batch}"
        if row.units_per_second > found.get(f"{name}_per_second", 0.0):
            found[f"{name}_per_second"] = round(row.units_per_second, 1)
            shares = {"over_limit": row.over_limit, "over_bandwidth": row.over_bandwidth}
            found |= {f"{name}_{what}": round(value, 3) for what, value in shares.items() if value is not None}
    return found


if __name__ == "__main__":
    main()
