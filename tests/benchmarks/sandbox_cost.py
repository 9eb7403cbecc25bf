"""What the sandbox adds to a media process, and what it costs to read a picture outside of the worker.

Usage: python -m tests.benchmarks.sandbox_cost [rounds]. CPU is user and system time of this process and all that it
started; the two sides of a comparison alternate. Wall times mean something on a quiet machine only.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from PIL import Image

from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.pictures import in_process, still
from pipeline.media.probe import probe
from pipeline.settings import Settings
from tests.media_samples import beeps, write_wav

SIDE = 768
MANY = 40  # pictures to one server


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time, ms."""
    began, before = time.perf_counter(), _cpu()
    work()
    return 1000 * (time.perf_counter() - began), 1000 * (_cpu() - before)


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def compare(title: str, sides: dict[str, Callable[[], object]], rounds: int, per: int = 1) -> dict[str, float]:
    """Print the median of each side, for one of the `per` things that it does; gives the CPU times, ms."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            found[name].append(cost(work))
    figures: dict[str, float] = {}
    for name, costs in found.items():
        wall, cpu = (median(values) / per for values in zip(*costs, strict=True))
        print(f"{title}, {name}: {wall:.1f} ms wall, {cpu:.1f} ms CPU", flush=True)
        figures[f"{title}, {name}"] = round(cpu, 1)
    return figures


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    inside = Ffmpeg.locate(Settings())
    outside = replace(inside, sandbox=None)
    with tempfile.TemporaryDirectory() as folder:
        sound = write_wav(Path(folder) / "sound", beeps(1, [0]))
        sides = {"bare": lambda: probe(sound, outside), "sandbox": lambda: probe(sound, inside)}
        figures = compare("ffprobe on a second of WAV", sides, 4 * rounds)
        for width, height in ((640, 480), (4000, 3000)):
            photo = Path(folder) / f"{width}x{height}"
            Image.effect_noise((width // 8, height // 8), 50).resize((width, height)).convert("RGB").save(photo, "JPEG")
            sides = {"here": _here(photo), "bare": _away(photo, outside), "sandbox": _away(photo, inside)}
            figures |= compare(f"one of {MANY} JPEGs of {width} x {height}", sides, rounds // 3, MANY)
        small = Path(folder) / "640x480"
        sides = {"bare": _away(small, outside, 1), "sandbox": _away(small, inside, 1)}
        figures |= compare("the first JPEG of a process", sides, rounds // 3)
    print(json.dumps({"benchmark": "sandbox-cost", "figures": figures}))


def _here(path: Path) -> Callable[[], object]:
    return lambda: [still.read(path, "jpeg", SIDE, Settings().limits) for _ in range(MANY)]


def _away(path: Path, ffmpeg: Ffmpeg, number: int = MANY) -> Callable[[], object]:
    """With the start of a process, and its end, so that its children are counted."""

    def work() -> None:
        for _ in range(number):
            in_process.read(path, "jpeg", SIDE, ffmpeg)
        in_process.close(ffmpeg)

    return work


if __name__ == "__main__":
    main()
