"""What a media process can see and do: nothing but its program, the libraries of the system and one input.

Made by bubblewrap: no network, own process ids, no capabilities, an empty environment, no device (/dev/null would be
that of the host, whose mode and times can be set), no /proc, and nowhere to write. Nothing is started here; see
`process`.

The program is process 1 of its sandbox, without bubblewrap's own process 1 beside it: that saves a process, gives its
real exit status and keeps a child from killing it. It stays in the process group of bubblewrap, which `process` opens
in a session of its own, away from any terminal, and which the filter of system calls lets nobody leave.
"""

import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import WorldError
from pipeline.media.sandbox import seccomp

#: Where the one input lies inside.
INPUT = Path("/in/media")
_PREFIX = "file:"
_SYSTEM = (Path("/lib"), Path("/lib32"), Path("/lib64"), Path("/usr/lib"), Path("/usr/lib32"), Path("/usr/lib64"))
_LOCAL = Path("/usr/local/lib")
#: Where the loader of programs looks up libraries, and what Debian chooses libraries with.
_LOADER = (Path("/etc/ld.so.cache"), Path("/etc/alternatives"))
#: Of every media process.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_OWN = __name__.partition(".")[0]
_NOBODY = "65534"
_ALWAYS = (
    *("--unshare-all", "--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox"),
    *("--die-with-parent", "--as-pid-1", "--cap-drop", "ALL", "--clearenv"),
)


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A program in a sandbox: options of bubblewrap, the command inside, the filter of system calls."""

    bwrap: Path
    options: tuple[str, ...]
    argv: tuple[str, ...]
    filter: bytes


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How programs are enclosed."""

    bwrap: Path

    def of_media(self, argv: Sequence[str]) -> Enclosure:
        """A media program that reads at most one file. Raises WorldError when it would read several."""
        inside, media = with_fixed_input(argv)
        program = Path(argv[0])
        shown = [(program, program), *((folder, folder) for folder in _beside(program))]
        shown += [] if media is None else [(media, INPUT)]
        return self._enclosed(inside, shown, may_fork=False)

    def of_python(self, code: str, packages: Iterable[str] = (), *, shown: Path | None = None) -> Enclosure:
        """`python_argv` inside; `shown` is a folder, seen where inputs are, that makes it a server which may fork."""
        visible = [(folder, folder) for folder in (python(), *_python_folders(), *_holding(packages))]
        visible += [] if shown is None else [(shown, INPUT.parent)]
        return self._enclosed(python_argv(code, packages), visible, may_fork=shown is not None)

    def _enclosed(self, argv: Sequence[str], shown: Iterable[tuple[Path, Path]], *, may_fork: bool) -> Enclosure:
        options = [*_ALWAYS, *(part for name, value in ENVIRONMENT.items() for part in ("--setenv", name, value))]
        options += _libraries()
        for outside, inside in shown:
            # An input that is missing is told by the program, as without a sandbox.
            options += ["--ro-bind-try", str(outside), str(inside)]
        options += ["--chdir", "/", "--remount-ro", "/"]
        filters = seccomp.program(platform.machine(), may_fork=may_fork)
        return Enclosure(self.bwrap, tuple(options), tuple(argv), filters)


def with_fixed_input(argv: Sequence[str]) -> tuple[list[str], Path | None]:
    """An argument list that names its input as it is called inside, and the input."""
    inside, media = list(argv), None
    for place, option in enumerate(argv[:-1]):
        if option != "-i":
            continue
        path = Path(argv[place + 1].removeprefix(_PREFIX))
        if media not in (None, path):
            raise WorldError(f"a media process was about to start with two inputs: {argv}")
        media = path
        inside[place + 1] = f"{_PREFIX}{INPUT}"
    return inside, media


def python() -> Path:
    """The interpreter itself, not the link to it in a virtual environment."""
    return Path(sys.executable).resolve()


def python_argv(code: str, packages: Iterable[str] = ()) -> list[str]:
    """This Python with its standard library and what is needed to import `packages`, and none of the user's settings.

    Raises WorldError when a package is missing.
    """
    paths = list(dict.fromkeys(str(_home(package).parent) for package in packages))
    return [str(python()), "-ISBc", f"import sys\nsys.path[:0] = {paths}\n{code}"]


def _libraries() -> Iterator[str]:
    """Options that show the libraries of the system, whether or not its /lib is a link into /usr."""
    for folder in (*_SYSTEM, _LOCAL, *_LOADER):
        if folder.is_symlink():
            yield from ("--symlink", str(folder.readlink()), str(folder))
        elif folder.exists():
            yield from ("--ro-bind", str(folder), str(folder))


def _beside(program: Path) -> Iterator[Path]:
    """Libraries that came with a program from elsewhere: `lib` beside its `bin`."""
    is_elsewhere = not program.is_relative_to("/usr") and program.parent.name == "bin"
    if is_elsewhere and (folder := program.parent.parent / "lib").is_dir():
        yield folder


def _python_folders() -> Iterator[Path]:
    """The standard library and what the interpreter is linked with, where it does not lie in /usr."""
    if not (home := Path(sys.base_prefix)).is_relative_to("/usr"):
        yield home / "lib"


def _holding(packages: Iterable[str]) -> list[Path]:
    """What to show of packages: all that was installed beside them; of reelmill, whatever lies beside it, itself."""
    homes = [_home(package) for package in packages]
    return list(dict.fromkeys(home if home.name == _OWN else home.parent for home in homes))


def _home(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise WorldError(f"the Python package {package} is missing")
    return Path(spec.origin).parent
