"""Picture files as the payloads of segments: pages, animations, and what a model sees of them."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.engines import Capabilities
from pipeline.errors import PermanentError
from pipeline.job import SegmentLimits
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.pictures import still
from pipeline.media.told import Pieces
from pipeline.payload import Piece
from pipeline.settings import Cutting, Limits, Video
from pipeline.stages.source import MediaSource
from pipeline.store import DirectoryStore
from tests.integration.media.test_pieces import job_on, pieces_of

RED, GREEN, BLUE = (200, 30, 20), (20, 160, 40), (30, 40, 190)


@pytest.fixture
def source(tmp_path: Path, ffmpeg: Ffmpeg) -> MediaSource:
    limits = SegmentLimits(images=3, image_pixels=64, image_fit="stretch")
    engine = Capabilities(kinds=frozenset({"sound", "image", "text"}), limits=limits, max_batch=1, max_cost=1)
    return MediaSource(
        DirectoryStore(tmp_path / "bucket"),
        MediaCache(tmp_path / "cache", 10**9),
        ffmpeg,
        cutting=Cutting(window_seconds=60),
        video=Video(frames_per_second=2),
        engine=engine,
    )


def animate(path: Path, name: str, number: int, *, noisy: bool = False) -> Path:
    """Half a second of each of three colours in turn, or of noise."""
    frames = [Image.new("RGB", (96, 48), (RED, GREEN, BLUE)[index % 3]) for index in range(number)]
    if noisy:
        frames = [Image.effect_noise((96, 48), 90).convert("RGB") for _ in range(number)]
    frames[0].save(path, name, save_all=True, append_images=frames[1:], duration=500)
    return path


def colour(piece: Piece, number: int) -> NDArray[np.int64]:
    image = Image.open(BytesIO(piece.payload.frames[number].image))
    assert image.size == (64, 48)  # each side by itself
    return np.array(image.getpixel((32, 24)))


@pytest.mark.parametrize("name", ["gif", "webp", "png", "avif"])
@pytest.mark.parametrize("task", ["caption", "ask", "summarize"])
def test_an_animation_is_a_video(name: str, task: str, tmp_path: Path, source: MediaSource) -> None:
    path = animate(tmp_path / "a", name, 7)
    options = {"question": "What?"} if task == "ask" else {}
    windows = source.prepare(job_on(path, source, task, **options))
    assert (windows.media.kind, windows.media.is_timed, windows.kinds) == ("video", True, ("frames",))
    assert len(windows.windows) == 1
    pieces = pieces_of(path, source, task, **options)
    assert [(piece.start, piece.end, piece.payload.covers) for piece in pieces] == [
        (0, 1.5, 1.5),
        (1.5, 3, 1.5),
        (3, 3.5, 0.5),
    ]
    assert [frame.time for frame in pieces[1].payload.frames] == [1.5, 2, 2.5]
    for number, expected in enumerate((RED, GREEN, BLUE)):
        assert np.abs(colour(pieces[1], number) - expected).max() < 12


def test_an_animation_says_nothing_that_could_be_transcribed(tmp_path: Path, source: MediaSource) -> None:
    with pytest.raises(PermanentError, match="no sound"):
        source.prepare(job_on(animate(tmp_path / "a", "gif", 3), source, "transcribe"))


@pytest.mark.parametrize("name", ["gif", "png"])
def test_of_an_animation_that_is_cut_off_the_rest_is_missing(name: str, tmp_path: Path, source: MediaSource) -> None:
    path = animate(tmp_path / "a", name, 6, noisy=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    job = job_on(path, source, "caption")
    windows = source.prepare(job)
    with source.cut(job, windows, windows.windows[0]) as cut:
        pieces = list(cut)
        end, missing = told(cut)
    assert [frame.time for piece in pieces for frame in piece.payload.frames] == [0, 0.5, 1, 1.5]
    assert end == 2
    assert missing is not None
    assert missing.startswith("the picture is")


def told(cut: Pieces) -> tuple[float, str | None]:
    return cut.end, None if cut.missing is None else cut.missing.reason


def test_an_animation_that_breaks_in_its_first_frame_is_refused(tmp_path: Path, source: MediaSource) -> None:
    path = animate(tmp_path / "a", "gif", 2, noisy=True)
    job = job_on(path, source, "caption")
    windows = source.prepare(job)
    path.write_bytes(path.read_bytes()[:1000])
    broken = job_on(path, source, "caption")
    with pytest.raises(PermanentError), source.cut(broken, windows, windows.windows[0]) as cut:
        list(cut)


@pytest.mark.parametrize("name", ["avif", "heif"])
def test_what_needs_a_library_more_is_read_where_media_is_read(name: str, tmp_path: Path, source: MediaSource) -> None:
    if name == "heif":
        pytest.importorskip("pillow_heif").register_heif_opener()
    Image.new("RGB", (96, 48), GREEN).save(tmp_path / "a", name)
    (piece,) = pieces_of(tmp_path / "a", source, "caption")
    assert piece.payload.kind == "picture"
    assert np.abs(colour(piece, 0) - GREEN).max() < 12


def test_every_page_is_a_segment_of_its_own(tmp_path: Path, source: MediaSource) -> None:
    path = tmp_path / "a.tiff"
    pages = [Image.new("RGB", (96, 48), colour) for colour in (RED, GREEN, BLUE)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    pieces = pieces_of(path, source, "caption")
    assert [(piece.start, piece.end, piece.payload.kind) for piece in pieces] == [
        (0, 0, "picture"),
        (1, 1, "picture"),
        (2, 2, "picture"),
    ]
    for piece, expected in zip(pieces, (RED, GREEN, BLUE), strict=True):
        assert np.abs(colour(piece, 0) - expected).max() < 12


@pytest.mark.parametrize(("damage", "pages", "there"), [("page", 5, [0, 1, 3, 4]), ("directory", 4, [0, 1, 2])])
def test_a_page_that_cannot_be_read_is_missing_and_the_others_are_there(
    damage: str, pages: int, there: list[int], tmp_path: Path, source: MediaSource
) -> None:
    path = tmp_path / "a.tiff"
    page = Image.new("RGB", (96, 48), RED)
    page.save(path, save_all=True, append_images=[page] * 4, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        image.seek(2 if damage == "page" else 3)
        tags = image.tag_v2  # type: ignore[attr-defined]
    if damage == "page":
        data[tags[273][0] : tags[273][0] + tags[279][0]] = b"\xff" * tags[279][0]
    else:
        del data[tags[273][0] - 8 :]
    path.write_bytes(data)
    job = job_on(path, source, "caption")
    windows = source.prepare(job)
    assert windows.media.picture is not None
    assert windows.media.picture.pages == pages
    with source.cut(job, windows, windows.windows[0]) as cut:
        assert [piece.start for piece in cut] == there
        assert cut.missing is not None
        assert cut.missing.reason == "the picture is broken: it cannot be decoded"
        assert "page 3: " in cut.missing.detail or damage == "directory"
        assert cut.end == pages - 1


def test_a_picture_of_which_no_page_can_be_read_is_refused(tmp_path: Path, source: MediaSource) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((96, 48), 90).save(path)
    job = job_on(path, source, "caption")
    windows = source.prepare(job)
    path.write_bytes(path.read_bytes()[:1000])
    broken = job_on(path, source, "caption")
    with pytest.raises(PermanentError), source.cut(broken, windows, windows.windows[0]) as cut:
        list(cut)


def photo(width: int, height: int) -> Image.Image:
    """Soft shades, hard edges, and the noise of a sensor."""
    random = np.random.default_rng(7)
    coarse = random.integers(0, 255, (height // 64 + 2, width // 64 + 2, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        left, top, size = random.integers(0, width), random.integers(0, height), random.integers(5, width // 8)
        fill = tuple(int(value) for value in random.integers(0, 255, 3))
        draw.ellipse((left, top, left + size, top + size // 2), fill=fill)
    noisy = np.asarray(image, np.int16) + random.normal(0, 4, (height, width, 3)).astype(np.int16)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("side", [64, 768])
@pytest.mark.parametrize("name", ["png", "jpeg"])
@pytest.mark.parametrize("size", [(2592, 1944), (1200, 1800), (900, 300), (60, 40)])
def test_a_model_sees_what_it_would_see_of_the_file_itself(
    size: tuple[int, int], name: str, side: int, tmp_path: Path
) -> None:
    """Its processor makes a square of whatever it gets; 42 dB is one grey value in 128."""
    transformers = pytest.importorskip("transformers")
    square = {"height": side, "width": side}
    processor = transformers.SiglipImageProcessor(size=square, resample=2, do_normalize=False, do_convert_rgb=True)

    def seen(image: Image.Image) -> NDArray[np.float64]:
        return np.asarray(processor(images=[image], return_tensors="np")["pixel_values"][0], np.float64)

    path = tmp_path / "a"
    photo(*size).save(path, name, **({"quality": 92} if name == "jpeg" else {"compress_level": 1}))
    sent = Image.open(BytesIO(still.read(path, name, side, Limits(), "stretch").image))
    assert max(sent.size) <= side
    with Image.open(path) as whole:
        difference = seen(sent) - seen(whole.convert("RGB"))
    assert 10 * np.log10(1 / np.mean(difference**2)) > 42
