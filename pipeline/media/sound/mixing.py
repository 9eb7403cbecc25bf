"""How the channels of a sound become one, at gains that cannot clip, or are kept apart; none is lost. Pure."""

from typing import Literal

#: `by_layout`: each channel by its place, as ffmpeg does it. `evenly`: all alike. `first`: the first one holds all.
Mix = Literal["by_layout", "evenly", "first"]

#: Layouts in which ffmpeg gives a share to each channel but those for low frequencies, where nobody speaks. From the
#: others it leaves channels out, or cannot mix them at all.
_MIXABLE = frozenset(
    (
        *("mono", "stereo", "downmix", "2.1", "3.0", "3.0(back)", "3.1", "3.1.2", "4.0", "4.1", "quad", "quad(side)"),
        *("5.0", "5.0(side)", "5.1", "5.1(side)", "5.1.2", "5.1.2(back)", "hexagonal", "6.0", "6.0(front)"),
        *("6.1", "6.1(back)", "6.1(front)", "7.0", "7.0(front)", "7.1", "7.1(wide)", "7.1(wide-side)", "7.1.2"),
        "octagonal",
    )
)
_AMBISONIC = "ambisonic "
_MOST = 64  # channels that the filter `pan` can take
_EVENLY = "pan=mono|c0<" + "+".join(f"c{number}" for number in range(_MOST))  # `<`: by as many as there are


def chosen(channels: int, layout: str | None) -> Mix:
    """What suits a sound. `layout`: as its file declares it. ffmpeg guesses one, and drops what it takes for bass."""
    if layout in _MIXABLE or (layout is None and channels <= 2):
        return "by_layout"
    # Of sound from all around, the first channel is what a microphone for all directions would hear.
    is_ambisonic = layout is not None and layout.startswith(_AMBISONIC) and "+" not in layout
    return "first" if is_ambisonic else "evenly"


def mixed(mix: Mix) -> list[str]:
    """What makes one channel of all: float samples, with silence in the holes of the sound."""
    match mix:
        case "by_layout":
            return ["aresample=async=1:rematrix_maxval=1", "aformat=sample_fmts=fltp:channel_layouts=mono"]
        case "evenly":
            return ["aresample=async=1", "aformat=sample_fmts=fltp", _EVENLY]
        case "first":
            return ["aresample=async=1", "aformat=sample_fmts=fltp", "pan=mono|c0=c0"]


def apart(channels: int) -> list[str]:
    """What hands over each channel as it is, with silence in the holes of the sound."""
    filled = ["aresample=async=1"]
    if channels <= 2:
        return filled
    # ffmpeg has one layout for each number of channels, and mixes any other into it: so does `pan` with gains of 1.
    kept = (f"c{number}=0.999999*c{number}" for number in range(channels))
    return ["aformat=sample_fmts=fltp", "|".join((f"pan={channels} channels", *kept)), *filled]
