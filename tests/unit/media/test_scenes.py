import numpy as np
import pytest
from PIL import Image

from pipeline.media.video.scenes import Scenes, distance, look

RNG = np.random.default_rng(5)


def blurred(seed: int, size: tuple[int, int] = (256, 192)) -> Image.Image:
    """Blobs of colour, as a picture without edges."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def changed(image: Image.Image, shift: int = 0, noise: float = 0.0, brighter: int = 0) -> Image.Image:
    pixels = np.roll(np.asarray(image, float), shift, axis=1) + RNG.normal(0, noise or 1e-9, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(pixels + brighter, 0, 255).astype(np.uint8))


def test_the_same_scene_moves_flickers_and_rustles() -> None:
    image = blurred(1)
    for other in (changed(image, shift=8), changed(image, noise=15), changed(image, brighter=10)):
        scenes = Scenes(2.0, 1000.0)
        assert [scenes.takes(0.0, image), scenes.takes(0.5, other)] == [True, False]


def test_another_picture_is_another_scene() -> None:
    scenes = Scenes(2.0, 1000.0)
    seen = [blurred(seed) for seed in (1, 1, 2, 2, 3, 1)]
    assert [scenes.takes(number / 2, image) for number, image in enumerate(seen)] == [
        True,
        False,
        True,
        False,
        True,
        True,
    ]


def test_after_a_hole_a_scene_begins() -> None:
    scenes, image = Scenes(2.0, 1000.0), blurred(1)
    assert [scenes.takes(time, image) for time in (0.1, 0.9, 1.0, 2.2, 2.5)] == [True, False, False, True, False]


def test_one_frame_is_taken_of_every_stretch_wherever_one_begins_to_look() -> None:
    image = blurred(1)
    times = [number / 2 for number in range(60)]
    taken: list[list[float]] = []
    for first in (0, 7, 20):
        scenes = Scenes(2.0, 3.0)
        taken.append([time for time in times[first:] if scenes.takes(time, image) and time > times[first]])
    assert taken[0] == [3.0 * number for number in range(1, 10)]
    assert taken[1] == [time for time in taken[0] if time > 3.5]
    assert taken[2] == [time for time in taken[0] if time > 10]


def test_the_distance_is_the_difference_of_brightness_where_there_is_nothing_else() -> None:
    dark, light = (look(Image.new("RGB", (100, 60), (level, level, level))) for level in (40, 90))
    assert distance(dark, light) == distance(light, dark) == pytest.approx(50)
    assert distance(dark, dark) == 0
