import pytest

from pipeline.errors import WorldError
from pipeline.media.versions import parsed, refuse_old, remark


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("8.1.3", (8, 1, 3)),
        ("n9.0.2-17-g2a571b6068-20260930", (9, 0, 2)),
        ("n8.0-23-gd1f31a829d-20251022", (8, 0, 0)),
        ("5.1.9-0+deb12u1", (5, 1, 9)),
        ("7.0.2-static", (7, 0, 2)),
        ("N-118500-g1234567", None),
        ("git-2026-01-01-1234567", None),
    ],
)
def test_versions_are_read_as_builders_write_them(version: str, numbers: tuple[int, ...] | None) -> None:
    assert parsed(version) == numbers


def test_a_program_without_the_options_that_are_needed_is_refused() -> None:
    with pytest.raises(WorldError, match=r"ffprobe 4\.4\.6 is too old: reelmill needs 5\.1"):
        refuse_old("ffprobe", "4.4.6")
    for version in ("5.1", "5.1.9-0+deb12u1", "10.0", "N-118500-g1234567"):
        refuse_old("ffmpeg", version)


@pytest.mark.parametrize("is_sandboxed", [True, False])
def test_a_program_with_known_flaws_is_named_and_a_new_one_is_not(is_sandboxed: bool) -> None:
    for version in ("n8.0-23-gd1f31a829d", "8.1.2"):
        told = remark("ffprobe", version, is_sandboxed=is_sandboxed) or ""
        assert "known flaws" in told
        assert ("rests on the sandbox" in told) == is_sandboxed
    assert "not known" in (remark("ffmpeg", "N-118500-g1234567", is_sandboxed=is_sandboxed) or "")
    new = ("8.1.3", "8.2", "9.0.2", "10.0")
    assert [remark("ffmpeg", version, is_sandboxed=is_sandboxed) for version in new] == [None] * 4
