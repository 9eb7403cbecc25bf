"""frame-quality: what becomes of a frame on its way to the model, and what its JPEG costs beside its decoding.

`psnr_db` compares what arrives with the same frame without JPEG, `psnr_db_processor` with what the processor of
Gemma 3n makes of the frame at its full size; both are the worst of all frames. `codec_share_of_decode` is the CPU time
of writing and reading one JPEG over that of decoding one second of the file: its 30 frames, of which one is looked at.
"""

import json
import statistics
import subprocess
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.engines.gemma3n.checkpoint import local_directory
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.pictures import still
from pipeline.media.probe import probe
from pipeline.media.video.choice import parse
from pipeline.media.video.sampling import Film, Sampling, Stretch
from pipeline.settings import Settings
from tests.benchmarks.video_files import FULL_HD, RATE, decoding, make
from tests.benchmarks.video_sampling import LIMITS, SIDE

ROUNDS = 5  # of writing and reading all JPEGs
COMPARED = 12  # frames
FULL_SIZE = (1920, 1080)


def main() -> None:
    print(json.dumps({"benchmark": "frame-quality", "figures": figures()}))


def figures() -> dict[str, float]:
    """Figures by name; prints a table."""
    ffmpeg = Ffmpeg.locate(Settings())
    with tempfile.TemporaryDirectory(prefix="reelmill-frame-quality-") as folder:
        path = make(ffmpeg, Path(folder), FULL_HD)
        film = Film(path, probe(path, ffmpeg), parse("fps=1"), LIMITS, ffmpeg)
        samples = list(Sampling(film, Stretch(0.0, FULL_HD.length)))[:COMPARED]
        lossless = [sample.image for sample in samples]
        decode = statistics.median(decoding(ffmpeg, path) for _ in range(3)) / FULL_HD.length
        encoded = [still.encoded(image) for image in lossless]
        arrived = [Image.open(BytesIO(data)).convert("RGB") for data in encoded]
        exact = [_processed(_full_size(ffmpeg, path, sample.time)) for sample in samples]
    write = _mean_seconds(lambda: [still.encoded(image) for image in lossless]) / COMPARED
    read = _mean_seconds(lambda: [Image.open(BytesIO(data)).load() for data in encoded]) / COMPARED
    found = {
        "psnr_db": min(_psnr(ours, theirs) for ours, theirs in zip(arrived, lossless, strict=True)),
        "psnr_db_processor": min(_psnr(ours, theirs) for ours, theirs in zip(arrived, exact, strict=True)),
        "codec_share_of_decode": (write + read) / decode,
        "jpeg_kib": statistics.mean(map(len, encoded)) / 1024,
    }
    print(f"{SIDE} x {SIDE}, {len(encoded)} frames of {FULL_HD.name}")
    costs = f"JPEG write {1000 * write:.2f} ms, read {1000 * read:.2f} ms"
    print(f"decode {1000 * decode:.1f} ms for a second, which is {RATE} frames, {costs} for the one that is looked at")
    return {name: round(value, 4) for name, value in found.items()}


def _mean_seconds(work: Any) -> float:
    before = time.process_time()
    for _ in range(ROUNDS):
        work()
    return (time.process_time() - before) / ROUNDS


def _full_size(ffmpeg: Ffmpeg, path: Path, at: float) -> Image.Image:
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-ss", str(at), "-i", str(path), "-frames:v", "1"]
    argv += ["-vf", "scale=flags=accurate_rnd+full_chroma_int", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    return Image.frombytes("RGB", FULL_SIZE, subprocess.run(argv, check=True, capture_output=True).stdout)


def _processed(image: Image.Image) -> Image.Image:
    """As the processor of the published models scales it."""
    from transformers import AutoProcessor

    directory = local_directory("tiny")
    assert directory is not None
    processor = AutoProcessor.from_pretrained(directory).image_processor
    processor.size = {"height": SIDE, "width": SIDE}
    pixels = processor(images=[image], return_tensors="np")["pixel_values"][0]
    return Image.fromarray(np.rint(255 * np.asarray(pixels).transpose(1, 2, 0)).astype(np.uint8))


def _psnr(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one, float) - np.asarray(other, float)
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


if __name__ == "__main__":
    main()
