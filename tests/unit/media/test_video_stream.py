from typing import Any

import pytest

from pipeline.job import Turn, VideoStream
from pipeline.media.video import seeking, showing
from pipeline.media.video.filters import shown


def stream(**fields: Any) -> dict[str, Any]:
    return {"codec_name": "h264", "width": 640, "height": 360, **fields}


def read(**fields: Any) -> VideoStream:
    found = showing.read(stream(**fields), 0, 0.0)
    assert found is not None
    return found


def matrix(*values: int) -> list[dict[str, Any]]:
    """As ffprobe writes it; the numbers are 16.16 fixed point."""
    a, b, c, d = (value * 65536 for value in values)
    text = f"\n00000000: {a:>12} {b:>11} {0:>11}\n00000001: {c:>12} {d:>11} {0:>11}\n00000002: 0 0 1073741824\n"
    return [{"side_data_type": "Display Matrix", "displaymatrix": text, "rotation": 0}]


@pytest.mark.parametrize(
    ("values", "turn"),
    [
        ((1, 0, 0, 1), "none"),
        ((0, 1, -1, 0), "clock"),
        ((0, -1, 1, 0), "cclock"),
        ((-1, 0, 0, -1), "half"),
        ((-1, 0, 0, 1), "hflip"),
        ((1, 0, 0, -1), "vflip"),
        ((0, 1, 1, 0), "cclock_flip"),
        ((0, -1, -1, 0), "clock_flip"),
    ],
)
def test_a_display_matrix_is_a_turn(values: tuple[int, ...], turn: Turn) -> None:
    found = read(side_data_list=matrix(*values))
    assert found.turn == turn
    assert (found.width, found.height) == ((360, 640) if "clock" in turn else (640, 360))


@pytest.mark.parametrize(
    ("fields", "turn"),
    [
        ({"side_data_list": [{"rotation": -90}]}, "clock"),
        ({"side_data_list": [{"rotation": 90}]}, "cclock"),
        ({"side_data_list": [{"rotation": 179.6}]}, "half"),
        ({"side_data_list": [{"displaymatrix": "nonsense", "rotation": -90}]}, "clock"),
        ({"tags": {"rotate": "90"}}, "clock"),
        ({"tags": {"rotate": "270"}}, "cclock"),
        ({"tags": {"rotate": "sideways"}}, "none"),
    ],
)
def test_older_files_tell_an_angle(fields: dict[str, Any], turn: Turn) -> None:
    assert read(**fields).turn == turn


@pytest.mark.parametrize(("order", "field"), [("tt", "top"), ("bb", "bottom"), ("progressive", None), (None, None)])
def test_the_field_that_is_shown_first_is_known(order: str | None, field: str | None) -> None:
    assert read(field_order=order).field == field


@pytest.mark.parametrize(
    ("fields", "matrix"),
    [
        ({"width": 720, "height": 576}, "bt601"),
        ({"width": 480, "height": 854}, "bt601"),
        ({"width": 1280, "height": 720}, "bt709"),
        ({"width": 1280, "height": 720, "color_space": "smpte170m"}, None),
        ({"width": 720, "height": 576, "color_space": "bt709"}, None),
        ({"width": 1280, "height": 720, "color_space": "unknown"}, "bt709"),
    ],
)
def test_colours_that_a_file_does_not_tell_are_those_of_its_size(fields: dict[str, Any], matrix: str | None) -> None:
    assert read(**fields).matrix == matrix


def test_hdr_is_known_by_its_curve() -> None:
    curves = ("smpte2084", "arib-std-b67", "bt709", "bt2020-10")
    assert [read(color_transfer=curve).transfer for curve in curves] == ["pq", "hlg", "sdr", "sdr"]


def test_frames_are_turned_deinterlaced_and_mapped_only_where_it_is_needed() -> None:
    def names(found: VideoStream, *, tone_mapping: bool = True) -> list[str]:
        return [one.name for one in shown(found, (64, 32), "inside", tone_mapping=tone_mapping)]

    plain = read(color_space="bt709")
    assert names(plain) == ["scale"]
    assert names(plain.model_copy(update={"field": "top"})) == ["field", "scale"]
    hdr = plain.model_copy(update={"transfer": "pq"})
    assert names(hdr)[0] == "scale"
    assert "tonemap" in names(hdr)
    assert names(hdr, tone_mapping=False) == ["scale"]
    turned = plain.model_copy(update={"turn": "clock"})
    scale, transpose = shown(turned, (64, 32), "inside", tone_mapping=True)
    assert (scale.positional, transpose.named) == ((32, 64), {"dir": "clock"})


def test_seeking_pays_when_much_lies_between_two_frames() -> None:
    full_hd = read(width=1920, height=1080, avg_frame_rate="30/1").model_copy(update={"length": 600.0})
    assert seeking.pays(full_hd, "mov", 10.0, 2.0)
    assert not seeking.pays(full_hd, "mov", 1.0, 2.0)
    assert not seeking.pays(full_hd, "mov", 10.0, 20.0), "half of the way is decoded as it is, by many processes"
    assert not seeking.pays(full_hd, "mpegts", 10.0, 2.0), "there is no index: finding the place takes seconds"
    assert seeking.pays(full_hd, "mpegts", 60.0, 2.0)
    small = full_hd.model_copy(update={"width": 320, "height": 180})
    assert not seeking.pays(small, "mov", 10.0, 2.0), "starting a process costs more"
    assert not seeking.pays(full_hd.model_copy(update={"length": None}), "mov", 10.0, 2.0)
    assert not seeking.is_worth_it(full_hd, "mov", 10.0), "nobody has measured how far key frames lie apart"
