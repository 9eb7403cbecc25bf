"""One picture of a file as one upright JPEG of a size that an engine takes.

`describe` and `read` may be called in a process of their own, far from the pipeline: they take a path and plain
values, start nothing, and give back numbers, words and bytes.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from itertools import count
from pathlib import Path

from PIL import AvifImagePlugin, Image, TiffImagePlugin

from pipeline.errors import PermanentError, PipelineError, ResourceError
from pipeline.job import Fit, PictureInfo
from pipeline.limits import within
from pipeline.media.pictures import colours
from pipeline.settings import Limits

# Pillow only warns of a picture that is up to twice as large as it may be.
warnings.simplefilter("error", Image.DecompressionBombWarning)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # as many as cores would be several stacks of address space

#: Plugins of Pillow by the name of the format. No other is tried, whatever the bytes say.
_PLUGINS = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "avif": "AVIF",
    "heif": "HEIF",
    "gif": "GIF",
    "tiff": "TIFF",
    "bmp": "BMP",
}
_WITH_FRAMES = frozenset({"png", "webp", "avif", "gif"})
_HEIF_PACKAGE = "pillow_heif"
#: Steps that a JPEG is rounded to, of brightness and of colour. They are the same at all frequencies: unlike an eye, a
#: model sees them all. By these, what it sees of a picture is within 42 dB of what it would see of the file itself; by
#: the usual tables at quality 98, too, in 1.3 times the bytes, and at 97 it is not.
_STEPS = [[3] * 64, [3] * 64]
_FILTERS = {
    "inside": Image.Resampling.BICUBIC,
    # What the processor of Gemma 3n stretches with ("resample": 2 in its configuration).
    "stretch": Image.Resampling.BILINEAR,
}
_DRAFT = 2  # how much larger than wanted a JPEG is decoded at least
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
#: Tags of TIFF: of how many bits a value is, and what they mean; unsigned whole numbers, if nothing is said.
_BITS, _SAMPLE_FORMAT, _UNSIGNED = 258, 339, 1
_BOXES_BYTES = 1 << 16  # in which an AVIF or HEIF file tells what its picture is
_HDR_CURVES = frozenset({16, 18})  # PQ and HLG, by ITU-T H.273
_SUBFILE = 254  # the TIFF tag that tells what a page is
_NO_PAGE = 0b101  # a smaller copy of another page, or its mask


@dataclass(frozen=True, slots=True)
class Picture:
    """`image` is a JPEG, upright, sRGB.

    `flags`: `first_picture_only`, when a HEIF file holds more of them; `profile_ignored`, when what it says about its
    colours is of no use; `pale`, when it is HDR that nobody brings down to SDR.
    """

    image: bytes
    flags: tuple[str, ...]


def describe(path: Path, name: str, limits: Limits) -> PictureInfo:
    """What the header of a picture says. `name` is its format. Raises PermanentError as `read`."""
    within(limits, "picture_bytes", path.stat().st_size, "size of a picture", " bytes")
    with opened(path, name, limits) as image:
        pages = _num_pages(image, limits)
        _turn_to(image, 0)
        return PictureInfo(
            format=name,
            width=image.width,
            height=image.height,
            pages=pages,
            moves=name in _WITH_FRAMES and bool(getattr(image, "is_animated", False)),
        )


def read(path: Path, name: str, side: int, limits: Limits, fit: Fit = "inside", page: int = 0) -> Picture:
    """A picture, scaled down to a square of `side` pixels if it is larger. Of an animation, the first frame.

    Raises PermanentError when it is broken or has more pixels than it may, ResourceError when memory runs out.
    """
    with opened(path, name, limits) as image:
        marks = {
            "first_picture_only": name == "heif" and getattr(image, "n_frames", 1) > 1,
            "pale": name in ("heif", "avif") and _is_hdr(path),
        }
        _turn_to(image, page)
        return finished(image, side, fit, tuple(mark for mark, is_set in marks.items() if is_set))


def finished(image: Image.Image, side: int, fit: Fit, flags: tuple[str, ...] = ()) -> Picture:
    """The picture that an opened file shows now."""
    if image.format in ("JPEG", "MPO"):
        # A JPEG can be decoded at a half, a quarter or an eighth of its size, which is a fraction of the work.
        image.draft("RGB", fitted(image.width, image.height, _DRAFT * side, fit))
    upright = _upright(image)
    size = fitted(upright.width, upright.height, side, fit)
    profile = image.info.get("icc_profile")
    shown, is_profile_used = colours.flat(upright, size, _FILTERS[fit], profile, _samples(image))
    return Picture(jpeg(shown), flags if is_profile_used else (*flags, "profile_ignored"))


def jpeg(image: Image.Image) -> bytes:
    """An RGB picture as JPEG with full colour resolution; nothing else that came with it is kept."""
    return encoded(Image.frombytes("RGB", image.size, image.tobytes()))


def encoded(image: Image.Image) -> bytes:
    """The same, of a picture that nothing came with: a copy of it would cost as much as its JPEG."""
    output = BytesIO()
    image.save(output, "JPEG", qtables=_STEPS, subsampling=0)
    return output.getvalue()


def fitted(width: int, height: int, side: int, fit: Fit = "inside") -> tuple[int, int]:
    """The size of a picture in a square of `side` pixels, never larger than it was.

    Inside, its proportions are kept. Where the engine stretches it, each side is scaled down by itself: scaling up is
    left to the engine, for what it adds can be sent without.
    """
    if fit == "stretch":
        return min(width, side), min(height, side)
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


@contextmanager
def opened(path: Path, name: str, limits: Limits) -> Iterator[Image.Image]:
    """An opened picture whose header has been read; whatever goes wrong with it is told in plain words."""
    Image.MAX_IMAGE_PIXELS = limits.pixels
    try:
        if name == "heif":
            _learn_heif()
        with path.open("rb") as file, Image.open(file, formats=[_PLUGINS[name]]) as image:
            yield image
    except PipelineError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        number = re.search(r"(\d+) pixels", str(error))
        within(limits, "pixels", int(number[1]) if number else float("inf"), "pixels")
        raise PermanentError("the picture is larger than it may be", str(error)) from error
    except MemoryError as error:
        raise ResourceError("the picture needs more memory than there is") from error
    except Exception as error:  # Pillow lets almost anything through that its parsers run into
        is_cut_off = "truncated" in str(error).lower()
        reason = "the picture is cut off" if is_cut_off else "the picture is broken: it cannot be decoded"
        raise PermanentError(reason, f"{type(error).__name__}: {error}") from error


def _learn_heif() -> None:
    """Teach Pillow a format that it does not know by itself."""
    try:
        heif = import_module(_HEIF_PACKAGE)
    except ImportError as error:
        reason = 'the picture is HEIC, which needs a package more: pip install "reelmill[heic]" where media is prepared'
        raise PermanentError(reason, str(error)) from error
    heif.options.DECODE_THREADS = 1
    heif.register_heif_opener()


def _is_hdr(path: Path) -> bool:
    """Whether the box that tells the colours of an AVIF or HEIF picture names a curve of HDR."""
    with path.open("rb") as file:
        _, mark, told = file.read(_BOXES_BYTES).partition(b"colrnclx")
    return bool(mark) and int.from_bytes(told[2:4]) in _HDR_CURVES


def _samples(image: Image.Image) -> colours.Samples:
    """How a TIFF writes its values; of other formats, Pillow's mode tells it."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return colours.Samples()
    bits, form = (image.tag_v2.get(tag, (0,))[0] for tag in (_BITS, _SAMPLE_FORMAT))
    return colours.Samples(bits=int(bits), is_unsigned=form in (0, _UNSIGNED))


def _num_pages(image: Image.Image, limits: Limits) -> int:
    """How many pages there are. Where it cannot be read what follows a page, one more, that cannot be read either."""
    pages = 0
    try:
        for pages, _ in enumerate(_pages(image), 1):
            within(limits, "pages", pages, "pages")
    except PipelineError:
        raise
    except Exception:  # Pillow lets almost anything through that its parsers run into
        if not pages:
            raise
        pages += 1
    return max(1, pages)


def _pages(image: Image.Image) -> Iterator[None]:
    """Turn to one page of a TIFF after the other; smaller copies of a page, and masks, are none."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    for number in count(1):
        if not int(image.tag_v2.get(_SUBFILE, 0)) & _NO_PAGE:
            yield
        try:
            image.seek(number)
        except EOFError:
            return


def _turn_to(image: Image.Image, page: int) -> None:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image.seek(0)
        if all(number != page for number, _ in enumerate(_pages(image))):
            image.seek(0)


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the notes beside the picture say, as far as they can be read."""
    image.load()
    # Pillow's own way writes all the notes anew, and fails where one of them is damaged.
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 0))
    except Exception:  # notes can be damaged in any way; the picture is not
        turn = None
    return image if turn is None else image.transpose(turn)
