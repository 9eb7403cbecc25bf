"""Any kind of colour as 8-bit sRGB, scaled on the way. Pure: pictures in, pictures out; nothing is opened here."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

Size = tuple[int, int]

_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_GREY_MODES = frozenset({"1", "L"})
#: The mode that a profile of that colour space is about.
_PROFILED = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Samples:
    """How a file writes the values of a picture, where it tells more than the mode."""

    bits: int = 0  #: of each; 0: not told
    is_unsigned: bool = False


def flat(
    image: Image.Image, size: Size, resample: Image.Resampling, profile: bytes | None, samples: Samples = Samples()
) -> tuple[Image.Image, bool]:
    """A loaded picture as RGB of that size, what is transparent white; whether its colour profile could be used.

    A picture without a profile counts as sRGB.
    """
    # Colours are few once a picture is small: the profile comes last.
    scaled = _scaled(_plain(_stretched(image, samples) if image.mode in _DEEP_MODES else image), size, resample)
    alpha = scaled.getchannel("A") if scaled.mode == "RGBA" else None
    colours = scaled.convert("RGB") if alpha is not None else scaled
    shown, is_used = _managed(colours, profile)
    if alpha is None:
        return shown, is_used
    ground = Image.new("RGB", size, _WHITE)
    ground.paste(shown, mask=alpha)
    return ground, is_used


def _stretched(image: Image.Image, samples: Samples) -> Image.Image:
    """Grey values of more than 8 bits as 8 bits: of up to 16 bits the upper ones, of any others their whole range."""
    values = np.asarray(image)
    if values.dtype.itemsize == 2:
        most = (1 << samples.bits) - 1 if 8 < samples.bits < 16 else 65_535
        shades = np.rint(np.minimum(np.arange(65_536) / most, 1.0) * 255)
        return Image.fromarray(shades.astype(np.uint8)[values])
    is_long = image.mode == "I" and samples.bits == 32 and samples.is_unsigned
    if is_long:
        values = values.view(np.uint32)
    values = np.nan_to_num(values.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    if is_long:
        low = min(low, 0.0)  # which is black, whatever else there is
    if is_long or image.mode == "F" or low < 0 or high > 65_535:
        values = (values - low) * (65_535 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def _plain(image: Image.Image) -> Image.Image:
    """One of the modes that can be scaled: L, RGB, RGBA, CMYK."""
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in _GREY_MODES:
        return image.convert("L")
    return image if image.mode == "CMYK" else image.convert("RGB")


def _scaled(image: Image.Image, size: Size, resample: Image.Resampling) -> Image.Image:
    return image if image.size == size else image.resize(size, resample)


def _managed(colours: Image.Image, data: bytes | None) -> tuple[Image.Image, bool]:
    """Colours without transparency as sRGB, and whether the profile was of use. One that is broken is none."""
    if not data:
        return colours.convert("RGB"), True
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(data))
        mode = _PROFILED.get(profile.profile.xcolor_space)
        if {mode, colours.mode} == {"L", "RGB"}:  # a grey picture may have a profile of colours, and the reverse
            colours = colours.convert(mode)
        if mode == colours.mode:
            return _converted(colours, profile), True
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        pass  # whatever the parser of profiles runs into: the picture itself is fine
    return colours.convert("RGB"), False


def _converted(colours: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    found = ImageCms.profileToProfile(colours, profile, _SRGB, outputMode="RGB")
    assert found is not None, "a new picture was asked for"
    return found
