"""Finding cuts between frames of a video that are some time apart. Pure: pictures in, a number out."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.media.video.cells import cell

_POINTS = 64  # in each direction, at which the colours of a frame are read
_REGIONS = 4  # in each direction
#: How far the colours of two frames must lie apart: 20 of 255 steps, averaged over all regions. What moves within a
#: region changes nothing, nor does a flicker of some steps.
_CUT = 20.0

Look = NDArray[np.int16]


def look(image: Image.Image) -> Look:
    """The colours of a frame: for each region and channel the values in it, sorted; shape (48, values)."""
    pixels = np.asarray(image)
    height, width, _ = pixels.shape
    rows, columns = ((2 * np.arange(_POINTS) + 1) * side // (2 * _POINTS) for side in (height, width))
    points = pixels[np.ix_(rows, columns)].astype(np.int16)
    side = _POINTS // _REGIONS
    regions = points.reshape(_REGIONS, side, _REGIONS, side, 3).transpose(0, 2, 4, 1, 3)
    return np.sort(regions.reshape(3 * _REGIONS**2, side * side), axis=1)


def distance(one: Look, other: Look) -> float:
    """How many of 255 steps the values of two frames must be moved, on average, to make the one from the other."""
    return float(np.abs(one - other).mean())


class Scenes:
    """Tells which of the frames that are shown to it, one for each cell of 1/`rate` seconds, are taken.

    A frame is taken when it does not look like that of the cell before it or when that cell has none (a video that
    stood still goes on with something new), and when it is the first in a stretch of `every` seconds of the media.
    So no more than two cells decide, and it does not matter where one began to look.
    """

    def __init__(self, rate: float, every: float) -> None:
        self._rate = rate
        self._every = every
        self._before: tuple[float, Look] | None = None

    def takes(self, time: float, image: Image.Image) -> bool:
        """Whether the frame that is shown at `time`, in seconds of the media, is taken."""
        before, seen = self._before, look(image)
        self._before = time, seen
        if before is None or cell(time, self._rate) > cell(before[0], self._rate) + 1:
            return True
        is_due = cell(time, 1 / self._every) > cell(before[0], 1 / self._every)
        return is_due or distance(before[1], seen) > _CUT
