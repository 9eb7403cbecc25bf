"""What preparing audio costs: probe, windows and clips of an hour, against one plain ffmpeg pass over the same file.

Memory is the peak of all processes of the cut together, for an hour and for five minutes. Both sides use the same
ffmpeg and the same filter. Costs are CPU seconds, user and system, children included; the rounds are interleaved and
the median counts. Before anything is timed, the windows of a file, one behind the other, must be the samples of the
plain pass: as many, and no louder a difference than `SAME`.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import psutil

from pipeline.job import SAMPLE_RATE, Window
from pipeline.media.arguments import RESAMPLERS
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.selftest import resampler
from pipeline.media.sound.audio import WindowCut
from pipeline.media.sound.pcm import Pcm
from pipeline.media.sound.vad import speech_probabilities
from pipeline.media.windows import choose_windows
from pipeline.settings import Settings
from tests.media_samples import RATE, write_wav
from tests.watching import peak_of, peaks_of_children

CLIP_SECONDS = 30.0
PIECE_MINUTES = 5  # made once, then repeated
MINUTES = 60
SHORT_MINUTES = 5  # that memory is compared with
ROUNDS = {"mp3": 3, "m4a": 3}
POLL_SECONDS = 0.02
#: dB by which the difference of both sides lies below the sound, at least. A resampler that begins elsewhere rounds
#: some samples the other way: 104 dB. Of what an AAC encoder left as noise, a decoder draws another one wherever it
#: begins, so that 10 ms here and there differ: 69 dB. A sample too many at a border would be 20 dB, 10 ms of silence
#: in place of speech 50 dB.
SAME = 60.0
ENCODINGS = {"mp3": ("-c:a", "libmp3lame", "-b:a", "128k"), "m4a": ("-c:a", "aac", "-b:a", "128k")}


def figures(minutes: int = MINUTES) -> dict[str, float]:
    """Ratios and figures by name; prints a table."""
    settings = Settings()
    ffmpeg = Ffmpeg.locate(settings)
    window_seconds = settings.cutting.window_seconds
    found: dict[str, float] = {}
    print(f"{'file':<11} {'bare CPU s':>11} {'prepare CPU s':>14} {'ratio':>6} {'clips':>6} {'fill':>5}")
    with tempfile.TemporaryDirectory(prefix="reelmill-audio-prepare-") as folder:
        piece = write_wav(Path(folder) / "piece.wav", voice(PIECE_MINUTES * 60))
        for kind, rounds in ROUNDS.items():
            path = _long_file(ffmpeg, piece, Path(folder), kind, minutes)
            _same_samples(ffmpeg, path, window_seconds)
            pairs = [(_bare(ffmpeg, path), _prepare(ffmpeg, path, window_seconds)) for _ in range(rounds)]
            bare, prepare = (statistics.median(times) for times in zip(*pairs, strict=True))
            clips, fill = _clips(ffmpeg, path, window_seconds)
            short = _long_file(ffmpeg, piece, Path(folder), kind, SHORT_MINUTES)
            peak, media_peak = _peak_memory_mb(path)
            found["peak_memory_mb"] = max(found.get("peak_memory_mb", 0.0), peak)
            found["media_process_mb"] = max(found.get("media_process_mb", 0.0), media_peak)
            ratio = peak / _peak_memory_mb(short)[0]
            found["memory_ratio_60_over_5_min"] = max(found.get("memory_ratio_60_over_5_min", 0.0), ratio)
            name = "" if kind == "mp3" else f"_{kind}"
            found |= {
                f"cpu_ratio{name}": round(prepare / bare, 3),
                f"cpu_seconds_per_hour{name}": prepare * 60 / minutes,
            }
            found |= {f"fill{name}": fill}
            costs = f"{bare:>11.2f} {prepare:>14.2f} {prepare / bare:>6.3f}"
            print(f"{kind} {minutes:>3} min {costs} {clips:>6} {fill:>5.3f}", flush=True)
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    minutes = int(sys.argv[1]) if len(sys.argv) > 1 else MINUTES
    print(json.dumps({"benchmark": "audio-prepare", "figures": figures(minutes)}))


def voice(seconds: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.int16]]":
    """Something that has the levels of speech: voiced syllables, phrases of 0.5 to 5 s, pauses, background noise."""
    random = np.random.default_rng(1)
    sound = random.normal(0, 0.002, seconds * RATE).astype(np.float32)
    at = 0.3
    while at < seconds - 6:
        length, pause, pitch = random.uniform(0.5, 5), random.uniform(0.25, 1.5), random.uniform(90, 220)
        times = np.arange(round(length * RATE)) / RATE
        tone = sum(np.sin(2 * np.pi * pitch * number * times + number) / number for number in range(1, 12))
        first = round(at * RATE)
        sound[first : first + len(times)] += 0.1 * tone * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * times))
        at += length + pause
    mono = (np.clip(sound, -1, 1) * 32767).astype("<i2")
    return np.repeat(mono[:, None], 2, axis=1)


def _long_file(ffmpeg: Ffmpeg, piece: Path, folder: Path, kind: str, minutes: int) -> Path:
    """`piece` again and again, encoded in one go: files joined afterwards have small holes in their time stamps."""
    path = folder / f"{minutes}.{kind}"
    loop = ("-stream_loop", str(minutes // PIECE_MINUTES - 1), "-i", str(piece))
    subprocess.run(
        [str(ffmpeg.ffmpeg), "-nostdin", "-v", "error", "-y", *loop, *ENCODINGS[kind], str(path)], check=True
    )
    return path


def _bare_argv(ffmpeg: Ffmpeg, path: Path) -> list[str]:
    options = ":".join(f"{name}={value}" for name, value in RESAMPLERS[resampler(ffmpeg)].items())
    sound = ["-ac", "1", "-af", f"aresample={SAMPLE_RATE}:{options}", "-f", "s16le", "-"]
    return [str(ffmpeg.ffmpeg), "-nostdin", "-v", "error", "-i", str(path), *sound]


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _bare(ffmpeg: Ffmpeg, path: Path) -> float:
    before = _cpu_seconds()
    with subprocess.Popen(_bare_argv(ffmpeg, path), stdout=subprocess.PIPE) as process:
        assert process.stdout
        while process.stdout.read(1 << 16):
            pass
    return _cpu_seconds() - before


def _prepare(ffmpeg: Ffmpeg, path: Path, window_seconds: float) -> float:
    before = _cpu_seconds()
    _clips(ffmpeg, path, window_seconds)
    return _cpu_seconds() - before


def _clips(ffmpeg: Ffmpeg, path: Path, window_seconds: float) -> tuple[int, float]:
    """Number of clips, and how full they are on average."""
    info = probe(path, ffmpeg)
    lengths = [
        clip.end - clip.start
        for window in choose_windows(path, info, window_seconds, ffmpeg, speech_probabilities)
        for clip in WindowCut(path, info, window, CLIP_SECONDS, ffmpeg, speech_probabilities)
    ]
    return len(lengths), statistics.mean(lengths) / CLIP_SECONDS


def _peak_memory_mb(path: Path) -> tuple[float, float]:
    """The most that a fresh process that prepares the file and its children held together, and the largest child.

    Peaks are those that the kernel keeps for each process: usage as its parent sees it would count the parent's.
    """
    code = "import sys; from tests.benchmarks import audio_prepare; audio_prepare.prepare_alone(sys.argv[1])"
    together, child = 0, 0
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as process:
        main = psutil.Process(process.pid)
        while process.poll() is None:
            peaks, (own, _) = peaks_of_children(main), peak_of(process.pid)
            together, child = max(together, own + sum(peaks)), max(child, *peaks, 0)
            time.sleep(POLL_SECONDS)
    if process.returncode:
        raise SystemExit("the file could not be prepared")
    return together / 1024, child / 1024


def prepare_alone(path: str) -> None:
    """Prepare a file, with the voice activity detector in memory."""
    settings = Settings()
    speech_probabilities(np.zeros(SAMPLE_RATE, np.float32))
    _clips(Ffmpeg.locate(settings), Path(path), settings.cutting.window_seconds)


def _same_samples(ffmpeg: Ffmpeg, path: Path, window_seconds: float) -> None:
    """Stop unless the windows together hold the samples of the bare pass, but for what `SAME` allows."""
    bare = subprocess.run(_bare_argv(ffmpeg, path), check=True, capture_output=True).stdout
    windows = choose_windows(path, probe(path, ffmpeg), window_seconds, ffmpeg)
    refuse_other_samples(bare, (_window_bytes(ffmpeg, path, window) for window in windows))


def refuse_other_samples(bare: bytes, pieces: Iterable[bytes]) -> None:
    """Stop unless the pieces, one behind the other, are as long as the bare pass and sound like it."""
    at, sound, difference = 0, 0.0, 0.0
    for piece in pieces:
        ours, theirs = (np.frombuffer(data, "<i2").astype(np.float64) for data in (piece, bare[at : at + len(piece)]))
        if len(ours) != len(theirs):
            raise SystemExit(f"the windows hold more than the {len(bare)} bytes of the bare pass")
        at += len(piece)
        sound += float(np.sum(theirs**2))
        difference += float(np.sum((ours - theirs) ** 2))
    if at != len(bare):
        raise SystemExit(f"the windows hold {at} bytes and the bare pass {len(bare)}: the costs cannot be compared")
    if difference * 10 ** (SAME / 10) > sound:
        below = 10 * np.log10(sound / difference) if sound else 0.0
        raise SystemExit(f"the two sides decode other samples, {below:.0f} dB below the sound")


def _window_bytes(ffmpeg: Ffmpeg, path: Path, window: Window) -> bytes:
    length = None if window.end is None else window.end - window.start
    return b"".join(Pcm(path, probe(path, ffmpeg), window.start, length, ffmpeg))


if __name__ == "__main__":
    main()
