"""How fast an engine was in earlier runs, kept in the data directory, so that plans can tell how long others take."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from pipeline.admission import media_seconds
from pipeline.errors import UsageError
from pipeline.forecast import Remaining, deviation
from pipeline.objects import appearing
from pipeline.planning.estimate import Work
from pipeline.planning.tally import Totals
from pipeline.rates import Rates, Unit


def recall(data_dir: Path, engine: str) -> Rates:
    """What is known of an engine; nothing, if it has not run yet. Raises UsageError for a file that is none."""
    path = _path(data_dir, engine)
    try:
        return Rates.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return Rates(engine=engine)
    except (OSError, ValidationError) as error:
        raise UsageError(f"{path} cannot be read: remove it, and what was measured is measured anew") from error


def keep(data_dir: Path, rates: Rates) -> None:
    path = _path(data_dir, rates.engine)
    with appearing(path, path.parent) as partial:
        partial.write_bytes(rates.to_bytes())


def learn(rates: Rates, done: Work, seconds: float, engine_seconds: float = 0.0) -> Rates:
    """With one more run, which did so much in so many seconds.

    Of a run with several kinds of media, each has the part of the seconds that the mill's shares would charge for it.
    """
    whole = charged(done)
    for unit, amount in amounts(done).items():
        part = _charged(unit, amount) / whole if whole else 0.0
        rates = rates.learnt(unit, amount, seconds * part, engine_seconds * part)
    return rates


def remaining(totals: Totals) -> Mapping[Unit, Remaining]:
    """What a plan holds. Files of unknown length, all of them with sound, count as the mean of those known."""
    sums = sum(totals.tasks.values(), Work(0, 0, 0))
    known = {unit: Remaining(known=amount) for unit, amount in amounts(sums).items() if amount}
    if totals.of_unknown_length:
        counted = totals.files - totals.refused - totals.of_unknown_length
        known["sound"] = Remaining(
            known=sums.seconds,
            files=totals.of_unknown_length,
            mean=sums.seconds / counted if counted and sums.seconds else None,
            deviation=deviation(counted, sums.seconds, totals.sound_squares),
            counted=counted,
        )
    return known


def amounts(done: Work) -> Mapping[Unit, float]:
    return {
        "sound": done.seconds,
        "pictures": done.pictures,
        "frames": (done.frames or 0) - done.pictures,
        "characters": done.characters,
    }


def charged(done: Work) -> float:
    """What all of it counts as, in seconds of sound."""
    return sum(_charged(unit, amount) for unit, amount in amounts(done).items())


def _charged(unit: Unit, amount: float) -> float:
    return {
        "sound": media_seconds(sound=amount),
        "pictures": media_seconds(pictures=int(amount)),
        "frames": media_seconds(frames=int(amount)),
        "characters": media_seconds(characters=int(amount)),
    }[unit]


def _path(data_dir: Path, engine: str) -> Path:
    return data_dir / "rates" / f"{hashlib.sha256(engine.encode()).hexdigest()[:16]}.json"
