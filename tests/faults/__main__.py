"""`python -m tests.faults`: run experiments, print one table, write it, end with one line of JSON.

`--only` replaces the rows of some experiments in the table that is there.

Exit status 1 on any loss, double, healthy item quarantined, complaint, or control that did not fail as it must.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.services import SeaweedFS
from pipeline.settings import S3
from tests.faults import nemesis
from tests.faults.experiment import run
from tests.faults.experiments import EXPERIMENTS
from tests.faults.table import Row, is_good, json_line, load, markdown, save

TABLE = Path(__file__).parent / "TABLE.jsonl"
PREFIX = "REELMILL_"


def main() -> None:
    asked = arguments()
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        del os.environ[name]  # a developer's own settings must not steer the experiments
    rows: list[Row] = []
    earlier = load(asked.out) if asked.only else []
    run_name = f"{asked.scale} scale, seed {asked.seed}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}"
    with tempfile.TemporaryDirectory(prefix="reelmill-faults-") as folder:
        server = SeaweedFS(Path(folder))
        server.start()
        try:
            for row in rows_of(asked, server.settings):
                rows.append(replace(row, run=run_name))
                tell(row)
                save(merged(earlier, rows), asked.out)  # after each: a long run may be interrupted
        finally:
            server.stop()
    print(f"\n{markdown(rows)}\n{json_line(rows)}")
    sys.exit(0 if is_good(rows) else 1)


def merged(earlier: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """New rows in the place of earlier ones of the same name."""
    new = {(row.number, row.name) for row in rows}
    kept = [row for row in earlier if (row.number, row.name) not in new]
    return sorted([*kept, *rows], key=lambda row: row.number)


def rows_of(asked: argparse.Namespace, s3: S3) -> Iterator[Row]:
    full = asked.scale == "full"
    for experiment in EXPERIMENTS:
        if asked.only and experiment.number not in asked.only:
            continue
        yield from run(experiment, s3, seed=asked.seed, full=full, controls=not asked.no_controls)
    if asked.soak:
        yield from run(nemesis.soak(asked.soak), s3, seed=asked.seed, full=full)


def tell(row: Row) -> None:
    outcome = row.skipped or "; ".join(row.complaints) or ("failed as it must" if row.is_control else "kept")
    print(
        f"{time.strftime('%H:%M:%S')} {row.number} {row.name}: submitted {row.submitted}, done {row.done}, quarantined "
        f"{row.quarantined}, lost {row.lost}, doubled {row.doubled}, {row.recover_seconds:.0f} s to recover: {outcome}",
        flush=True,
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--only", type=lambda text: {int(part) for part in text.split(",")}, help="numbers, as 3,12")
    parser.add_argument("--scale", choices=("small", "full"), default="full")
    parser.add_argument(
        "--soak", type=float, default=0, metavar="SECONDS", help="random faults for so long, at the end"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=TABLE, help="rows as JSON lines; the table goes beside it")
    parser.add_argument("--no-controls", action="store_true", help="leave the negative controls out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
