"""Frames look as they are meant: which way is up, which half comes first, which colours, how bright."""

import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import PermanentError
from pipeline.job import Fit, SegmentLimits
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.video import sampling
from pipeline.media.video.choice import parse
from pipeline.media.video.frames import FrameCut
from pipeline.media.video.sampling import Film
from tests.integration.media.films import WHOLE

Pixels = NDArray[np.float64]

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-pix_fmt", "yuv444p")
SIZE = (96, 64)
CORNERS = {
    "top left": (220, 30, 30),
    "top right": (30, 200, 40),
    "bottom left": (40, 50, 210),
    "bottom right": (230,) * 3,
}


def filmed(ffmpeg: Ffmpeg, path: Path, image: Image.Image | None, chain: str, *options: str) -> Path:
    """A second of a picture (else of what the chain makes itself), through a chain of filters."""
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-y"]
    if image is None:
        argv += ["-f", "lavfi", "-i", chain]
    else:
        image.save(path.with_suffix(".png"))
        argv += ["-loop", "1", "-framerate", "5", "-t", "1", "-i", str(path.with_suffix(".png")), "-vf", chain]
    subprocess.run([*argv, *options, str(path)], check=True, timeout=60, capture_output=True)
    return path


def cut(path: Path, ffmpeg: Ffmpeg, fit: Fit = "inside", side: int = 96) -> FrameCut:
    limits = SegmentLimits(image_pixels=side, image_fit=fit)
    return FrameCut(Film(path, probe(path, ffmpeg), parse("fps=1"), limits, ffmpeg), WHOLE)


def first(path: Path, ffmpeg: Ffmpeg, fit: Fit = "inside", side: int = 96) -> Pixels:
    """Of the first frame, shape (height, width, 3)."""
    frame = next(iter(cut(path, ffmpeg, fit, side).frames()))
    return np.asarray(Image.open(BytesIO(frame.image)), float)


def four_corners() -> Image.Image:
    image = Image.new("RGB", SIZE)
    halves = SIZE[0] // 2, SIZE[1] // 2
    for number, colour in enumerate(CORNERS.values()):
        left, top = number % 2 * halves[0], number // 2 * halves[1]
        image.paste(colour, (left, top, left + halves[0], top + halves[1]))
    return image


def corners(pixels: Pixels) -> list[tuple[int, ...]]:
    """The colours in the middles of the four quarters, row by row."""
    height, width, _ = pixels.shape
    places = [(height * row // 4, width * column // 4) for row in (1, 3) for column in (1, 3)]
    return [tuple(int(value) for value in pixels[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1))) for y, x in places]


@pytest.fixture(scope="module")
def colourful(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    chain = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd,format=yuv444p"
    chain += ",setparams=colorspace=bt709:range=tv"
    return filmed(ffmpeg, tmp_path_factory.mktemp("colourful") / "a.mp4", four_corners(), chain, *X264)


TURNS: dict[str, tuple[tuple[str, ...], Any]] = {
    "90": (("-display_rotation", "90"), np.rot90),
    "-90": (("-display_rotation", "-90"), lambda pixels: np.rot90(pixels, 3)),
    "180": (("-display_rotation", "180"), lambda pixels: np.rot90(pixels, 2)),
    "mirror": (("-display_rotation", "0", "-display_hflip"), lambda pixels: pixels[:, ::-1]),
    "head": (("-display_rotation", "0", "-display_vflip"), lambda pixels: pixels[::-1]),
    "90 and mirror": (("-display_rotation", "90", "-display_hflip"), None),
    "-90 and mirror": (("-display_rotation", "-90", "-display_hflip"), None),
}


@pytest.mark.parametrize("name", TURNS)
def test_a_frame_is_upright_as_a_player_shows_it(name: str, colourful: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    options, turned = TURNS[name]
    path = tmp_path / "turned.mp4"
    argv = [str(ffmpeg.ffmpeg), "-v", "error", *options, "-i", str(colourful), "-c", "copy", str(path)]
    subprocess.run(argv, check=True, timeout=60)
    found = first(path, ffmpeg)
    if turned is not None:
        assert np.abs(found - turned(first(colourful, ffmpeg))).mean() < 2
    player = [
        str(ffmpeg.ffmpeg),
        "-v",
        "error",
        "-i",
        str(path),
        "-frames:v",
        "1",
        "-f",
        "image2pipe",
        "-c:v",
        "png",
        "-",
    ]
    shown = np.asarray(
        Image.open(BytesIO(subprocess.run(player, check=True, capture_output=True).stdout)).convert("RGB"), float
    )
    assert found.shape == shown.shape
    assert np.abs(found - shown).mean() < 3


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("levels", ["tv", "pc"])
@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p10le"])
def test_colours_are_those_that_were_filmed(
    matrix: str, levels: str, pixels: str, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    chain = f"scale=out_color_matrix={matrix}:out_range={levels}:flags=accurate_rnd,format={pixels}"
    chain += f",setparams=colorspace={matrix}:range={levels}"
    path = filmed(ffmpeg, tmp_path / "a.mkv", four_corners(), chain, "-c:v", "ffv1")
    assert np.abs(np.subtract(corners(first(path, ffmpeg)), list(CORNERS.values()))).max() <= 3


@pytest.mark.parametrize(("height", "matrix"), [(480, "smpte170m"), (720, "bt709")])
def test_colours_that_a_file_says_nothing_of_are_those_of_its_size(
    height: int, matrix: str, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    chain = f"scale={height * 4 // 3}:{height}:out_color_matrix={matrix}:out_range=tv,format=yuv420p"
    chain += ",setparams=colorspace=unknown:range=unknown:color_primaries=unknown:color_trc=unknown"
    path = filmed(ffmpeg, tmp_path / "a.mkv", four_corners(), chain, "-c:v", "ffv1")
    assert probe(path, ffmpeg).video.matrix is not None  # type: ignore[union-attr]
    assert np.abs(np.subtract(corners(first(path, ffmpeg)), list(CORNERS.values()))).max() <= 3


def test_an_anamorphic_frame_has_the_shape_that_it_is_shown_in(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = filmed(ffmpeg, tmp_path / "a.mp4", four_corners(), "setsar=2,format=yuv444p", *X264)
    assert first(path, ffmpeg).shape == (32, 96, 3)
    assert first(path, ffmpeg, "stretch", 40).shape == (40, 40, 3)


def test_a_stretched_frame_fills_the_square_be_it_smaller_or_larger(colourful: Path, ffmpeg: Ffmpeg) -> None:
    for side in (48, 300):
        found = first(colourful, ffmpeg, "stretch", side)
        assert found.shape == (side, side, 3)
        assert np.abs(np.subtract(corners(found), list(CORNERS.values()))).max() <= 4


@pytest.mark.parametrize(("order", "brightness"), [("tff", 200), ("bff", 60)])
def test_of_an_interlaced_frame_the_moment_of_its_time_is_seen(
    order: str, brightness: int, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    """The two fields of each frame have nothing in common; a comb would be seen as grey."""
    chain = f"color=black:s=96x64:r=5:d=1,format=gray,geq=lum='if(mod(Y,2),60,200)',format=yuv420p,setfield={order}"
    chain += ",setparams=range=pc"
    coded = ("-c:v", "libx264", "-qp", "2", "-flags", "+ildct+ilme", "-x264opts", f"{order}=1")
    pixels = first(filmed(ffmpeg, tmp_path / "a.mp4", None, chain, *coded), ffmpeg)
    assert pixels.shape == (64, 96, 3)
    assert np.abs(pixels[4:-4] - brightness).max() <= 12


def pq(light: float) -> float:
    """SMPTE ST 2084: the value, 0 to 1, that stands for so many cd/m2."""
    level = (light / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * level) / (1 + 2392 / 128 * level)) ** (2523 / 32)


def hlg(light: float) -> float:
    """ARIB STD-B67: the value, 0 to 1, of a share of the scene's brightest light, above a twelfth."""
    return 0.17883277 * float(np.log(12 * light - 0.28466892)) + 0.55991073


def hdr(ffmpeg: Ffmpeg, path: Path, red: float, green: float, blue: float, curve: str) -> Path:
    """A second of one colour, from values of BT.2020, in 10 bits."""
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    values = (64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746)
    y, u, v = (round(value) for value in values)
    chain = f"color=s=64x48:r=5:d=1,format=yuv420p10,geq=lum={y}:cb={u}:cr={v}"
    chain += f",setparams=color_primaries=bt2020:color_trc={curve}:colorspace=bt2020nc:range=tv"
    coded = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "qp=4:log-level=none")
    return filmed(ffmpeg, path, None, chain, *coded)


def test_white_paper_in_hdr_is_bright_and_grey_stays_grey(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    seen: dict[str, tuple[float, float]] = {}
    cases = {"paper": 203.0, "grey": 26.0, "sun": 1000.0}
    for name, light in cases.items():
        path = hdr(ffmpeg, tmp_path / f"{name}.mp4", pq(light), pq(light), pq(light), "smpte2084")
        pixels = first(path, ffmpeg)
        seen[name] = float(pixels.mean()), float(np.ptp(pixels.mean(axis=(0, 1))))
    assert all(spread < 2 for _, spread in seen.values())
    assert 205 < seen["paper"][0] < 235
    assert 90 < seen["grey"][0] < 130
    assert seen["sun"][0] > 250
    paper = hlg(0.265)  # BT.2408: at 75 % of the signal
    assert paper == pytest.approx(0.75, abs=0.001)
    assert 205 < first(hdr(ffmpeg, tmp_path / "hlg.mp4", paper, paper, paper, "arib-std-b67"), ffmpeg).mean() < 235


def test_hdr_red_is_the_red_of_a_screen(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """100 cd/m2 of BT.709's red, written in BT.2020; without its conversion it would be brown."""
    path = hdr(ffmpeg, tmp_path / "red.mp4", pq(62.74), pq(6.91), pq(1.64), "smpte2084")
    red, green, blue = first(path, ffmpeg).mean(axis=(0, 1))
    assert red > 160
    assert max(green, blue) < 25


def test_where_hdr_cannot_be_mapped_the_result_says_so(
    tmp_path: Path, ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hdr(ffmpeg, tmp_path / "a.mp4", pq(203), pq(203), pq(203), "smpte2084")
    mapped = cut(path, ffmpeg)
    assert [len(group.frames) for group in mapped] == [1]
    assert mapped.flags == ()
    monkeypatch.setattr(sampling, "tone_mapping", lambda _ffmpeg: False)
    pale = cut(path, ffmpeg)
    assert [len(group.frames) for group in pale] == [1]
    assert pale.flags == ("pale",)
    assert first(path, ffmpeg).mean() < 160


def test_the_video_stream_that_is_asked_for_is_seen(colourful: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / "two.mkv"
    argv = [
        str(ffmpeg.ffmpeg),
        "-v",
        "error",
        "-i",
        str(colourful),
        "-f",
        "lavfi",
        "-i",
        "color=yellow:s=64x64:r=5:d=1",
    ]
    argv += ["-map", "0:v", "-map", "1:v", "-c:v", "ffv1", "-disposition:v:0", "0", "-disposition:v:1", "default"]
    subprocess.run([*argv, str(path)], check=True, timeout=60)
    colours: list[tuple[int, ...]] = []
    for number in (None, 0, 1):
        info = probe(path, ffmpeg, video_stream=number)
        assert info.video is not None
        assert (info.video.index, info.video_streams) == (1 if number is None else number, 2)
        frames = FrameCut(Film(path, info, parse("fps=1"), SegmentLimits(image_pixels=64), ffmpeg), WHOLE).frames()
        colours.append(corners(np.asarray(Image.open(BytesIO(next(frames).image)), float))[0])
    red, yellow = CORNERS["top left"], (255, 255, 0)
    assert np.abs(np.subtract(colours, [yellow, red, yellow])).max() <= 4
    with pytest.raises(PermanentError, match="no video stream number 2: the file has 2 video streams, counted from 0"):
        probe(path, ffmpeg, video_stream=2)
