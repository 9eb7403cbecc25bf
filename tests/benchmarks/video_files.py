"""Videos for benchmarks, made by ffmpeg: detail, movement and grain, compressed as real ones are."""

import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipeline.media.ffmpeg import Ffmpeg

RATE = 30  # frames a second


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a video is made: some seconds encoded once, then repeated without encoding them again."""

    name: str
    size: str
    seconds: int
    times: int
    coded: tuple[str, ...]

    @property
    def length(self) -> int:
        return self.seconds * self.times


#: The usual web video: 7 Mb/s, key frames as far apart as x264 sets them.
FULL_HD = Recipe(
    "1080p H.264", "1920x1080", 25, 3, ("-c:v", "libx264", "-preset", "veryfast", "-b:v", "7M", "-g", "250")
)
ULTRA_HD = Recipe(
    "4K HEVC",
    "3840x2160",
    5,
    4,
    ("-c:v", "libx265", "-preset", "ultrafast", "-b:v", "10M", "-x265-params", "log-level=none:keyint=250"),
)


def make(ffmpeg: Ffmpeg, folder: Path, recipe: Recipe) -> Path:
    sources = [f"{name}=s={recipe.size}:r={RATE}" for name in ("testsrc2", "mandelbrot")]
    inputs = [part for source in sources for part in ("-f", "lavfi", "-i", source)]
    mixed = "[0][1]blend=all_mode=average:shortest=1,noise=alls=6:allf=t,format=yuv420p"
    mixed += ",setparams=colorspace=bt709:range=tv"
    piece, path = folder / "piece.mp4", folder / f"{recipe.name.replace(' ', '-')}.mp4"
    _run(ffmpeg, *inputs, "-filter_complex", mixed, "-t", str(recipe.seconds), *recipe.coded, str(piece))
    _run(ffmpeg, "-stream_loop", str(recipe.times - 1), "-i", str(piece), "-c", "copy", str(path))
    piece.unlink()
    return path


def cpu_seconds() -> float:
    """Of this process and all that it started and waited for, so far."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def decoding(ffmpeg: Ffmpeg, path: Path) -> float:
    """CPU seconds of decoding a video once and doing nothing with it."""
    before = cpu_seconds()
    _run(ffmpeg, "-threads", "1", "-i", str(path), "-map", "0:V:0", "-f", "null", "-")
    return cpu_seconds() - before


def _run(ffmpeg: Ffmpeg, *arguments: str) -> None:
    subprocess.run([str(ffmpeg.ffmpeg), "-nostdin", "-v", "error", "-y", *arguments], check=True)
