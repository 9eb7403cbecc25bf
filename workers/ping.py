"""`python -m workers.ping prepare|infer|steward`: does the worker of this machine answer? Exit status 0 if it does.

The question goes the way that work goes, over the queue: a worker that runs but has lost its connection does not
answer. Of stewards it is asked whether one of them leads. Costs a second of CPU, so ask once a minute.
"""

import socket
import sys
import time

from pipeline import settings as configuration
from pipeline.broker import create_app
from pipeline.errors import TransientError
from pipeline.redis_ledger import RedisLedger
from pipeline.settings import Settings

ROLES = ("prepare", "infer", "steward")
ANSWER_SECONDS = 10


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in ROLES:
        sys.exit(f"usage: python -m workers.ping {'|'.join(ROLES)}")
    role, settings = sys.argv[1], configuration.load()
    if role == "steward":
        _find_leader(settings)
        return
    with create_app(settings) as app:
        # Celery names a worker NAME@HOST; several of one role on a machine are told apart by their process.
        asked = f"{role}-*@{socket.gethostname()}"
        answers = app.control.inspect(pattern=asked, matcher="glob", timeout=ANSWER_SECONDS, limit=1).ping()
    if not answers:
        sys.exit(f"no {asked} answered within {ANSWER_SECONDS} s")


def _find_leader(settings: Settings) -> None:
    ledger, deadline = RedisLedger(settings), time.monotonic() + ANSWER_SECONDS
    try:
        while not ledger.is_led("steward"):
            if time.monotonic() > deadline:
                sys.exit(f"no steward has led for {ANSWER_SECONDS} s")
            time.sleep(1)
    except TransientError as error:
        sys.exit(str(error))
    finally:
        ledger.close()


if __name__ == "__main__":
    main()
