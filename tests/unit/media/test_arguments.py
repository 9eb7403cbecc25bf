from pathlib import Path

import pytest

from pipeline.errors import WorldError
from pipeline.media import arguments

BINARY = Path("/usr/bin/ffmpeg")


def decode(path: Path = Path("/cache/abc"), demuxer: str = "mov", *, video: bool = False) -> list[str]:
    return arguments.decode(
        BINARY, path, demuxer, 9.9, 30.2, asked=arguments.Sound(stream=1, resampler="soxr", has_video=video)
    )


@pytest.mark.parametrize("argv", [decode(), decode(video=True), arguments.describe(BINARY, Path("/cache/abc"), "mov")])
def test_every_input_is_fenced_in(argv: list[str]) -> None:
    assert argv.count("-i") == 1
    before = argv[: argv.index("-i")]
    for option, value in (("-f", "mov"), ("-format_whitelist", "mov"), ("-protocol_whitelist", "file")):
        assert before[before.index(option) + 1] == value
    assert argv[argv.index("-i") + 1] == "file:/cache/abc"
    arguments.check(argv)


@pytest.mark.parametrize("name", ["concat:x|y", "-i", "http:x", "a b;c", "%03d.wav"])
def test_a_name_is_never_more_than_a_path(name: str) -> None:
    argv = decode(Path("/cache") / name)
    assert argv[argv.index("-i") + 1] == f"file:/cache/{name}"
    assert [part for part in argv if name in part and part != "-i"] == [f"file:/cache/{name}"]
    assert argv.count("-i") == 1


def test_the_sound_that_is_asked_for_is_cut_out_by_ffmpeg() -> None:
    argv = decode()
    assert argv[argv.index("-ss") + 1] == "9.900"
    assert argv[argv.index("-t") + 1] == "30.200"
    assert argv[argv.index("-map") + 1] == "0:a:1"
    assert argv[argv.index("-ac") + 1] == "1"
    assert "-nostdin" in argv


def test_channels_are_mixed_before_they_are_resampled_and_kept_where_each_is_wanted() -> None:
    mixed, split = (
        arguments.decode(
            BINARY, Path("/cache/abc"), "mov", 0.0, 9.0, asked=arguments.Sound(resampler="soxr", channels=channels)
        )
        for channels in (1, 2)
    )
    filters = mixed[mixed.index("-af") + 1]
    assert 0 < filters.index("rematrix_maxval=1") < filters.index("channel_layouts=mono") < filters.index("soxr")
    assert "mono" not in split[split.index("-af") + 1]


def test_the_start_of_a_file_is_read_without_a_seek() -> None:
    argv = arguments.decode(BINARY, Path("/cache/abc"), "mov", 0.0, 30.1, asked=arguments.Sound(resampler="soxr"))
    assert "-ss" not in argv


def test_video_is_read_along_only_where_the_clock_needs_it() -> None:
    assert "null" not in decode(video=True)
    assert "null" in decode(demuxer="mpegts", video=True)
    assert "null" not in decode(demuxer="mpegts", video=False)


@pytest.mark.parametrize("missing", ["-f", "-format_whitelist", "-protocol_whitelist"])
def test_an_input_without_one_of_its_fences_is_not_started(missing: str) -> None:
    argv = decode()
    at = argv.index(missing)
    with pytest.raises(WorldError):
        arguments.check(argv[:at] + argv[at + 2 :])


def test_an_input_that_is_no_local_file_is_not_started() -> None:
    argv = decode()
    for source in ("http://host/x", "concat:/a|/b", "/cache/abc", "file:relative"):
        argv[argv.index("-i") + 1] = source
        with pytest.raises(WorldError):
            arguments.check(argv)


def test_a_second_input_needs_its_own_fences() -> None:
    argv = decode()
    with pytest.raises(WorldError):
        arguments.check([*argv[:-1], "-i", "file:/cache/other"])
