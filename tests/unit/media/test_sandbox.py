from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.errors import WorldError
from pipeline.media import arguments
from pipeline.media.sandbox.enclosure import Sandbox, python, with_fixed_input

DESCRIBE = arguments.describe(Path("/opt/x/ffprobe"), Path("/archive/of/ann/secret.mp4"), "mov")


def pairs(options: tuple[str, ...], name: str) -> list[tuple[str, str]]:
    """Both values of each option of that name."""
    return [(options[at + 1], options[at + 2]) for at, option in enumerate(options) if option == name]


def test_the_input_has_another_name_inside() -> None:
    inside, media = with_fixed_input(DESCRIBE)
    assert media == Path("/archive/of/ann/secret.mp4")
    assert inside == [*DESCRIBE[:-1], "file:/in/media"]
    assert with_fixed_input(["ffmpeg", "-version"]) == (["ffmpeg", "-version"], None)


def test_two_inputs_are_refused() -> None:
    with pytest.raises(WorldError, match="two inputs"):
        with_fixed_input(["ffmpeg", "-i", "file:/a", "-i", "file:/b"])
    assert with_fixed_input(["ffmpeg", "-i", "file:/a", "-i", "file:/a"])[1] == Path("/a")


def test_nothing_is_shown_but_the_program_its_input_and_libraries() -> None:
    enclosure = Sandbox(Path("/bwrap")).of_media(DESCRIBE)
    shown = pairs(enclosure.options, "--ro-bind-try")
    assert shown == [("/opt/x/ffprobe", "/opt/x/ffprobe"), ("/archive/of/ann/secret.mp4", "/in/media")]
    libraries = {Path(source) for source, _ in pairs(enclosure.options, "--ro-bind")}
    assert libraries <= {
        Path(f"{home}/{lib}") for home in ("", "/usr", "/usr/local") for lib in ("lib", "lib32", "lib64")
    } | {Path("/etc/ld.so.cache"), Path("/etc/alternatives")}
    assert {"--unshare-all", "--unshare-user", "--die-with-parent", "--as-pid-1", "--clearenv"} <= set(
        enclosure.options
    )
    assert ("--cap-drop", "ALL") in pairwise(enclosure.options)
    assert not {"--bind", "--dev-bind", "--tmpfs", "--dev", "--proc", "--share-net"} & set(enclosure.options)
    assert enclosure.options[-2:] == ("--remount-ro", "/")
    assert enclosure.argv[-1] == "file:/in/media"
    assert "secret" not in " ".join(enclosure.argv)


def test_only_a_server_may_fork(tmp_path: Path) -> None:
    sandbox = Sandbox(Path("/bwrap"))
    alone, server = sandbox.of_python("pass"), sandbox.of_python("pass", shown=tmp_path)
    assert alone.filter != server.filter
    assert (str(tmp_path), "/in") in pairs(server.options, "--ro-bind-try")


def test_of_reelmill_only_the_package_is_shown() -> None:
    enclosure = Sandbox(Path("/bwrap")).of_python("pass", ("pipeline", "PIL"))
    shown = [Path(source) for source, _ in pairs(enclosure.options, "--ro-bind-try")]
    home = Path(arguments.__file__).parent.parent
    assert home in shown
    assert home.parent not in shown
    assert python() in shown
    with pytest.raises(WorldError, match="no_such_package"):
        Sandbox(Path("/bwrap")).of_python("pass", ("no_such_package",))
