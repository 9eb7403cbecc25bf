"""What ffmpeg does to a frame of a video that was chosen, from the decoder's picture to the engine's. Pure.

All of it stands behind the selection, so that it costs nothing on the frames that are dropped, and behind the scaling
where it can, so that it costs little on the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.job import Fit, VideoStream
from pipeline.media.video.showing import is_quarter

# With these, swscale computes the colour of each pixel and rounds it; without, two pixels share one colour even in a
# picture that has a colour for each: 36 dB to an exact resize instead of 49 (1080p to 768 x 768).
_EXACT = "accurate_rnd+full_chroma_int+full_chroma_inp"
#: A triangle as wide as the scale asks for is what the processor of Gemma 3n resizes with ("bilinear", antialiased).
_FLAGS: Mapping[Fit, str] = {"stretch": f"bilinear+{_EXACT}", "inside": f"bicubic+{_EXACT}"}
_TRANSFERS = {"pq": "smpte2084", "hlg": "arib-std-b67"}
# BT.2408: white paper in an HDR picture is 203 cd/m2; hardly any is graded to more than 1000.
_WHITE, _PEAK = 203.0, 1000.0  # cd/m2


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a chain, with its arguments."""

    name: str
    positional: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)


def shown(video: VideoStream, size: tuple[int, int], fit: Fit, *, tone_mapping: bool) -> tuple[Filter, ...]:
    """The filters that make an upright SDR picture of `size` (width, height) from a frame.

    `tone_mapping`: whether this ffmpeg can bring HDR down to SDR. Of an interlaced frame, one of its two moments is
    taken, that of its time: half of the lines.
    """
    width, height = reversed(size) if is_quarter(video.turn) else size
    is_mapped = video.transfer != "sdr" and tone_mapping
    colours = {"out_color_matrix": "bt2020"} if is_mapped else _matrix(video)
    return (
        *((Filter("field", named={"type": video.field}),) if video.field else ()),
        Filter("scale", (width, height), {"flags": _FLAGS[fit], **colours}),
        *(_tone_mapped(_TRANSFERS[video.transfer]) if is_mapped else ()),
        *_upright(video),
    )


def _matrix(video: VideoStream) -> dict[str, str]:
    return {"in_color_matrix": video.matrix} if video.matrix else {}


def _tone_mapped(transfer: str) -> tuple[Filter, ...]:
    """To light, there to the colours and the brightness of a screen, and back to values."""
    # A file may name the curve and nothing else; zscale finds no way from what it is not told.
    told = {"color_primaries": "bt2020", "color_trc": transfer, "colorspace": "bt2020nc"}
    return (
        Filter("format", ("yuv444p16le",)),
        Filter("setparams", named=told),
        Filter("zscale", named={"t": "linear", "npl": f"{_WHITE:g}"}),
        Filter("format", ("gbrpf32le",)),
        Filter("zscale", named={"p": "bt709"}),
        # The peak is fixed: read from each frame, it would make the brightness depend on where a window begins.
        Filter("tonemap", named={"tonemap": "mobius", "desat": 0, "peak": f"{_PEAK / _WHITE:.3f}"}),
        Filter("zscale", named={"t": "bt709"}),
        Filter("format", ("gbrp",)),
    )


def _upright(video: VideoStream) -> tuple[Filter, ...]:
    """By ourselves: ffmpeg would turn every decoded frame at its full size."""
    match video.turn:
        case "none":
            return ()
        case "half":
            return Filter("hflip"), Filter("vflip")
        case "hflip" | "vflip":
            return (Filter(video.turn),)
        case _:
            return (Filter("transpose", named={"dir": video.turn}),)
