"""How many files a second `reelmill plan` looks at: a folder of small sound, video, picture and text files.

The real command in a process of its own, start included, on files that lie in the page cache. Each file is probed in a
sandbox if there is one, just as a job's media is. CPU seconds are those of the command with all its children.
"""

import json
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from pipeline.media.ffmpeg import Ffmpeg
from pipeline.settings import Settings
from tests.command import ECHO, reelmill
from tests.media_samples import encode, noise_bursts, write_wav

FILES = 1000
ROUNDS = 3
#: Of a hundred files.
MIX = {
    "wav": 10,
    "mp3": 15,
    "m4a": 10,
    "flac": 5,
    "ogg": 5,
    "mp4": 15,
    "mkv": 5,
    "jpg": 15,
    "png": 5,
    "txt": 15,
}


def figures(files: int = FILES) -> dict[str, float]:
    """The best of some rounds: what else the machine does only ever makes it slower."""
    with tempfile.TemporaryDirectory(prefix="reelmill-plan-rate-") as temporary:
        folder = Path(temporary) / "archive"
        kinds = fill(folder, samples(Path(temporary)), files)
        rounds = [measured(folder, files) for _ in range(ROUNDS)]
    for seconds, cpu in rounds:
        print(f"{files} files in {seconds:.2f} s: {files / seconds:.1f} a second, {cpu / files * 1000:.1f} ms CPU each")
    seconds, cpu = min(rounds)
    return {
        "files_per_second": round(files / seconds, 1),
        "cpu_ms_per_file": round(cpu / files * 1000, 1),
        "cores_busy": round(cpu / seconds, 2),
        **{f"share_{kind}": round(count / files, 3) for kind, count in sorted(kinds.items())},
    }


def samples(folder: Path) -> dict[str, Path]:
    """One small file of each format."""
    ffmpeg = Ffmpeg.locate(Settings())
    sound = write_wav(folder / "sample.wav", noise_bursts(3))
    made = {"wav": sound}
    for suffix in ("mp3", "m4a", "flac", "ogg"):
        made[suffix] = encode(ffmpeg, sound, folder / f"sample.{suffix}")
    for suffix in ("mp4", "mkv"):
        options = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest")
        made[suffix] = encode(ffmpeg, sound, folder / f"sample.{suffix}", *options, video_seconds=3)
    for suffix in ("jpg", "png"):
        made[suffix] = folder / f"sample.{suffix}"
        Image.linear_gradient("L").resize((1024, 768)).convert("RGB").save(made[suffix])
    made["txt"] = folder / "sample.txt"
    made["txt"].write_text("A few words that mean nothing at all.\n" * 50)
    return made


def fill(folder: Path, made: dict[str, Path], files: int) -> Counter[str]:
    """Copies of the samples in the shares of `MIX`, one kind after the other in turn; how many there are of each."""
    folder.mkdir()
    kinds: Counter[str] = Counter()
    cycle = [suffix for suffix, share in MIX.items() for _ in range(share)]
    for number in range(files):
        suffix = cycle[number * 37 % 100]  # mixed up, always alike
        (folder / f"{number:06d}.{suffix}").write_bytes(made[suffix].read_bytes())
        kinds[_kind(suffix)] += 1
    return kinds


def measured(folder: Path, files: int) -> tuple[float, float]:
    """Wall and CPU seconds of one dry run, which must have told of every file."""
    before, started = _cpu_seconds(), time.monotonic()
    done = reelmill("plan", "--json", "--task", "ask", "--question", "What?", folder, seconds=600, **ECHO)
    seconds, cpu = time.monotonic() - started, _cpu_seconds() - before
    total = json.loads(done.stdout.splitlines()[-1])["total"]
    if (done.returncode, total["files"], total["refused"]) != (0, files, 0):
        raise SystemExit(f"the dry run did not go as it should: {total} {done.stderr}")
    return seconds, cpu


def _kind(suffix: str) -> str:
    kinds = {"mp4": "video", "mkv": "video", "jpg": "picture", "png": "picture", "txt": "text"}
    return kinds.get(suffix, "sound")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    print(json.dumps({"benchmark": "plan-rate", "figures": figures(files)}))


if __name__ == "__main__":
    main()
