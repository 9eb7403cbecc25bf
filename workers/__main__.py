"""`python -m workers prepare|infer|steward`: one process of the fleet, configured by REELMILL_* variables."""

import logging
import sys
from collections.abc import Callable

from pipeline import settings as configuration
from pipeline.errors import MISCONFIGURED, ReelmillError, UsageError, WorldError
from pipeline.settings import Settings
from pipeline.store import open_store


def _prepare(settings: Settings) -> None:
    from workers import prepare

    prepare.run(settings)


def _infer(settings: Settings) -> None:
    from workers import infer

    infer.run(settings)


def _steward(settings: Settings) -> None:
    from workers import steward

    steward.run(settings)


ROLES: dict[str, Callable[[Settings], None]] = {"prepare": _prepare, "infer": _infer, "steward": _steward}


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in ROLES:
        sys.exit(f"usage: python -m workers {'|'.join(ROLES)}")
    try:
        settings = configuration.load()
        logging.basicConfig(
            level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        open_store(settings.s3).self_test()
        ROLES[sys.argv[1]](settings)
    except (UsageError, WorldError) as error:
        print(f"reelmill {sys.argv[1]}: {error}", file=sys.stderr)
        sys.exit(MISCONFIGURED)
    except ReelmillError as error:
        sys.exit(f"reelmill {sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()
