"""What the versions of the media programs mean for their safety. Pure."""

import re

from pipeline.errors import WorldError

#: The option -fps_mode, without which no frame can be sampled, came with 5.1.
LOWEST = (5, 1)
#: Mends the flaws in reading playlists that were made known in 2026 (CVE-2026-107695, CVE-2026-107697).
ADVISED = (8, 1, 3)


def parsed(version: str) -> tuple[int, ...] | None:
    """The numbers of a release (`8.1.3`, `n9.0.2-17-g2a571b6`, `5.1.9-0+deb12u1`); None for a build from between."""
    found = re.match(r"n?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(number) for number in found.groups(default="0")) if found else None


def refuse_old(program: str, version: str) -> None:
    """Raise WorldError for a program that lacks what reelmill asks of it."""
    numbers = parsed(version)
    if numbers is not None and numbers < LOWEST:
        raise WorldError(f"{program} {version} is too old: reelmill needs {_dotted(LOWEST)}, and advises more")


def remark(program: str, version: str, *, is_sandboxed: bool) -> str | None:
    """What to say about a program that works but is not as safe as it could be."""
    numbers = parsed(version)
    if numbers is None:
        return f"{program} {version} is no release: whether it has the safety fixes of {_dotted(ADVISED)} is not known"
    if numbers < ADVISED:
        rest = "safety rests on the sandbox" if is_sandboxed else "and there is no sandbox to hold them"
        return f"{program} {version} is older than {_dotted(ADVISED)} and has known flaws: {rest}"
    return None


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in numbers)
