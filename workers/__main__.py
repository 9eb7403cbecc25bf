"""`python -m workers prepare|infer|steward`: one process of the fleet, configured by REELMILL_* variables."""

import logging
import sys
import time
from collections.abc import Callable

from pipeline import settings as configuration
from pipeline.errors import MISCONFIGURED, ReelmillError, TransientError, UsageError, WorldError
from pipeline.redis_ledger import RedisLedger
from pipeline.settings import Settings
from pipeline.stages.evidence import keep_log_tail
from pipeline.store import open_store

log = logging.getLogger(__name__)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: First and longest wait for services that are away, seconds; doubled each time.
WAIT_SECONDS = (1.0, 30.0)


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


def serve(role: Callable[[Settings], None], settings: Settings) -> None:
    """Run a role as soon as its services are there, however long that takes. Raises WorldError, UsageError."""
    wait, longest = WAIT_SECONDS
    while True:
        try:
            test_services(settings)
            role(settings)
            return
        except TransientError as error:
            log.warning("%s (%s); waiting for it, next look in %.0f s", error, error.detail, wait)
        time.sleep(wait)
        wait = min(2 * wait, longest)


def test_services(settings: Settings) -> None:
    """Raises TransientError when one is away, WorldError when one refuses us or is unsafe."""
    open_store(settings.s3).self_test()
    ledger = RedisLedger(settings)
    try:
        ledger.self_test()
    finally:
        ledger.close()


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in ROLES:
        sys.exit(f"usage: python -m workers {'|'.join(ROLES)}")
    try:
        settings = configuration.load()
        logging.basicConfig(level=settings.log_level, format=LOG_FORMAT, stream=sys.stderr)
        keep_log_tail(LOG_FORMAT)
        serve(ROLES[sys.argv[1]], settings)
    except (UsageError, WorldError) as error:
        print(f"reelmill {sys.argv[1]}: {error}", file=sys.stderr)
        sys.exit(MISCONFIGURED)
    except ReelmillError as error:
        sys.exit(f"reelmill {sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()
