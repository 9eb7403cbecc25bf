"""Whatever colours a file is written in, what comes out are the colours that people see, in sRGB."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline.media.pictures.still import read
from pipeline.settings import Limits

RED, GREY, WHITE = (200, 30, 20), (120, 120, 120), (255, 255, 255)
Colour = tuple[int, int, int]


def shown(path: Path, name: str) -> tuple[Colour, tuple[str, ...]]:
    """The colour in the middle, and the flags."""
    picture = read(path, name, 64, Limits())
    red, green, blue = Image.open(BytesIO(picture.image)).getpixel((8, 8))  # type: ignore[misc]
    return (red, green, blue), picture.flags


def save(image: Image.Image, path: Path, name: str, **options: Any) -> Path:
    image.save(path, name, **options)
    return path


def near(found: Colour, expected: Colour, tolerance: int = 6) -> bool:
    return max(abs(one - other) for one, other in zip(found, expected, strict=True)) <= tolerance


def plain(colour: Colour = RED) -> Image.Image:
    return Image.new("RGB", (16, 16), colour)


def ycck(path: Path, colour: Colour) -> Path:
    """A JPEG as Photoshop writes it: inverted inks, the coloured three of them as luminance and two differences."""
    inks = plain(colour).convert("CMYK").split()[:3]
    differences = Image.merge("RGB", inks).convert("YCbCr").split()
    # Pillow inverts what it writes, so that it is handed the inverse of what is to be stored.
    stored = Image.merge("CMYK", [*(band.point(lambda value: 255 - value) for band in differences), black()])
    data = BytesIO()
    stored.save(data, "jpeg", quality=98, subsampling=0)
    marker = data.getvalue().index(b"Adobe")
    with_transform = bytearray(data.getvalue())
    assert with_transform[marker + 11] == 0
    with_transform[marker + 11] = 2
    path.write_bytes(with_transform)
    return path


def black() -> Image.Image:
    return Image.new("L", (16, 16), 0)


def test_inks_are_read_whether_they_are_written_plainly_or_as_differences(tmp_path: Path) -> None:
    path = save(plain().convert("CMYK"), tmp_path / "a", "jpeg", quality=98)
    assert b"Adobe" in path.read_bytes()  # it tells that the inks are inverted
    assert near(shown(path, "jpeg")[0], RED)
    path = ycck(tmp_path / "b", RED)
    with Image.open(path) as image:
        assert (image.mode, image.info["adobe_transform"]) == ("CMYK", 2)
    assert near(shown(path, "jpeg")[0], RED)


def test_inks_in_a_tiff_are_not_inverted(tmp_path: Path) -> None:
    assert near(shown(save(plain().convert("CMYK"), tmp_path / "a", "tiff"), "tiff")[0], RED)


def ink_profile() -> bytes:
    """An ICC profile of inks of its own kind: paper is white, the first ink red, and whatever has more is dark."""
    lab = {(0, 0, 0, 0): (255, 128, 128), (1, 0, 0, 0): (136, 208, 195)}  # L*, a*, b* as bytes
    grid = [
        lab.get((cyan, magenta, yellow, key), (40, 128, 128))
        for cyan in (0, 1)
        for magenta in (0, 1)
        for yellow in (0, 1)
        for key in (0, 1)
    ]
    identity = struct.pack(">9i", *(65_536 if number % 4 == 0 else 0 for number in range(9)))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + bytes(range(256)) * 4
    table += bytes(value for node in grid for value in node) + bytes(range(256)) * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63_190, 65_536, 54_061)
    words = b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\x00" + bytes(78)
    tags = ((b"desc", words), (b"wtpt", white), (b"A2B0", table))
    place, entries, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags:
        entries += name + struct.pack(">II", place + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = bytes(4) + b"lcms" + b"\x02\x40\x00\x00" + b"prtr" + b"CMYK" + b"Lab " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63_190, 65_536, 54_061)
    profile = head.ljust(128, b"\x00") + struct.pack(">I", len(tags)) + entries + body
    return struct.pack(">I", len(profile)) + profile[4:]


@pytest.mark.parametrize(("name", "options"), [("jpeg", {"quality": 98}), ("tiff", {})])
def test_inks_with_a_profile_look_as_it_says(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    inked = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    found, flags = shown(save(inked, tmp_path / "a", name, icc_profile=ink_profile(), **options), name)
    assert flags == ()
    assert found[0] > 200  # of cyan ink, without the profile: 0
    assert max(found[1:]) < 60
    paper = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    found, _ = shown(save(paper, tmp_path / "b", name, icc_profile=ink_profile(), **options), name)
    assert near(found, WHITE)


def swapped_profile() -> bytes:
    """sRGB with red and blue changed over."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)


FORMATS = {
    "jpeg": {"quality": 98},
    "png": {},
    "webp": {"lossless": True},
    "tiff": {},
    "avif": {"quality": 100},
    "heif": {"quality": -1},
}


def supported(name: str) -> str:
    if name == "heif":
        pytest.importorskip("pillow_heif").register_heif_opener()
    return name


@pytest.mark.parametrize("name", FORMATS)
def test_colours_with_a_profile_become_srgb(name: str, tmp_path: Path) -> None:
    path = save(plain(), tmp_path / "a", supported(name), icc_profile=swapped_profile(), **FORMATS[name])
    found, flags = shown(path, name)
    assert near(found, (20, 30, 200), 8)
    assert flags == ()


def test_a_grey_profile_is_used(tmp_path: Path) -> None:
    """Grey whose values are the light itself: the middle is far lighter than it looks without."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63_190, 65_536, 54_061)
    curve = b"curv" + bytes(4) + struct.pack(">I", 0)  # no entries: a straight line
    tags = ((b"wtpt", white), (b"kTRC", curve))
    place, entries, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, tag in tags:
        entries += name + struct.pack(">II", place + len(body), len(tag))
        body += tag
    head = data[:16] + b"GRAY" + b"XYZ " + data[24:128]
    profile = head + struct.pack(">I", len(tags)) + entries + body
    profile = struct.pack(">I", len(profile)) + profile[4:]
    for image in (Image.new("L", (16, 16), 55), Image.new("LA", (16, 16), (55, 255))):
        found, flags = shown(save(image, tmp_path / "a", "png", icc_profile=profile), "png")
        assert flags == ()
        assert near(found, (128, 128, 128))


def test_a_grey_picture_may_have_a_profile_of_colours(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("jpeg", "png"):
        found, flags = shown(save(Image.new("L", (16, 16), 120), tmp_path / name, name, icc_profile=srgb), name)
        assert (near(found, GREY, 2), flags) == (True, ())


@pytest.mark.parametrize("name", ["avif", "heif"])
@pytest.mark.parametrize(("curve", "flags"), [(16, ("pale",)), (18, ("pale",)), (13, ())])
def test_a_picture_in_hdr_is_told(name: str, curve: int, flags: tuple[str, ...], tmp_path: Path) -> None:
    path = save(plain(), tmp_path / "a", supported(name))
    data = bytearray(path.read_bytes())
    place = data.index(b"colrnclx") + 10
    data[place : place + 2] = curve.to_bytes(2)
    path.write_bytes(data)
    assert shown(path, name)[1] == flags


@pytest.mark.parametrize("profile", [b"no profile", b"\x00" * 200, swapped_profile()[:300]])
def test_a_broken_profile_is_told_and_ignored(profile: bytes, tmp_path: Path) -> None:
    found, flags = shown(save(plain(), tmp_path / "a", "png", icc_profile=profile), "png")
    assert near(found, RED)
    assert flags == ("profile_ignored",)


def test_a_profile_of_other_colours_is_told_and_ignored(tmp_path: Path) -> None:
    path = save(plain().convert("CMYK"), tmp_path / "a", "jpeg", quality=98, icc_profile=swapped_profile())
    found, flags = shown(path, "jpeg")
    assert near(found, RED)
    assert flags == ("profile_ignored",)


def deep_tiff(values: NDArray[np.uint16]) -> bytes:
    """An uncompressed TIFF of 16 bits a colour, which Pillow reads but does not write; shape (height, width, 3)."""
    height, width, _ = values.shape
    pixels = values.astype("<u2").tobytes()
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, 8 + 2 + 12 * 9 + 4),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8 + 2 + 12 * 9 + 4 + 6),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 9) + table + bytes(4) + struct.pack("<3H", 16, 16, 16) + pixels
    )


def test_sixteen_bits_are_read_by_their_upper_half(tmp_path: Path) -> None:
    deep = np.broadcast_to(np.array(RED, np.uint16) * 257, (16, 16, 3))
    path = tmp_path / "a.tiff"
    path.write_bytes(deep_tiff(deep))
    assert near(shown(path, "tiff")[0], RED)
    path = tmp_path / "a.png"
    _write_png(path, deep, colour_type=2)
    assert near(shown(path, "png")[0], RED)
    grey = np.full((16, 16, 1), 120 * 257, np.uint16)
    _write_png(path, grey, colour_type=0)
    assert near(shown(path, "png")[0], GREY)


def grey_tiff(bits: int, data: bytes, form: int | None = None) -> bytes:
    """An uncompressed grey TIFF of 16 by 16 values, of which nobody says what they mean unless `form` does."""
    entries = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1)]
    count = 9 + (form is not None)
    entries += [(273, 4, 1, 8 + 2 + 12 * count + 4), (277, 3, 1, 1), (278, 3, 1, 16), (279, 4, 1, len(data))]
    entries += [] if form is None else [(339, 3, 1, form)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", count) + table + bytes(4) + data


def test_twelve_bits_are_read_to_their_own_white(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for value, expected in ((0xFFF, 255), (0x800, 128), (0, 0)):
        pair = value << 12 | value
        path.write_bytes(grey_tiff(12, pair.to_bytes(3) * 128))
        assert near(shown(path, "tiff")[0], (expected,) * 3, 2)


@pytest.mark.parametrize("most", [200, 60_000, 4_000_000_000])
@pytest.mark.parametrize("form", [None, 1])
def test_thirty_two_bits_are_read_up_to_their_highest_value(most: int, form: int | None, tmp_path: Path) -> None:
    path = tmp_path / "a"
    for share, expected in ((1.0, 255), (0.5, 128)):
        values = np.full(256, round(most * share), "<u4")
        values[:16] = most
        path.write_bytes(grey_tiff(32, values.tobytes(), form))
        assert near(shown(path, "tiff")[0], (expected,) * 3, 2)


def test_transparent_sixteen_bits_are_white_below(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    half = np.broadcast_to(np.array((*RED, 0), np.uint16) * 257, (16, 16, 4))
    _write_png(path, half, colour_type=6)
    assert near(shown(path, "png")[0], WHITE)


def _write_png(path: Path, values: NDArray[np.uint16], *, colour_type: int) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, _ = values.shape
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_half_transparent_colours_are_mixed_with_white(tmp_path: Path) -> None:
    glass = Image.new("RGBA", (16, 16), (*RED, 128))
    mixed = (228, 143, 138)
    for name in ("png", "webp", "avif", "heif", "tiff"):
        path = save(glass, tmp_path / name, supported(name), **FORMATS[name])
        assert near(shown(path, name)[0], mixed), name


def test_colours_of_what_cannot_be_seen_do_not_bleed_into_what_can(tmp_path: Path) -> None:
    """Scaled down, the edge of a shape is a mixture with white, not with the colour that lies hidden around it."""
    image = Image.new("RGBA", (640, 640), (0, 0, 0, 0))
    image.paste((*WHITE, 255), (0, 0, 315, 640))
    picture = Image.open(BytesIO(read(save(image, tmp_path / "a", "png"), "png", 64, Limits()).image))
    assert np.asarray(picture).min() > 250


def test_lab_is_read(tmp_path: Path) -> None:
    lab = ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(plain(), ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    assert image is not None
    assert near(shown(save(image, tmp_path / "a", "tiff"), "tiff")[0], RED)
