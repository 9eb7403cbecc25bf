"""Frames come as the processor of Gemma 3n would have made them, so that it has nothing left to scale."""

import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.engines.gemma3n.checkpoint import local_directory
from pipeline.engines.gemma3n.facts import Facts, read
from pipeline.job import SegmentLimits
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.video.choice import parse
from pipeline.media.video.frames import FrameCut
from pipeline.media.video.sampling import Film
from pipeline.payload import Frame
from tests.integration.media.films import WHOLE

LIKE_ENOUGH = 42.0  # dB
SIZE = (1920, 1080)


def processor(side: int | None = None) -> Any:
    """The image processor of the tiny checkpoint; with another side, it is that of the published models."""
    from transformers import AutoProcessor

    directory = local_directory("tiny")
    assert directory is not None
    found = AutoProcessor.from_pretrained(directory).image_processor
    if side is not None:
        found.size = {"height": side, "width": side}
    return found


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """Three seconds of 1080p with edges, texture and grain, compressed as such video is."""
    path = tmp_path_factory.mktemp("lively") / "a.mp4"
    mixed = (
        "[0][1]blend=all_mode=average:shortest=1,noise=alls=6:allf=t,format=yuv420p,setparams=colorspace=bt709:range=tv"
    )
    inputs = [
        part for source in ("testsrc2", "mandelbrot") for part in ("-f", "lavfi", "-i", f"{source}=s=1920x1080:r=5")
    ]
    argv = [str(ffmpeg.ffmpeg), "-v", "error", *inputs, "-filter_complex", mixed, "-t", "3", "-c:v", "libx264"]
    subprocess.run([*argv, "-preset", "ultrafast", "-crf", "23", str(path)], check=True, timeout=120)
    return path


def full_size(path: Path, ffmpeg: Ffmpeg, time: float) -> Image.Image:
    """What ffmpeg shows at a time, in all its pixels."""
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-ss", str(time), "-i", str(path), "-frames:v", "1"]
    argv += ["-vf", "scale=flags=accurate_rnd+full_chroma_int", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    return Image.frombytes("RGB", SIZE, subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout)


def sampled(path: Path, ffmpeg: Ffmpeg, limits: SegmentLimits) -> list[Frame]:
    return list(FrameCut(Film(path, probe(path, ffmpeg), parse("fps=1"), limits, ffmpeg), WHOLE).frames())


def psnr(one: Any, other: Any) -> float:
    """In dB, of values from 0 to 1."""
    return float(-10 * np.log10(np.mean((np.asarray(one) - np.asarray(other)) ** 2)))


def test_a_frame_is_what_the_processor_makes_of_the_whole_picture(lively: Path, ffmpeg: Ffmpeg) -> None:
    limits = Facts().limits(4096)
    assert (limits.image_fit, limits.image_pixels) == ("stretch", 768)
    published = processor(768)
    frames = sampled(lively, ffmpeg, limits)
    assert [frame.time for frame in frames] == [0.0, 1.0, 2.0]
    for frame in frames:
        arrived = published(images=[Image.open(BytesIO(frame.image))], return_tensors="pt")["pixel_values"][0]
        wanted = published(images=[full_size(lively, ffmpeg, frame.time)], return_tensors="pt")["pixel_values"][0]
        assert psnr(arrived, wanted) > LIKE_ENOUGH


@pytest.mark.parametrize("side", [None, 768])
def test_the_processor_has_nothing_left_to_scale(side: int | None, lively: Path, ffmpeg: Ffmpeg) -> None:
    directory = local_directory("tiny")
    assert directory is not None
    facts = read(directory) if side is None else Facts()
    frame = sampled(lively, ffmpeg, facts.limits(4096))[0]
    picture = Image.open(BytesIO(frame.image))
    pixels = processor(side)(images=[picture], return_tensors="pt")["pixel_values"][0]
    given = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
    assert pixels.shape == given.shape
    assert np.abs(np.asarray(pixels) - given).max() < 1e-6
