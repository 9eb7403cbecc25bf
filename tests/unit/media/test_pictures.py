import re
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import LimitError, PermanentError
from pipeline.media.pictures.still import describe, fitted, read
from pipeline.settings import Limits

RED, BLUE, WHITE = (200, 30, 20), (30, 40, 190), (255, 255, 255)
Colour = tuple[int, int, int]


def save(path: Path, image: Image.Image, name: str, **options: Any) -> Path:
    image.save(path, name.upper(), **options)
    return path


def decoded(path: Path, name: str, side: int = 64) -> Image.Image:
    image = Image.open(BytesIO(read(path, name, side, Limits()).image))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    return image


def near(image: Image.Image, place: tuple[int, int], colour: Colour) -> bool:
    return bool(np.abs(np.subtract(image.getpixel(place), colour)).max() < 14)


def png(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 64), (64, 64)), ((10, 5), (10, 5)), ((128, 64), (64, 32)), ((30, 300), (6, 64)), ((9000, 1), (64, 1))],
)
def test_a_picture_is_scaled_down_to_fit_and_never_up(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted(*size, 64) == expected


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 64), (64, 64)), ((10, 5), (10, 5)), ((128, 96), (64, 64)), ((30, 300), (30, 64))]
)
def test_each_side_is_scaled_by_itself_for_an_engine_that_stretches(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert fitted(*size, 64, "stretch") == expected


#: How a picture of each orientation is stored, by what was done to the upright one.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif", "heif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_shown_upright(orientation: int, name: str, tmp_path: Path) -> None:
    if name == "heif":
        pytest.importorskip("pillow_heif").register_heif_opener()
    upright = Image.new("RGB", (48, 32), WHITE)
    upright.paste(RED, (0, 0, 16, 16))  # the upper left corner
    upright.paste(BLUE, (32, 0, 48, 16))
    stored = upright.transpose(STORED[orientation]) if orientation in STORED else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a", stored, name, exif=exif.tobytes(), quality=95)
    found = decoded(path, name)
    assert found.size == (48, 32)
    assert near(found, (6, 6), RED)
    assert near(found, (41, 6), BLUE)
    assert near(found, (6, 25), WHITE)
    assert near(found, (41, 25), WHITE)
    stretched = Image.open(BytesIO(read(path, name, 24, Limits(), "stretch").image))
    assert stretched.size == (24, 24)
    assert near(stretched, (3, 4), RED)
    assert near(stretched, (20, 4), BLUE)


@pytest.mark.parametrize("damaged", [b"\x01@\x00\x05", b"\x01\x1a\x00\x01"])  # tags of the wrong type
def test_damaged_notes_beside_a_picture_do_not_matter(damaged: bytes, tmp_path: Path) -> None:
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + damaged + struct.pack(">II", 1, 38)
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x02" + entries + bytes(16)
    path = save(tmp_path / "a", Image.new("RGB", (16, 8), RED), "jpeg", exif=exif)
    assert decoded(path, "jpeg").size == (8, 16)


def test_notes_that_cannot_be_read_do_not_matter(tmp_path: Path) -> None:
    path = save(tmp_path / "a", Image.new("RGB", (16, 8), RED), "png", exif=b"XXXXXXXXXXXX")
    assert decoded(path, "png").size == (16, 8)


GREY = np.full((8, 8), 40_000, np.uint16)
COLOURS = {
    "1": (Image.new("1", (8, 8), 1), "png", WHITE),
    "L": (Image.new("L", (8, 8), 80), "png", (80, 80, 80)),
    "LA": (Image.new("LA", (8, 8), (80, 255)), "png", (80, 80, 80)),
    "P": (Image.new("RGB", (8, 8), RED).quantize(4), "gif", RED),
    "CMYK": (Image.new("RGB", (8, 8), RED).convert("CMYK"), "jpeg", RED),
    "YCbCr": (Image.new("RGB", (8, 8), RED).convert("YCbCr"), "tiff", RED),
    "16 bits": (Image.fromarray(GREY), "png", (156, 156, 156)),
    "32 bits": (Image.fromarray(GREY.astype(np.int32)), "tiff", (156, 156, 156)),
}


@pytest.mark.parametrize("mode", COLOURS)
def test_every_kind_of_colour_becomes_rgb(mode: str, tmp_path: Path) -> None:
    image, name, expected = COLOURS[mode]
    assert near(decoded(save(tmp_path / "a", image, name), name), (4, 4), expected)


def test_values_without_a_range_are_stretched_over_all_greys(tmp_path: Path) -> None:
    ramp = Image.fromarray(np.tile(np.linspace(-3, 7, 32, dtype=np.float32), (32, 1)))
    found = decoded(save(tmp_path / "a", ramp, "tiff"), "tiff")
    assert near(found, (0, 16), (0, 0, 0))
    assert near(found, (31, 16), WHITE)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 8, 16))
    for name in ("png", "webp"):
        found = decoded(save(tmp_path / name, image, name, lossless=True), name)
        assert near(found, (3, 8), RED)
        assert near(found, (12, 8), WHITE)
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([0, 0, 0, *RED])
    palette.paste(1, (0, 0, 8, 16))
    found = decoded(save(tmp_path / "p", palette, "png", transparency=0), "png")
    assert near(found, (3, 8), RED)
    assert near(found, (12, 8), WHITE)


@pytest.mark.parametrize("name", ["gif", "webp", "png", "avif"])
def test_what_moves_is_told_and_read_as_a_picture_it_is_its_first_frame(name: str, tmp_path: Path) -> None:
    other = Image.new("RGB", (16, 16), (0, 0, 255))
    first = Image.new("RGB", (16, 16), RED)
    path = save(tmp_path / "a", first, name, save_all=True, append_images=[other], duration=200)
    assert describe(path, name, Limits()).moves
    assert near(decoded(path, name), (8, 8), RED)
    assert not describe(save(tmp_path / "b", other, name), name, Limits()).moves


def test_every_page_of_a_tiff_is_a_picture(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (40 + 8 * number, 30), colour) for number, colour in enumerate((RED, BLUE, WHITE))]
    path = save(tmp_path / "a", pages[0], "tiff", save_all=True, append_images=pages[1:])
    info = describe(path, "tiff", Limits())
    assert (info.pages, info.moves, info.width) == (3, False, 40)
    for number, colour in enumerate((RED, BLUE, WHITE)):
        found = Image.open(BytesIO(read(path, "tiff", 64, Limits(), page=number).image))
        assert found.size == (40 + 8 * number, 30)
        assert near(found, (20, 15), colour)
    with pytest.raises(LimitError, match="pages 3, allowed 2"):
        describe(path, "tiff", Limits(pages=2))


def test_a_smaller_copy_of_a_page_and_a_mask_are_no_pages(tmp_path: Path) -> None:
    """As scanners and cameras write them: the first picture in the file is a preview."""
    kinds = (1, 0, 4, 0)
    pages = []
    for kind, colour in zip(kinds, (WHITE, RED, WHITE, BLUE), strict=True):
        page = Image.new("RGB", (16 if kind else 48, 16), colour)
        page.encoderinfo = {"tiffinfo": {254: kind}}
        pages.append(page)
    path = save(tmp_path / "a", pages[0], "tiff", save_all=True, append_images=pages[1:], tiffinfo={254: 1})
    info = describe(path, "tiff", Limits())
    assert (info.pages, info.width) == (2, 48)
    for number, colour in enumerate((RED, BLUE)):
        assert near(Image.open(BytesIO(read(path, "tiff", 64, Limits(), page=number).image)), (8, 8), colour)


def test_a_page_has_no_more_pixels_than_a_picture_may(tmp_path: Path) -> None:
    pages = [Image.new("L", size) for size in ((10, 10), (300, 300))]
    path = save(tmp_path / "a", pages[0], "tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(LimitError, match="pixels 90,000, allowed 80,000"):
        read(path, "tiff", 64, Limits(pixels=80_000), page=1)


def test_of_several_pictures_in_a_heif_file_the_main_one_is_taken_and_that_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    first, main = Image.new("RGB", (64, 64), RED), Image.new("RGB", (64, 64), BLUE)
    path = save(tmp_path / "a", first, "heif", save_all=True, append_images=[main], primary_index=1)
    assert not describe(path, "heif", Limits()).moves
    assert near(decoded(path, "heif"), (32, 32), BLUE)
    assert read(path, "heif", 64, Limits()).flags == ("first_picture_only",)


def test_without_its_package_a_heif_file_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic")
    monkeypatch.setattr("pipeline.media.pictures.still._HEIF_PACKAGE", "no_such_package")
    with pytest.raises(PermanentError, match=re.escape('pip install "reelmill[heic]"')):
        describe(path, "heif", Limits())


def test_a_large_jpeg_is_the_same_picture_as_when_it_is_decoded_whole(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").resize((2000, 1500)).convert("RGB")
    found = decoded(save(tmp_path / "a", image, "jpeg", quality=95), "jpeg", 128)
    whole = image.resize(found.size, Image.Resampling.BICUBIC)
    assert found.size == (128, 96)
    assert np.abs(np.asarray(found, int) - np.asarray(whole, int)).mean() < 2


def test_a_file_that_is_too_large_for_a_picture_is_not_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a", Image.new("RGB", (16, 16)), "webp")
    with pytest.raises(LimitError, match="size of a picture"):
        describe(path, "webp", Limits(picture_bytes=10))


def test_colours_keep_their_full_resolution_and_nothing_else_comes_along(tmp_path: Path) -> None:
    path = save(tmp_path / "a", Image.new("RGB", (16, 16), RED), "jpeg", comment=b"secret", dpi=(300, 300))
    found = decoded(path, "jpeg")
    assert b"secret" not in read(path, "jpeg", 64, Limits()).image
    assert found.info.get("dpi") in (None, (1, 1), (72, 72))
    assert [layer[1:3] for layer in found.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]
    assert read(path, "jpeg", 64, Limits()) == read(path, "jpeg", 64, Limits())


@pytest.mark.parametrize("size", [(30_000, 30_000), (14_200, 14_200), (20_001, 10_000)])
def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(png(*size))
    with pytest.raises(PermanentError, match=f"pixels {size[0] * size[1]:,}, allowed 200,000,000"):
        describe(path, "png", Limits())


def test_the_limit_on_pixels_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(png(15_000, 10_000))  # more than Pillow allows by itself
    assert describe(path, "png", Limits()).width == 15_000
    with pytest.raises(PermanentError, match="pixels 150,000,000, allowed 149,999,999"):
        describe(path, "png", Limits(pixels=149_999_999))


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif", "heif", "gif", "tiff", "bmp"])
def test_a_picture_that_is_cut_off_or_broken_is_refused(name: str, tmp_path: Path) -> None:
    if name == "heif":
        pytest.importorskip("pillow_heif").register_heif_opener()
    noise = Image.effect_noise((200, 200), 80).convert("RGB")
    data = save(tmp_path / "a", noise, name).read_bytes()
    path = tmp_path / "half"
    for length in (len(data) // 2, 24):
        path.write_bytes(data[:length])
        with pytest.raises(PermanentError, match=r"the picture is (cut off|broken)"):
            read(path, name, 64, Limits())


def test_only_the_named_format_is_tried(tmp_path: Path) -> None:
    path = save(tmp_path / "a", Image.new("RGB", (8, 8)), "png")
    with pytest.raises(PermanentError, match="broken"):
        read(path, "jpeg", 64, Limits())


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif", "heif", "gif", "tiff", "bmp"])
def test_a_file_with_wrong_bytes_is_read_or_refused_and_nothing_else_happens(name: str, tmp_path: Path) -> None:
    if name == "heif":
        pytest.importorskip("pillow_heif").register_heif_opener()
    noise = Image.effect_noise((96, 64), 80).convert("RGB")
    data = save(tmp_path / "a", noise, name).read_bytes()
    random, path = Random(name), tmp_path / "b"
    for _ in range(60):
        wrong = bytearray(data)
        for _ in range(random.choice((1, 5, 20))):
            wrong[random.randrange(min(len(wrong), random.choice((64, len(data)))))] = random.randrange(256)
        path.write_bytes(wrong)
        with suppress(PermanentError):
            assert read(path, name, 32, Limits(pixels=1_000_000)).image


def test_pictures_can_be_read_where_there_is_nothing_but_pillow() -> None:
    """In a process of its own, which loads nothing that it does not need."""
    code = (
        "import sys, pipeline.media.pictures.still, pipeline.media.pictures.animations\n"
        "print(*{'ffmpeg', 'pipeline.media.ffmpeg', 'pipeline.engines', 'torch', 'librosa', 'celery', 'minio'}"
        " & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.split() == []


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif", "heif", "gif", "tiff", "bmp"])
def test_every_format_is_held_to_the_limit_on_pixels(name: str, tmp_path: Path) -> None:
    if name == "heif":
        pytest.importorskip("pillow_heif").register_heif_opener()
    path = save(tmp_path / "a", Image.new("RGB", (128, 64), RED), name)
    assert describe(path, name, Limits(pixels=128 * 64)).width == 128
    for look in (describe, lambda path, name, limits: read(path, name, 64, limits)):
        with pytest.raises(LimitError) as refused:
            look(path, name, Limits(pixels=128 * 64 - 1))
        assert refused.value.setting == "pixels"
