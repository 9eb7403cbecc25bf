"""Pipeline efficiency: tokens a second of the mill over those of its bare engine, on the same segments.

The pipeline side is a real mill on this machine: segments in SeaweedFS, messages in Valkey, one Celery infer worker
with its speech gate, the steward. The bare side is the same engine in a process of its own with nothing around it.
Both have the same weights, prompts, limits, slots and CPU threads (one, so that a core is left for what surrounds the
engine, as beside a GPU), and what each round answers is the same bytes.

What is timed: from the moment the infer worker may take its first message until the last answer is in the object
store. Recordings are cut, and their segments wait on the queue, before that: cutting is other machines' work. The bare
side has its features and token ids ready before its clock starts; the pipeline makes them while it is running. Loading
and warming up are in neither.

The model is random, between the tiny checkpoint and a real one. The tiny checkpoint that ships with reelmill ends its
answers after a few words, in a few hundredths of a second for each segment; what is around an engine would be set
against next to nothing. This one writes up to the task's limit of 256 tokens and takes about half a second of engine
time for a segment (see the table). Published models take longer on a CPU, and less in a large batch on a GPU: for
those, `overhead_cpu_seconds_per_segment` is the figure to reckon with. It is all CPU time that the mill spends beyond
the bare engine's, extraction of features and speech gate included.

Before any figure: every segment's text is the same on both sides, byte for byte, and a sample of segments gives the
same text alone.
"""

import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from faster_whisper.audio import decode_audio
from transformers.utils import logging

from pipeline.engines.gemma3n import Gemma3nEngine
from pipeline.local import LocalMill
from pipeline.sample import speech_sample
from pipeline.settings import Engine, Settings, Workers
from tests.benchmarks.efficiency_sides import BareEngine, HeldMill, Run
from tests.benchmarks.run_overhead import SAMPLE_RATE, joined, write
from tests.tiny.architecture import FULL, SLIDING, Sizes
from tests.tiny.random_checkpoint import build

ROUNDS = 3
FILES = 2  # of each round
FILE_SECONDS = 450
WARM_UP_SECONDS = 90
THREADS = 1
SAMPLE = 3  # segments that are answered alone as well
STAND_IN = Sizes(
    hidden=192,
    feed_forward=768,
    layer_types=(SLIDING, SLIDING, SLIDING, FULL) * 2,
    shared_layers=4,
    sparsity=(0.95, 0.95, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    sliding_window=256,
    audio_hidden=64,
    audio_layers=3,
)


def main() -> None:
    torch.set_num_threads(THREADS)
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="reelmill-pipeline-efficiency-") as folder:
        model = build(Path(folder) / "model", sizes=STAND_IN)
        settings = Settings(
            data_dir=Path(folder) / "data",
            engine=Engine(name="gemma3n", model=str(model), device="cpu", threads=THREADS),
            workers=Workers(prepare_processes=1, cache_dir=Path(folder) / "cache"),
        )
        engine = Gemma3nEngine(settings.engine)
        engine.load()
        bare = BareEngine(engine)
        with LocalMill(settings) as mill:
            figures = measured(HeldMill(mill), bare, Path(folder))
    print(json.dumps({"benchmark": "pipeline-efficiency", "figures": figures}))


def measured(mill: HeldMill, bare: BareEngine, folder: Path) -> dict[str, float]:
    """The figures; prints a table, one line for each round."""
    mill.answer([recording(folder, 0, WARM_UP_SECONDS)])
    print(f"{'round':<6} {'segments':>8} {'tokens':>7} {'pipeline s':>11} {'engine s':>9} {'ratio':>6} {'CPU s':>12}")
    ratios, rates, per_segment, overheads = [], [], [], []
    for number in range(1, ROUNDS + 1):
        requests = mill.queue([recording(folder, number * FILES + index) for index in range(FILES)])
        if number == 1:
            bare.run(requests[:8])  # warm up
        before = bare.num_tokens
        if number % 2:
            through, alone = mill.run(requests), bare.run(requests)
        else:
            alone, through = bare.run(requests), mill.run(requests)
        tokens = bare.num_tokens - before
        refuse_other_texts(through, alone)
        if number == 1:
            for request in requests[:: len(requests) // SAMPLE][:SAMPLE]:
                if bare.alone(request) != alone.texts[request.id]:
                    raise SystemExit(f"{request.id} gives another text alone than in a batch")
        ratios.append(alone.seconds / through.seconds)
        rates.append((tokens / through.seconds, tokens / alone.seconds))
        per_segment.append(alone.seconds / len(requests))
        overheads.append((through.cpu_seconds - alone.cpu_seconds) / len(requests))
        times = f"{through.seconds:>11.2f} {alone.seconds:>9.2f} {ratios[-1]:>6.3f}"
        cpu = f"{through.cpu_seconds:.1f} / {alone.cpu_seconds:.1f}"
        print(f"{number:<6} {len(requests):>8} {tokens:>7} {times} {cpu:>12}", flush=True)
    through_rate, alone_rate = (statistics.median(sides) for sides in zip(*rates, strict=True))
    return {
        # Within a round, both sides had the same segments and, nearly, the same neighbours on the machine.
        "pipeline_over_engine": round(statistics.median(ratios), 3),
        "pipeline_over_engine_least": round(min(ratios), 3),
        "pipeline_over_engine_most": round(max(ratios), 3),
        "pipeline_tokens_per_second": round(through_rate, 1),
        "engine_tokens_per_second": round(alone_rate, 1),
        "engine_seconds_per_segment": round(statistics.median(per_segment), 3),
        "overhead_cpu_seconds_per_segment": round(statistics.median(overheads), 3),
    }


def refuse_other_texts(through: Run, alone: Run) -> None:
    """Stop unless both sides wrote the same texts."""
    different = [name for name, text in alone.texts.items() if through.texts.get(name) != text]
    if different or len(through.texts) != len(alone.texts):
        raise SystemExit(f"the two sides give other texts for {len(different)} segments: {', '.join(different[:3])}")


def recording(folder: Path, number: int, seconds: int = FILE_SECONDS) -> Path:
    """A person reading again and again with pauses, other ones for every number."""
    sound = joined([decode_audio(str(speech_sample()))], np.random.default_rng(number))
    path = folder / f"recording-{number}.wav"
    write(path, sound[: seconds * SAMPLE_RATE])
    return path


if __name__ == "__main__":
    main()
