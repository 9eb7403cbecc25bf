"""video-sampling: what frames of a video cost, in each mode, against ffmpeg that decodes it once and drops it all.

Ours is everything from the file to the JPEGs: probe, windows, sampling, sandbox, this Python. Costs are CPU seconds,
user and system, children included; the rounds are interleaved and the median counts. Before anything is timed, the
frames must be at their times and look as a plain call of ffmpeg shows them, and `scene` must find the cuts that were
planted, and no others.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.engines.gemma3n.facts import Facts
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.video.choice import SCENE_SECONDS, parse
from pipeline.media.video.frames import FrameCut
from pipeline.media.video.packets import measured
from pipeline.media.video.sampling import Film
from pipeline.media.windows import choose_windows
from pipeline.payload import Frame
from pipeline.settings import Settings
from tests.benchmarks.video_files import FULL_HD, ULTRA_HD, Recipe, cpu_seconds, decoding, make

ROUNDS = 3
LIMITS = Facts().limits(4096)
SIDE = LIMITS.image_pixels
#: Figure, video, mode.
MEASURED = (
    ("cpu_ratio_1080p_fps1", FULL_HD, "fps=1"),
    ("cpu_ratio_keyframes", FULL_HD, "keyframes"),
    ("cpu_ratio_scene", FULL_HD, "scene"),
    ("cpu_ratio_1080p_sparse", FULL_HD, "fps=0.05"),
    ("cpu_ratio_4k_fps1", ULTRA_HD, "fps=1"),
)
SAME = 38.0  # dB that a frame may differ from ffmpeg's own: JPEG and another way to scale are allowed


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(json.dumps({"benchmark": "video-sampling", "figures": figures(rounds)}))


def figures(rounds: int) -> dict[str, float]:
    """Ratios by name; prints a table."""
    ffmpeg = Ffmpeg.locate(Settings())
    found: dict[str, float] = {"is_sandboxed": float(ffmpeg.sandbox is not None)}
    print(
        f"{'video':<12} {'mode':<10} {'frames':>6} {'decode CPU s':>13} {'ours CPU s':>11} {'ratio':>6} {'spread':>12}"
    )
    with tempfile.TemporaryDirectory(prefix="reelmill-video-sampling-") as folder:
        for recipe in (FULL_HD, ULTRA_HD):
            path = make(ffmpeg, Path(folder), recipe)
            check(ffmpeg, path, recipe)
            modes = [(name, mode) for name, of, mode in MEASURED if of is recipe]
            times: dict[str, list[float]] = {mode: [] for _, mode in modes}
            bare: list[float] = []
            for _ in range(rounds):
                bare.append(decoding(ffmpeg, path))
                for _, mode in modes:
                    before = cpu_seconds()
                    frames(ffmpeg, path, mode)
                    times[mode].append(cpu_seconds() - before)
            for name, mode in modes:
                decode, ours = statistics.median(bare), statistics.median(times[mode])
                found[name] = round(ours / decode, 3)
                ratios = sorted(one / other for one, other in zip(times[mode], bare, strict=True))
                row = f"{len(frames(ffmpeg, path, mode)):>6} {decode:>13.2f} {ours:>11.2f} {ours / decode:>6.3f}"
                print(f"{recipe.name:<12} {mode:<10} {row} {ratios[0]:>6.3f}-{ratios[-1]:.3f}", flush=True)
    return found


def frames(ffmpeg: Ffmpeg, path: Path, mode: str) -> list[Frame]:
    """As the mill does it, from the file on."""
    choice = parse(mode)
    info = measured(path, probe(path, ffmpeg), choice, ffmpeg)
    film = Film(path, info, choice, LIMITS, ffmpeg)
    windows = choose_windows(path, info, Settings().cutting.window_seconds, ffmpeg)
    return [frame for window in windows for frame in FrameCut(film, window).frames()]


def check(ffmpeg: Ffmpeg, path: Path, recipe: Recipe) -> None:
    """Stop unless each mode gives the frames that it should."""
    seconds = frames(ffmpeg, path, "fps=1")
    _agree("times", [frame.time for frame in seconds], [float(second) for second in range(recipe.length)])
    for frame in seconds[:: max(1, recipe.length // 3)]:
        _alike(frame, _shown(ffmpeg, path, frame.time))
    by_time = {frame.time: frame for frame in seconds}
    sparse = frames(ffmpeg, path, "fps=0.05")
    _agree("sought frames", sparse, [by_time[float(second)] for second in range(0, recipe.length, 20)])
    preview = frames(ffmpeg, path, "keyframes")
    _agree("key frames", [frame.time for frame in preview], _key_frames(ffmpeg, path))
    both = {frame.time for frame in preview} & by_time.keys()
    _agree("previews", [frame for frame in preview if frame.time in both], [by_time[time] for time in sorted(both)])
    _agree("frames of scenes", [frame.time for frame in frames(ffmpeg, path, "scene")], scenes(recipe))


def scenes(recipe: Recipe) -> list[float]:
    """The frames of `scene`: after each cut, where the video begins again, and the first of each stretch of 30 s."""
    return sorted({float(at) for step in (recipe.seconds, int(SCENE_SECONDS)) for at in range(0, recipe.length, step)})


def _agree(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise SystemExit(f"the {what} differ: the costs cannot be compared")


def _shown(ffmpeg: Ffmpeg, path: Path, time: float) -> Image.Image:
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-ss", str(time), "-i", str(path), "-frames:v", "1"]
    argv += ["-vf", f"scale={SIDE}:{SIDE}:flags=bicubic+full_chroma_int", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    return Image.frombytes("RGB", (SIDE, SIDE), subprocess.run(argv, check=True, capture_output=True).stdout)


def _alike(frame: Frame, shown: Image.Image) -> None:
    ours, theirs = (np.asarray(image, float) for image in (Image.open(BytesIO(frame.image)), shown))
    decibels = 10 * np.log10(255**2 / np.mean((ours - theirs) ** 2))
    if decibels < SAME:
        raise SystemExit(f"the frame at {frame.time} s is another one: {decibels:.1f} dB")


def _key_frames(ffmpeg: Ffmpeg, path: Path) -> list[float]:
    """By ffprobe's account; all of them lie in different seconds."""
    argv = [str(ffmpeg.ffprobe), "-v", "error", "-select_streams", "V:0", "-show_entries", "packet=pts_time,flags"]
    listed = subprocess.run([*argv, "-of", "csv=p=0", str(path)], check=True, capture_output=True, text=True).stdout
    rows = [line.split(",") for line in listed.splitlines()]
    return sorted(float(row[0]) for row in rows if "K" in row[1])


if __name__ == "__main__":
    main()
