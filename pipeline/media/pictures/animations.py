"""Animated pictures (GIF, WebP, PNG, AVIF) as frames of a video, each with its exact time; one is held in memory.

`read` may be called in a process of its own, far from the pipeline: it takes a path and plain values, starts nothing,
and gives numbers and bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path

from PIL import Image

from pipeline.errors import PermanentError
from pipeline.job import Fit
from pipeline.limits import within
from pipeline.media.pictures import still
from pipeline.settings import Limits

# Files that hurry through their frames are shown slowly by every browser, so that is how they look to people.
_HURRIED = 10  # ms a frame, and less
_SHOWN = 100  # ms


@dataclass(frozen=True, slots=True)
class Shown:
    """A sampled frame: JPEG, upright, shown from `start`; seconds, exact to the microsecond.

    It stands for the time until `end`: there the next sampled frame starts, or the animation ends.
    """

    start: float
    end: float
    image: bytes


def read(path: Path, name: str, rate: float, side: int, limits: Limits, fit: Fit = "inside") -> Iterator[Shown]:
    """The frames of an animation once through, `rate` a second, scaled down to a square of `side` pixels.

    Of every 1/`rate` seconds, the first frame that starts in it is taken. Raises PermanentError when the file is
    broken, cut off or beyond a limit, after the frames that could be read; ResourceError when memory runs out.
    """
    held: tuple[Fraction, bytes] | None = None
    last_cell, start = -1, Fraction(0)
    trouble: PermanentError | None = None
    try:
        with still.opened(path, name, limits) as image:
            for end in _ends(image, limits):
                # A frame at the very start of a cell may lie a rounding error before it.
                cell = int(start * Fraction(rate) + Fraction(1, 1_000_000))
                if cell > last_cell:
                    if held is not None:
                        yield _shown(*held, start)
                    held = start, still.finished(image, side, fit).image
                    last_cell = cell
                start = end
    except PermanentError as error:
        trouble = error
    if held is not None:
        yield _shown(*held, start)
    if trouble is not None:
        raise trouble


def _ends(image: Image.Image, limits: Limits) -> Iterator[Fraction]:
    """Turn to one frame after the other; when each stops being shown, in seconds."""
    end = Fraction(0)
    pixels = 0
    # In a PNG, what programs show that know no animations may stand in front.
    first = 1 if getattr(image, "default_image", False) else 0
    for number in count(first):
        try:
            image.seek(number)
        except EOFError:
            if number < getattr(image, "n_frames", 1):
                raise PermanentError("the picture is cut off", f"{number} of its frames can be read") from None
            return
        within(limits, "animation_frames", number - first + 1, "frames")
        image.load()
        pixels += image.width * image.height
        within(limits, "animation_pixels", pixels, "pixels of all frames")
        end += _duration(image)
        yield end


def _duration(image: Image.Image) -> Fraction:
    """How long the loaded frame is shown, in seconds."""
    milliseconds = Fraction(image.info.get("duration") or 0).limit_denominator(1_000_000)
    return (milliseconds if milliseconds > _HURRIED else Fraction(_SHOWN)) / 1000


def _shown(start: Fraction, image: bytes, end: Fraction) -> Shown:
    return Shown(float(round(start, 6)), float(round(end, 6)), image)
