"""The argument lists of every media process. Pure: nothing is started here.

An input is always written the same way: forced demuxer, that demuxer as the only one allowed, `file` as the only
protocol, and a `file:` prefix, so that neither the bytes of a file nor its name can make ffmpeg open another.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import ffmpeg

from pipeline.errors import WorldError
from pipeline.job import SAMPLE_RATE

#: Filter arguments by resampler. The second one stands in where ffmpeg was built without soxr.
RESAMPLERS: dict[str, dict[str, Any]] = {
    "soxr": {"resampler": "soxr", "precision": 20},
    "swr": {"filter_size": 128, "cutoff": 0.97},
}

#: Formats whose clock ffmpeg starts at the first stream *in use*: video must be read along, or late sound comes early.
_CLOCK_OF_STREAMS_IN_USE = frozenset({"mpegts", "mpeg"})


@dataclass(frozen=True, slots=True)
class Grid:
    """Which frames of a video are taken: the first one of each cell.

    The media is divided into cells of 1/`rate` seconds, from its start on. That is `origin` on the clock that is
    written in the file, in seconds.
    """

    origin: float
    rate: float


def source(path: Path) -> str:
    """How a path is handed to ffmpeg."""
    return f"file:{path.absolute()}"


def safety(demuxer: str) -> dict[str, str]:
    """Input options that keep ffmpeg from opening anything but the one file."""
    return {"f": demuxer, "format_whitelist": demuxer, "protocol_whitelist": "file"}


def decode(
    binary: Path, path: Path, demuxer: str, stream: int, start: float, length: float, *, resampler: str, video: bool
) -> list[str]:
    """Sound from `start` for `length` seconds as s16le, 16 kHz, mono, on standard output.

    `stream` counts the audio streams. The first sample is that of `start`: silence stands for missing sound. This
    takes two filters: soxr garbles the sound after a hole when it is asked to fill the hole itself.
    """
    # Even a seek to 0 loses the first frame of an mp4, whose time stamp lies before 0.
    seek = {"ss": f"{start:.3f}"} if start > 0 else {}
    media = ffmpeg.input(source(path), t=f"{length:.3f}", threads=1, **seek, **safety(demuxer))
    sound = media[f"a:{stream}"].filter("aresample", **{"async": 1, "first_pts": 0})
    sound = sound.filter("aresample", SAMPLE_RATE, **RESAMPLERS[resampler])
    # Written in blocks, not frame by frame: that saves a wake-up of this process for each frame.
    outputs = [sound.output("pipe:1", format="s16le", ac=1, flush_packets=0)]
    if video and demuxer in _CLOCK_OF_STREAMS_IN_USE:
        outputs.append(media["V:0"].output("-", format="null", vcodec="copy"))
    command = ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
    # One filter thread: by default there are as many as cores, and each takes address space.
    command = command.global_args("-nostdin", "-hide_banner", "-v", "error", "-filter_complex_threads", "1")
    return _strings(command.compile(cmd=str(binary)))


def frames(
    binary: Path,
    path: Path,
    demuxer: str,
    start: float,
    length: float,
    *,
    grid: Grid,
    size: tuple[int, int],
    sound: int | None,
) -> list[str]:
    """Frames of the first video stream, upright, as rgb24 of `size` (width, height), on standard output.

    Decoding begins at `start` and ends `length` seconds later; its very first frame is taken, too. A line for each
    frame goes to descriptor 0: the third number in it is the frame's time, in microseconds on the clock that is
    written in the file, the fourth how long it is shown. `sound` is the audio stream of the file, if there is one.
    """
    seek = {"ss": f"{start:.3f}"} if start > 0 else {}
    media = ffmpeg.input(source(path), t=f"{length:.3f}", threads=1, **seek, **safety(demuxer))
    # A frame at the very start of a cell may lie a rounding error before it.
    cell, last_cell = (f"floor(({time}-{grid.origin:.6f})*{grid.rate!r}+1e-6)" for time in ("t", "prev_selected_t"))
    picked = media["V:0"].filter("select", f"isnan(prev_selected_t)+gt({cell},{last_cell})")
    shown, timed = (picked.split()[number] for number in (0, 1))
    shown = shown.filter("scale", *size, flags="bicubic")
    passed = {"fps_mode": "passthrough"}
    outputs = [
        shown.output("pipe:1", format="rawvideo", pix_fmt="rgb24", flush_packets=1, **passed),
        # The clock of an output is that of the frame rate unless it is told otherwise, which rounds the times.
        timed.output(
            "pipe:0", format="framecrc", vcodec="wrapped_avframe", enc_time_base="1/1000000", flush_packets=1, **passed
        ),
    ]
    if sound is not None and demuxer in _CLOCK_OF_STREAMS_IN_USE:
        outputs.append(media[f"a:{sound}"].output("-", format="null", acodec="copy"))
    command = ffmpeg.merge_outputs(*outputs)
    command = command.global_args("-copyts", "-nostdin", "-hide_banner", "-v", "error", "-filter_complex_threads", "1")
    return _strings(command.compile(cmd=str(binary)))


def describe(binary: Path, path: Path, demuxer: str) -> list[str]:
    """What ffprobe knows about a file, as JSON on standard output; on standard error, how it came to know it."""
    options = [part for name, value in safety(demuxer).items() for part in (f"-{name}", value)]
    shown = ["-print_format", "json", "-show_format", "-show_streams"]
    return [str(binary), "-v", "warning", "-hide_banner", *shown, *options, "-i", source(path)]


def version(binary: Path) -> list[str]:
    """The program's own name and version."""
    return [str(binary), "-version"]


def check(argv: list[str]) -> None:
    """Refuse an argument list with an input that is not fenced in. Raises WorldError: it is a fault of the program."""
    options: dict[str, str] = {}
    for option, value in pairwise(argv):
        options[option] = value
        if option != "-i":
            continue
        demuxer = options.get("-f")
        allowed = (options.get("-format_whitelist"), options.get("-protocol_whitelist"))
        if demuxer is None or allowed != (demuxer, "file") or not value.startswith("file:/"):
            raise WorldError(f"a media process was about to start with an open input: {argv}")
        options = {}


def _strings(parts: list[Any]) -> list[str]:
    return [str(part) for part in parts]
