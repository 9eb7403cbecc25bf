"""What came out of the experiments: one row each, for people and as one line of JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

COLUMNS = (
    "fault",
    "submitted",
    "done",
    "partial",
    "quarantined",
    "lost",
    "doubled",
    "duplicate engine s",
    "max Redis MB",
    "max RSS MB",
    "s to recover",
    "run",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One experiment, or one negative control (`must_find` names the violation without which it fails)."""

    number: int
    name: str
    submitted: int = 0
    done: int = 0
    partial: int = 0
    quarantined: int = 0
    lost: int = 0
    doubled: int = 0
    duplicate_seconds: float = 0.0
    redis_mb: float = 0.0
    rss_mb: float = 0.0
    recover_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    """What is wrong; of a control: why it did not fail as it must."""
    must_find: str | None = None
    skipped: str | None = None
    """Why it could not run here, and how to make it."""
    run: str = ""
    """Scale and seed of the run that it is of."""

    @property
    def is_control(self) -> bool:
        return self.must_find is not None


def figures(rows: Iterable[Row]) -> dict[str, int]:
    ran = [row for row in rows if row.skipped is None]
    experiments = [row for row in ran if not row.is_control]
    controls = [row for row in ran if row.is_control]
    return {
        "experiments": len({row.number for row in experiments}),
        "submitted": sum(row.submitted for row in experiments),
        "lost": sum(row.lost for row in experiments),
        "doubled": sum(row.doubled for row in experiments),
        "controls": len(controls),
        "controls_that_failed_as_they_must": sum(not row.complaints for row in controls),
    }


def save(rows: Sequence[Row], path: Path) -> None:
    """Write rows as JSON, for `load`, and beside it the report."""
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    path.with_suffix(".md").write_text(markdown(rows))


def load(path: Path) -> list[Row]:
    """Rows as they were saved; none when there are none."""
    if not path.exists():
        return []
    saved = [json.loads(line) for line in path.read_text().splitlines()]
    lists = ("notes", "complaints")
    return [Row(**{name: tuple(value) if name in lists else value for name, value in row.items()}) for row in saved]


def json_line(rows: Iterable[Row]) -> str:
    return json.dumps({"benchmark": "faults", "figures": figures(rows)})


def markdown(rows: Sequence[Row]) -> str:
    """The whole report: the experiments, what each did, the controls, what was skipped, what went wrong."""
    heading = "Made by `python -m tests.faults`. Figures of duration and size are of the machine of that run."
    ran = [row for row in rows if row.skipped is None]
    experiments = [row for row in ran if not row.is_control]
    parts = [heading, "", _header(), *map(_line, experiments), ""]
    if controls := [row for row in ran if row.is_control]:
        parts += ["Negative controls: a protection is taken away, and the checker must find what it protects from.", ""]
        parts += ["| control | must find | lost | doubled | found |", "|---|---|---:|---:|---|"]
        parts += [
            f"| {row.number} {row.name} | {row.must_find} | {row.lost} | {row.doubled} "
            f"| {'no: ' + '; '.join(row.complaints) if row.complaints else 'yes'} |"
            for row in controls
        ]
        parts.append("")
    if skipped := [row for row in rows if row.skipped is not None]:
        parts += ["Not run here:", "", *(f"- {row.number} {row.name}: {row.skipped}" for row in skipped), ""]
    noted = [f"- {row.number} {row.name}: {note}" for row in experiments for note in row.notes]
    if noted:
        parts += ["Notes:", "", *noted, ""]
    if wrong := [f"- {row.number} {row.name}: {what}" for row in experiments for what in row.complaints]:
        parts += ["Wrong:", "", *wrong, ""]
    return "\n".join(parts)


def is_good(rows: Iterable[Row]) -> bool:
    return not any(row.complaints for row in rows)


def _header() -> str:
    return f"| {' | '.join(COLUMNS)} |\n|---|{'---:|' * (len(COLUMNS) - 2)}---|"


def _line(row: Row) -> str:
    cells = (
        f"{row.number} {row.name}",
        row.submitted,
        row.done,
        row.partial,
        row.quarantined,
        row.lost,
        row.doubled,
        f"{row.duplicate_seconds:.1f}",
        f"{row.redis_mb:.1f}",
        f"{row.rss_mb:.0f}",
        f"{row.recover_seconds:.0f}",
        row.run,
    )
    return f"| {' | '.join(map(str, cells))} |"
