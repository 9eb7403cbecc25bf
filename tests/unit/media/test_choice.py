import pytest

from pipeline.cli.options import order_of
from pipeline.errors import UsageError
from pipeline.job import MediaInfo, PictureInfo, VideoStream
from pipeline.media.video.choice import Choice, chosen, parse
from pipeline.settings import Video


@pytest.mark.parametrize(
    ("written", "choice"),
    [
        ("fps=1", Choice("fps", 1.0)),
        ("fps=0.1", Choice("fps", 0.1)),
        ("fps=29.97", Choice("fps", 29.97)),
        ("scene", Choice("scene", 2.0, 30.0)),
        ("scene=5", Choice("scene", 2.0, 5.0)),
        ("scene=0.1", Choice("scene", 2.0, 0.5)),
        ("keyframes", Choice("keyframes", 0.25)),
        ("keyframes=2", Choice("keyframes", 2.0)),
    ],
)
def test_what_is_written_is_a_choice(written: str, choice: Choice) -> None:
    assert parse(written, default_rate=0.25) == choice
    assert parse(str(choice)) == choice, "it is stored as text"


@pytest.mark.parametrize(
    "written", ["", "fps", "fps=", "fps=0", "fps=-1", "fps=61", "fps=nan", "fps=1:2", "scene=x", "keyframes=0", "all"]
)
def test_anything_else_is_refused_with_what_is_possible(written: str) -> None:
    with pytest.raises(UsageError, match=r"keyframes|60 is the most"):
        parse(written)


def film(seconds: float | None) -> MediaInfo:
    return MediaInfo(kind="video", video=VideoStream(index=0, codec="h264", width=64, height=48, length=seconds))


def test_a_job_that_does_not_say_gets_what_fits_the_length() -> None:
    video = Video(frames_per_second=0.5)
    for seconds, choice in ((1200, "fps=0.5"), (1201, "scene=30.0"), (None, "fps=0.5")):
        assert str(chosen(None, video, film(seconds))) == choice
    assert str(chosen("keyframes", video, film(9999))) == "keyframes=0.5"
    assert str(chosen(None, Video(frames="scene=9"), film(1))) == "scene=9.0"
    assert str(chosen("fps=3", Video(frames="scene=9"), film(1))) == "fps=3.0"


def test_an_animation_has_no_key_frames() -> None:
    picture = PictureInfo(format="gif", width=64, height=48, moves=True)
    animation = film(None).model_copy(update={"picture": picture})
    assert str(chosen("keyframes", Video(), animation)) == "fps=1.0"
    assert str(chosen("fps=2", Video(), animation)) == "fps=2.0"


def test_how_far_apart_frames_may_be_is_known() -> None:
    assert [parse(written).gap for written in ("fps=4", "scene=20", "keyframes=0.05", "keyframes=1")] == [
        0.25,
        20,
        20,
        10,
    ]
    assert [parse(written).taken_rate for written in ("fps=4", "scene=20", "keyframes=0.5")] == [4, 0.05, 0.5]


def test_the_command_line_refuses_what_is_no_choice() -> None:
    with pytest.raises(UsageError, match="'all' does not say which frames"):
        order_of("caption", force=False, schema=None, frames="all")
    assert order_of("caption", force=False, schema=None, frames="scene=9").options.frames == "scene=9"
