"""Animated pictures are videos: each frame has its exact time, its colours and its place."""

import zlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import LimitError, PermanentError
from pipeline.media.pictures import animations
from pipeline.media.pictures.animations import Shown
from pipeline.settings import Limits

RED, GREEN, BLUE, WHITE = (200, 30, 20), (20, 160, 40), (30, 40, 190), (255, 255, 255)
COLOURS = (RED, GREEN, BLUE, RED, GREEN)
DURATIONS = (200, 50, 1250, 300, 700)  # ms
STARTS = (0.0, 0.2, 0.25, 1.5, 1.8)
END = 2.5
LOSSLESS: dict[str, dict[str, Any]] = {
    "gif": {"disposal": 2},
    "webp": {"lossless": True},
    "png": {},
    "avif": {"quality": 100},
}


def animate(path: Path, name: str, durations: tuple[int, ...] = DURATIONS, **options: Any) -> Path:
    """Frames of one colour each, with a white square that moves to the right."""
    frames = []
    for number in range(len(durations)):
        frame = Image.new("RGB", (64, 32), COLOURS[number % len(COLOURS)])
        frame.paste(WHITE, (8 * (number % 8), 8, 8 * (number % 8) + 8, 16))
        frames.append(frame)
    frames[0].save(
        path, name, save_all=True, append_images=frames[1:], duration=list(durations), **LOSSLESS[name], **options
    )
    return path


def read(path: Path, name: str, rate: float = 60, limits: Limits | None = None) -> list[Shown]:
    return list(animations.read(path, name, rate, 64, limits or Limits()))


def decoded(shown: Shown) -> Image.Image:
    image = Image.open(BytesIO(shown.image))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 32))
    return image


def near(image: Image.Image, place: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(np.subtract(image.getpixel(place), colour)).max() < 14)


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_frame_is_shown_at_its_time(name: str, tmp_path: Path) -> None:
    found = read(animate(tmp_path / "a", name), name)
    assert [shown.start for shown in found] == list(STARTS)
    assert [shown.end for shown in found] == [*STARTS[1:], END]
    for number, shown in enumerate(found):
        image = decoded(shown)
        assert near(image, (60, 28), COLOURS[number])
        assert near(image, (8 * number + 4, 12), WHITE)
        assert number == 0 or near(image, (4, 12), COLOURS[number])


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize(
    ("rate", "expected"), [(1.0, [0.0, 1.5]), (2.0, [0.0, 1.5]), (4.0, [0.0, 0.25, 1.5, 1.8]), (0.4, [0.0])]
)
def test_of_each_stretch_of_time_the_first_frame_is_taken(
    name: str, rate: float, expected: list[float], tmp_path: Path
) -> None:
    found = read(animate(tmp_path / "a", name), name, rate)
    assert [shown.start for shown in found] == expected
    assert [shown.end for shown in found] == [*expected[1:], END]


def test_a_frame_at_the_very_start_of_a_stretch_belongs_to_it_whatever_the_rate(tmp_path: Path) -> None:
    """0.3 as a float is a little less, so that 10 s would lie a little before the fourth stretch."""
    found = read(animate(tmp_path / "a", "gif", (9_000, 1_000, 1_000)), "gif", 0.3)
    assert [shown.start for shown in found] == [0, 9, 10]


def test_times_do_not_drift(tmp_path: Path) -> None:
    """A thirtieth of a second has no exact number of milliseconds."""
    path = animate(tmp_path / "a", "png", (40,) * 90)
    twenty_fifth, thirtieth = ((1).to_bytes(2) + parts.to_bytes(2) for parts in (25, 30))
    path.write_bytes(_with_checksums(path.read_bytes().replace(twenty_fifth, thirtieth)))
    starts = [shown.start for shown in read(path, "png")]
    assert starts == [float(round(Fraction(number, 30), 6)) for number in range(90)]


def _with_checksums(png: bytes) -> bytes:
    mended, place = bytearray(png[:8]), 8
    while place < len(png):
        length = int.from_bytes(png[place : place + 4])
        chunk = png[place + 4 : place + 8 + length]
        mended += png[place : place + 4] + chunk + zlib.crc32(chunk).to_bytes(4)
        place += 12 + length
    return bytes(mended)


@pytest.mark.parametrize(("duration", "seconds"), [(0, 0.1), (10, 0.1), (20, 0.02)])
def test_a_frame_that_hurries_is_shown_as_long_as_in_a_browser(duration: int, seconds: float, tmp_path: Path) -> None:
    found = read(animate(tmp_path / "a", "gif", (duration,) * 4), "gif")
    assert [shown.end - shown.start for shown in found] == pytest.approx([seconds] * 4)


def test_what_a_png_shows_to_programs_without_animation_is_no_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 32), colour) for colour in (BLUE, RED, GREEN)]
    path = tmp_path / "a"
    frames[0].save(path, "png", save_all=True, append_images=frames[1:], duration=500, default_image=True)
    found = read(path, "png")
    assert [(shown.start, shown.end) for shown in found] == [(0, 0.5), (0.5, 1)]
    assert near(decoded(found[0]), (4, 4), RED)


def test_what_is_transparent_is_white_in_every_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (64, 32), (*colour, 255)) for colour in (RED, GREEN, BLUE)]
    for frame in frames:
        frame.paste((0, 0, 0, 0), (8, 8, 24, 24))
    for name, options in (("gif", {"disposal": 2}), ("webp", {"lossless": True}), ("png", {"disposal": 1, "blend": 0})):
        path = tmp_path / name
        frames[0].save(path, name, save_all=True, append_images=frames[1:], duration=500, **options)
        for shown, colour in zip(read(path, name), (RED, GREEN, BLUE), strict=True):
            assert near(decoded(shown), (16, 16), WHITE)
            assert near(decoded(shown), (48, 8), colour)


@pytest.mark.parametrize(
    ("limits", "setting"),
    [
        ({"animation_frames": 4}, "animation_frames"),
        ({"animation_pixels": 4 * 64 * 32}, "animation_pixels"),
        ({"pixels": 64 * 32 - 1}, "pixels"),
    ],
)
@pytest.mark.parametrize("name", LOSSLESS)
def test_an_animation_beyond_a_limit_is_refused(
    name: str, limits: dict[str, int], setting: str, tmp_path: Path
) -> None:
    path = animate(tmp_path / "a", name)
    with pytest.raises(LimitError) as refused:
        read(path, name, limits=Limits.model_validate(limits))
    assert refused.value.setting == setting
    limits = {field: limit * 5 // 4 + 1 for field, limit in limits.items()}
    assert len(read(path, name, limits=Limits.model_validate(limits))) == 5


@pytest.mark.parametrize("name", ["gif", "png"])
def test_frames_before_a_break_are_given_and_the_break_is_told(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    noise = [Image.effect_noise((64, 32), 80).convert("RGB") for _ in range(5)]
    noise[0].save(path, name, save_all=True, append_images=noise[1:], duration=500)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found: list[float] = []
    with pytest.raises(PermanentError, match=r"the picture is (cut off|broken)"):
        found.extend(shown.start for shown in animations.read(path, name, 60, 64, Limits()))
    assert found == [0, 0.5]


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_a_file_that_is_cut_off_before_all_of_it_is_known_is_refused(name: str, tmp_path: Path) -> None:
    path = animate(tmp_path / "a", name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PermanentError, match=r"the picture is (cut off|broken)"):
        read(path, name)


def test_an_animation_with_as_many_frames_as_there_may_be_is_read(tmp_path: Path) -> None:
    path = animate(tmp_path / "a", "gif", (100,) * 5)
    assert len(list(animations.read(path, "gif", 60, 64, Limits(animation_frames=5)))) == 5


def test_one_frame_is_held_in_memory(tmp_path: Path) -> None:
    """Not all are decoded before the first is given."""
    path = animate(tmp_path / "a", "gif", (100,) * 50)
    frames = animations.read(path, "gif", 60, 64, Limits(animation_frames=10))
    assert [next(frames).start for _ in range(3)] == [0.0, 0.1, 0.2]
    with pytest.raises(LimitError):
        list(frames)
