"""One picture file as one upright JPEG of a size that an engine takes."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import PermanentError, PipelineError, ResourceError
from pipeline.job import PictureInfo
from pipeline.media.description import within
from pipeline.settings import Limits

# Pillow only warns of a picture that is up to twice as large as it may be.
warnings.simplefilter("error", Image.DecompressionBombWarning)

#: Plugins of Pillow by the name of the format. No other is tried, whatever the bytes say.
_PLUGINS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "tiff": "TIFF", "bmp": "BMP"}
_QUALITY = 95
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_ORIENTATION = 0x0112  # the EXIF tag
#: What turns a picture with that orientation upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Picture:
    """`image` is a JPEG, upright, RGB. `flags`: `first_frame_only`, when there are more pictures in the file."""

    image: bytes
    flags: tuple[str, ...]


def describe(path: Path, name: str, limits: Limits) -> PictureInfo:
    """What the header of a picture says. `name` is its format. Raises PermanentError as `read`."""
    with _opened(path, name, limits) as image:
        return PictureInfo(format=name, width=image.width, height=image.height)


def read(path: Path, name: str, side: int, limits: Limits) -> Picture:
    """A picture, scaled down to fit into a square of `side` pixels if it is larger.

    Raises PermanentError when it is broken or has more pixels than it may, ResourceError when memory runs out.
    """
    with _opened(path, name, limits) as image:
        has_more = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        # A JPEG can be decoded at a half, a quarter or an eighth of its size, which is a sixth of the work.
        image.draft("RGB", fitted(image.width, image.height, side))
        upright = _upright(image)
        eight_bit = _stretched(upright) if upright.mode in _DEEP_MODES else upright
        flat = _on_white(eight_bit, side)
    return Picture(jpeg(flat), ("first_frame_only",) if has_more else ())


def jpeg(image: Image.Image) -> bytes:
    """An RGB picture as JPEG with full colour resolution; nothing else that came with it is kept."""
    output = BytesIO()
    bare = Image.frombytes("RGB", image.size, image.tobytes())
    bare.save(output, "JPEG", quality=_QUALITY, subsampling=0)
    return output.getvalue()


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """The size that fits into a square of `side` pixels with the same proportions; never a larger one."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


@contextmanager
def _opened(path: Path, name: str, limits: Limits) -> Iterator[Image.Image]:
    """An opened picture whose header has been read; whatever goes wrong with it is told in plain words."""
    Image.MAX_IMAGE_PIXELS = limits.pixels
    try:
        with path.open("rb") as file, Image.open(file, formats=[_PLUGINS[name]]) as image:
            yield image
    except PipelineError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        number = re.search(r"(\d+) pixels", str(error))
        within("pixels", int(number[1]) if number else float("inf"), limits.pixels)
        raise PermanentError("the picture is larger than it may be", str(error)) from error
    except MemoryError as error:
        raise ResourceError("the picture needs more memory than there is") from error
    except Exception as error:  # Pillow lets almost anything through that its parsers run into
        is_cut_off = "truncated" in str(error).lower()
        reason = "the picture is cut off" if is_cut_off else "the picture is broken: it cannot be decoded"
        raise PermanentError(reason, f"{type(error).__name__}: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the notes beside the picture say, as far as they can be read."""
    image.load()
    # Pillow's own way writes all the notes anew, and fails where one of them is damaged.
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 0))
    except Exception:  # notes can be damaged in any way; the picture is not
        turn = None
    return image if turn is None else image.transpose(turn)


def _stretched(image: Image.Image) -> Image.Image:
    """Grey values of more than 8 bits as 8 bits: of 16 bits the upper half, of any others their whole range."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" or low < 0 or high > 65_535:
        values = (values - low) * (65_535 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def _on_white(image: Image.Image, side: int) -> Image.Image:
    """RGB, fitted; what is transparent is white."""
    has_alpha = image.has_transparency_data
    colours = image.convert("RGBA" if has_alpha else "RGB")
    size = fitted(image.width, image.height, side)
    scaled = colours if size == colours.size else colours.resize(size, Image.Resampling.BICUBIC)
    if not has_alpha:
        return scaled
    ground = Image.new("RGB", size, _WHITE)
    ground.paste(scaled, mask=scaled.getchannel("A"))
    return ground
