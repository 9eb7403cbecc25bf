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
from pipeline.media.sound import mixing
from pipeline.media.sound.placing import ERROR, row_notes
from pipeline.media.video import cells
from pipeline.media.video.filters import Filter

#: Filter arguments by resampler. The second one stands in where ffmpeg was built without soxr.
RESAMPLERS: dict[str, dict[str, Any]] = {
    "soxr": {"resampler": "soxr", "precision": 20},
    "swr": {"filter_size": 128, "cutoff": 0.97},
}

#: Of resampled sound that ffmpeg handles at once. What it holds is lost where the sound of a file changes its rate or
#: its channels: no more than 0.128 s, which are silence then.
_FRAME_SAMPLES = 2048
#: Of filters: by default there are as many as cores, and each takes address space.
_ONE_THREAD = ("-filter_threads", "1", "-filter_complex_threads", "1")

#: Formats whose clock ffmpeg starts at the first stream *in use*: video must be read along, or late sound comes early.
_CLOCK_OF_STREAMS_IN_USE = frozenset({"mpegts", "mpeg"})
#: Drops all packets: an output that throws them away would still complain of their times.
_READ_ALONG = "noise=drop=1"
#: Formats that write the times of some frames only; the others follow from the frames before them, so that none of
#: these may be skipped.
_TIMES_FROM_BEFORE = frozenset({"mpeg"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """Which sound of a file is handed over, and how."""

    stream: int = 0  #: among the audio streams
    resampler: str  #: one of RESAMPLERS
    has_video: bool = False  #: whether the file has a video, too
    channels: int = 1  #: 1: all mixed, at a gain that cannot clip; else as many as the stream has
    mix: mixing.Mix = "by_layout"  #: how they are, if they are
    counts: bool = False  #: whether its times are told by counting its samples: those of the file are wrong
    paced_at: int | None = None  #: the rate by which times between those in the file were made up, if it may be wrong
    lost: float = 0.0  #: seconds of it that are thrown away, after the place where decoding begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Which frames of a video are handed over, and how.

    The media is divided into cells of 1/`rate` seconds, from its start on: that is `origin`, in seconds, on the clock
    that is written in the file. Of each cell from number `first_cell` on, the first frame is taken.
    """

    stream: int  #: among the video streams that are no cover art
    origin: float
    rate: float
    first_cell: int
    filters: tuple[Filter, ...]  #: to the finished picture
    is_turned: bool = False  #: whether these filters turn it upright
    keys_only: bool = False  #: whether only key frames are decoded, and count
    most: int | None = None  #: frames, after which the process ends
    sound: int | None = None  #: the audio stream of the file, if there is one
    is_rebased: bool = False  #: whether `origin` and all times are on a clock that ffmpeg makes, which starts with 0
    heard: Sound | None = None  #: that is handed over as well, through ASIDE
    heard_from: float = 0.0  #: where it begins, in seconds on the clock that is written in the file


#: Stand for descriptors to write to, whose numbers are known when the process starts: what is said about each frame,
#: and sound beside the frames.
NOTES, ASIDE = "pipe:notes", "pipe:aside"


def source(path: Path) -> str:
    """How a path is handed to ffmpeg."""
    return f"file:{path.absolute()}"


def safety(demuxer: str) -> dict[str, str]:
    """Input options that keep ffmpeg from opening anything but the one file."""
    return {"f": demuxer, "format_whitelist": demuxer, "protocol_whitelist": "file"}


def decode(binary: Path, path: Path, demuxer: str, start: float, length: float, *, asked: Sound) -> list[str]:
    """Sound from `start` for `length` seconds as s16le, 16 kHz, channels interleaved, on standard output.

    Where it begins, counted from `start`, is told on standard error, for `Placing` to read.
    """
    # Even a seek to 0 loses the first frame of an mp4, whose time stamp lies before 0.
    seek = {"ss": f"{start:.3f}"} if start > 0 else {}
    media = ffmpeg.input(source(path), t=f"{length:.3f}", threads=1, **seek, **safety(demuxer))
    outputs = [_heard(media, asked, "pipe:1")]
    if asked.has_video and demuxer in _CLOCK_OF_STREAMS_IN_USE:
        outputs.append(media["V:0"].output("-", format="null", vcodec="copy", **{"bsf:v": _READ_ALONG}))
    command = ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
    command = command.global_args("-nostdin", "-hide_banner", "-v", "error", *_ONE_THREAD)
    return _strings(command.compile(cmd=str(binary)))


def _heard(media: Any, asked: Sound, target: str, stretch: tuple[float, float] | None = None) -> Any:
    """The output with the sound of an input. `stretch`: where its clock begins and ends, if not as the input does."""
    notes = row_notes(2 * asked.channels, is_one=asked.counts)
    # Where rows overlap, times go back, which the output would complain of: it has no use for them.
    options = {"ac": asked.channels, "bsf:a": f"noise=drop='{notes}',setts=ts=NOPTS"}
    filters = _sound_filters(asked)
    if stretch is not None:
        start, end = stretch
        filters = [f"asetpts=PTS-{start:.6f}/TB", *filters]
        options["t"] = f"{end - start:.3f}"
    # Not among the filters of the picture, which are set up anew all together. Written in blocks, not frame by frame:
    # that saves a wake-up of this process for each frame.
    sound = media[f"a:{asked.stream}"]
    return sound.output(target, format="s16le", af=",".join(filters), flush_packets=0, **options)


def _sound_filters(asked: Sound) -> list[str]:
    """What makes 16 kHz of a sound, with silence in its holes.

    That takes two filters: soxr garbles the sound after a hole when it is asked to fill the hole itself. They are set
    up anew where the sound changes, and must not fill what was before that once more: only a hole of which they have
    seen both ends is theirs, the rest is for `Placing`.
    """
    filters = ["asetpts=N/SR/TB"] if asked.counts else []
    filters += [] if asked.paced_at is None else [f"asetpts='{_paced(asked.paced_at)}'"]
    filters += [f"atrim=start={asked.lost:.3f}"] if asked.lost > 0 else []
    # Mixed before it is resampled, which halves that work for stereo; as float, at a gain that cannot clip.
    filters += mixing.mixed(asked.mix) if asked.channels == 1 else mixing.apart(asked.channels)
    # What filters hold at a change is lost. Where samples are counted, nothing tells how much: they must hold little.
    resampler = RESAMPLERS["swr" if asked.counts else asked.resampler]
    filters.append(f"aresample={SAMPLE_RATE}" + "".join(f":{name}={value}" for name, value in resampler.items()))
    # ffmpeg hands each frame, 26 ms of sound, from thread to thread: behind the last filter there are few of them.
    return filters if asked.counts else [*filters, f"asetnsamples=n={_FRAME_SAMPLES}:p=0"]


def _paced(rate: int) -> str:
    """The time of a frame of sound: where its rate is another and its time was made up, it follows the one before it.

    That is complained of once: where windows begin and end, ffmpeg goes by what was made up.
    """
    complaint = f"if(ld(0),0,st(0,1);print(SR,{ERROR}))"
    made_up = f"lt(abs((PTS-PREV_INPTS)*TB-NB_SAMPLES/{rate}),0.0005)"
    return f"if(eq(SR,{rate}),PTS,{complaint};if({made_up},PREV_OUTPTS+NB_SAMPLES/SR/TB,PTS))"


def frames(binary: Path, path: Path, demuxer: str, start: float, length: float, *, asked: Frames) -> list[str]:
    """Frames as rgb24 on standard output. Decoding begins at `start` and ends `length` seconds later.

    A line for each frame goes to NOTES: the third number in it is the frame's time, in microseconds on the
    clock that `origin` is on, the fourth how long it is shown.
    """
    options: dict[str, Any] = {"ss": f"{start:.3f}"} if start > 0 else {}
    options |= {"skip_frame": "nokey"} if asked.keys_only and demuxer not in _TIMES_FROM_BEFORE else {}
    options |= {"noautorotate": None} if asked.is_turned else {}
    media = ffmpeg.input(source(path), t=f"{length:.3f}", threads=1, **options, **safety(demuxer))
    cell, last_cell = (cells.expression(time, asked.origin, asked.rate) for time in ("t", "prev_selected_t"))
    conditions = [f"gte({cell},{asked.first_cell})", f"(isnan(prev_selected_t)+gt({cell},{last_cell}))"]
    conditions += ["key"] if asked.keys_only else []
    picked = media[f"V:{asked.stream}"].filter("select", "*".join(conditions))
    shown, timed = (picked.split()[number] for number in (0, 1))
    for step in asked.filters:
        shown = shown.filter(step.name, *step.positional, **step.named)
    # The end is told to each output, too: that of the input is counted anew where filters are set up anew.
    end = asked.origin + start + length
    passed: dict[str, Any] = {"fps_mode": "passthrough", "t": f"{end:.3f}"}
    passed |= {} if asked.most is None else {"frames:v": asked.most}
    outputs = [
        shown.output("pipe:1", format="rawvideo", pix_fmt="rgb24", flush_packets=1, **passed),
        # The clock of an output is that of the frame rate unless it is told otherwise, which rounds the times.
        timed.output(
            NOTES, format="framecrc", vcodec="wrapped_avframe", enc_time_base="1/1000000", flush_packets=1, **passed
        ),
    ]
    if asked.heard is not None:
        outputs.append(_heard(media, asked.heard, ASIDE, (asked.heard_from, end)))
    elif asked.sound is not None and demuxer in _CLOCK_OF_STREAMS_IN_USE:
        along = media[f"a:{asked.sound}"]
        outputs.append(along.output("-", format="null", acodec="copy", **{"bsf:a": _READ_ALONG}))
    command = ffmpeg.merge_outputs(*outputs)
    clock = [] if asked.is_rebased else ["-copyts"]
    command = command.global_args(*clock, "-nostdin", "-hide_banner", "-v", "error", *_ONE_THREAD)
    return _strings(command.compile(cmd=str(binary)))


def subtitles(binary: Path, path: Path, demuxer: str, streams: list[int]) -> list[str]:
    """The text of subtitle streams as WebVTT in one Matroska file, track by track in that order, on standard output.

    Times count from the start of the file. `streams` counts the subtitle streams.
    """
    media = ffmpeg.input(source(path), **safety(demuxer))
    texts = [media[f"s:{stream}"] for stream in streams]
    command = ffmpeg.output(*texts, "pipe:1", format="matroska", **{"c:s": "webvtt"})
    return _strings(command.global_args("-nostdin", "-hide_banner", "-v", "error").compile(cmd=str(binary)))


def packets(binary: Path, path: Path, demuxer: str, stream: int, start: float, end: float) -> list[str]:
    """The packets of a stretch of a video, on standard output: a line for each, `time,flags`, with a K in key frames.

    `start` and `end` in seconds on the clock that is written in the file, `stream` among those that are no cover art.
    """
    shown = ["-select_streams", f"V:{stream}", "-read_intervals", f"{start:.3f}%{end:.3f}"]
    shown += ["-show_entries", "packet=pts_time,flags", "-of", "csv=p=0"]
    return [str(binary), "-v", "error", "-hide_banner", *shown, *_options(demuxer), "-i", source(path)]


def describe(binary: Path, path: Path, demuxer: str) -> list[str]:
    """What ffprobe knows about a file, as JSON on standard output; on standard error, how it came to know it.

    Not the tags of the file, which may be a book.
    """
    shown = ["-print_format", "json", "-show_entries", "format=start_time,duration:stream"]
    return [str(binary), "-v", "warning", "-hide_banner", *shown, *_options(demuxer), "-i", source(path)]


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


def filters(binary: Path) -> list[str]:
    """The names of the filters that a build has."""
    return [str(binary), "-v", "error", "-hide_banner", "-filters"]


def _options(demuxer: str) -> list[str]:
    return [part for name, value in safety(demuxer).items() for part in (f"-{name}", value)]


def _strings(parts: list[Any]) -> list[str]:
    return [str(part) for part in parts]
